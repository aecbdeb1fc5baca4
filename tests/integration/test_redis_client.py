"""The client of a real Redis: what a cancelled command leaves behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop

from registry.errors import RegistryUnavailable
from registry.redis_client import RedisClient


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


@pytest.mark.parametrize("steps", range(30))
async def test_the_command_after_a_cancelled_one_gets_its_own_reply(steps: int, redis: RedisClient) -> None:
    await redis.run("SET", "a", "first")
    asking = asyncio.create_task(redis.run("GET", "a"))
    for _ in range(steps):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])

    assert await redis.run("ECHO", "second") == b"second"


def test_a_connection_that_was_reset_just_before_a_command_is_redis_being_away_on_the_servers_loop_too(
    redis_url: str,
) -> None:
    async def reset_and_ask() -> None:
        client = RedisClient.from_url(redis_url, connections=1)
        try:
            await client.run("PING")
            (connection,) = client._redis.connection_pool._available_connections
            assert connection._writer is not None
            connection._writer.transport.abort()
            with pytest.raises(RegistryUnavailable):
                await client.run("PING")
            assert await client.run("PING")
        finally:
            await client.close()

    uvloop.run(reset_and_ask())  # what `serve` runs on, and it says so in another way than asyncio's own
