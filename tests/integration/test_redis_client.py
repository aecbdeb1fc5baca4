"""The client of a real Redis: what is left behind by what was cancelled, closed or deposed."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from registry.errors import RegistryUnavailable
from registry.redis_client import RedisClient
from registry.redis_node import NodeMaker
from registry.redis_topology import OneServer
from registry.redis_url import read


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    """A client with one connection, so that whatever is left on it is seen."""
    client = RedisClient.from_url(redis_url, connections=1, timeout=10.0)
    yield client
    await client.close()


@pytest.mark.parametrize("steps", range(30))
async def test_a_loop_that_reads_for_ever_ends_at_whatever_step_it_is_cancelled(steps: int, redis: RedisClient) -> None:
    async def read_for_ever() -> None:
        while True:
            await redis.run("XREAD", "BLOCK", 50, "STREAMS", "nobody-writes-here", "0-0")

    reading = asyncio.create_task(read_for_ever())
    for _ in range(steps):
        await asyncio.sleep(0)
    reading.cancel()

    await asyncio.wait([reading], timeout=10)

    assert reading.cancelled()


async def test_a_loop_that_reads_for_ever_ends_when_it_is_cancelled_while_it_runs(redis: RedisClient) -> None:
    """As by Ctrl-C under a print that somebody is slow to read."""
    rounds = 0

    async def read_and_print() -> None:
        nonlocal rounds
        await redis.run("PING")
        reading.cancel()
        while rounds < 3:
            rounds += 1
            await redis.run("PING")

    reading = asyncio.create_task(read_and_print())

    await asyncio.wait([reading], timeout=10)

    assert reading.cancelled()


async def test_a_command_that_the_server_does_not_know_is_told_without_its_arguments(redis: RedisClient) -> None:
    """A server that does not know HELLO would else tell the password: it is an argument of the first command."""
    password = "an-" + "argument"  # which stands nowhere in the source, as tracebacks show that
    with pytest.raises(RegistryUnavailable) as refused:
        await redis.run("NOSUCH", "AUTH", "default", password)

    assert "NOSUCH" in refused.value.message
    assert password not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("steps", range(30))
async def test_the_command_after_a_cancelled_one_gets_its_own_reply(steps: int, redis: RedisClient) -> None:
    await redis.run("SET", "a", "first")
    asking = asyncio.create_task(redis.run("GET", "a"))
    for _ in range(steps):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])

    assert await redis.run("ECHO", "second") == b"second"


@pytest.mark.parametrize("steps", range(30))
async def test_whatever_step_a_command_is_at_when_the_client_is_closed_it_ends_as_unavailable(
    steps: int, redis_url: str
) -> None:
    """The library's own way to close a connection breaks a command under it with an `AttributeError`."""
    redis = RedisClient.from_url(redis_url, connections=2, timeout=10.0)
    await redis.run("PING")
    reading = [asyncio.create_task(redis.run("XREAD", "BLOCK", 50, "STREAMS", "nobody", "0-0")) for _ in range(4)]
    for _ in range(steps):
        await asyncio.sleep(0)

    await redis.close()

    for outcome in await asyncio.gather(*reading, return_exceptions=True):
        assert isinstance(outcome, RegistryUnavailable) or outcome == {}


async def test_a_client_that_only_fails_for_a_while_begins_anew(redis_url: str) -> None:
    """Whatever has become of its pools: here, nobody gives the only connection back."""
    make = NodeMaker(read(redis_url), 1, 0.05)
    redis = RedisClient(lambda: OneServer(make.server(("", 0))), rebuild_after=0.2)
    await redis.run("PING")
    node = await redis._servers.node_of(None)
    taken = await node._pool.get_connection()

    failures = 0
    async with asyncio.timeout(20):
        while True:
            try:
                await redis.run("PING")
                break
            except RegistryUnavailable:
                failures += 1

    assert failures > 2
    await taken.disconnect()
    await redis.close()


async def test_a_primary_that_becomes_a_replica_refuses_as_what_may_pass(
    free_port: Callable[[], int], redis: RedisClient
) -> None:
    try:
        await redis.run("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(RegistryUnavailable, match="read-only replica"):
            await redis.run("SET", "a", "1")
    finally:
        await redis.run("REPLICAOF", "NO", "ONE")

    assert await redis.run("SET", "a", "1")


def test_a_connection_that_was_reset_just_before_a_command_is_redis_being_away_on_the_servers_loop_too(
    redis_url: str,
) -> None:
    async def reset_and_ask() -> None:
        client = RedisClient.from_url(redis_url, connections=1)
        try:
            await client.run("PING")
            node = await client._servers.node_of(None)
            (connection,) = node._pool._available_connections
            assert connection._writer is not None
            connection._writer.transport.abort()
            with pytest.raises(RegistryUnavailable):
                await client.run("PING")
            assert await client.run("PING")
        finally:
            await client.close()

    uvloop.run(reset_and_ask())  # what `serve` runs on, and it says so in another way than asyncio's own
