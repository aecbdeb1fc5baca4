"""The primary dies, is deposed, or hands the log's slot over, while tenants are registered and replicas follow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from projections.phase import Phase
from registry.errors import RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient
from server.replica import Replica
from tests.servers import ClusterOfThree, SentinelSet
from tests.topology.conftest import Open, OpenClient, Writer, call, commands_in, eventually

STREAM: Final = Names().stream
OTHER_STREAM: Final = "nobody-writes-here"


@asynccontextmanager
async def writing(replica: Replica) -> AsyncIterator[Writer]:
    """Have somebody write through the replica."""
    writer = Writer(replica)
    running = asyncio.create_task(writer.run())
    try:
        await writer.after(20)
        yield writer
    finally:
        writer.stop()
        await asyncio.wait([running], timeout=60)
    running.result()


async def check(writer: Writer, a: Replica, b: Replica, redis: RedisClient) -> None:
    """Both replicas hold what the log does, and in the log is once whatever was acknowledged.

    Redis replicates behind its answers, so the very last of them may be lost with a primary. Then the replicas have
    read more than there is, and must have said so.
    """
    replicas = (a, b)
    await eventually(lambda: all(each.follower.status.phase in {Phase.FOLLOWING, Phase.DIVERGED} for each in replicas))
    if any(each.follower.status.phase is Phase.DIVERGED for each in replicas):
        return
    commands = await commands_in(redis)
    assert len(commands) == len(set(commands))
    assert set(writer.acknowledged) <= set(commands)
    info = await redis.run("XINFO STREAM", STREAM)
    end = f"{info['entries-added']}@{info['last-generated-id'].decode()}"
    await eventually(lambda: {each.follower.status.position for each in replicas} == {end})
    lists = [await call(each, "list_tenants") for each in replicas]
    assert [tenant["version"] for tenant in lists[0]["tenants"]] == [each["version"] for each in lists[1]["tenants"]]
    found = await redis.get_many([Names().tenant(tenant["tenant_id"]) for tenant in lists[0]["tenants"]])
    assert len(found) == 7
    assert all(found)


async def test_writing_and_following_go_on_when_sentinels_replace_a_primary_that_was_killed(
    sentinel_set: SentinelSet, open_on: Open, open_client: OpenClient
) -> None:
    a, b = await open_on(sentinel_set.url), await open_on(sentinel_set.url)
    async with writing(a) as writer:
        before = sentinel_set.primary()
        before.kill()
        await writer.after(20)
        assert sentinel_set.primary() is not before

    await check(writer, a, b, open_client(sentinel_set.url))


async def test_writing_and_following_go_on_when_a_primary_that_is_well_is_deposed(
    sentinel_set: SentinelSet, open_on: Open, open_client: OpenClient
) -> None:
    if int(str(sentinel_set.primary().info("server").get("valkey_version", "0")).split(".")[0]) < 9:
        pytest.skip("MCP_POSTGRES_VALKEY_BIN names a server that cannot hand over before it is deposed; Valkey 9 can")
    a, b = await open_on(sentinel_set.url), await open_on(sentinel_set.url)
    redis, tail = open_client(sentinel_set.url), open_client(sentinel_set.url, connections=1, timeout=60.0)
    waiting = asyncio.create_task(tail.run("XREAD", "BLOCK", 50_000, "STREAMS", OTHER_STREAM, "0-0"))
    async with writing(a) as writer:
        await asyncio.to_thread(sentinel_set.fail_over)
        await writer.after(20)

    await check(writer, a, b, redis)
    # Who waits at the old primary is told so, and reads from the new one the next time.
    await asyncio.wait([waiting], timeout=40)
    assert isinstance(waiting.exception(), RegistryUnavailable)
    await redis.run("XADD", OTHER_STREAM, "*", "k", "v")
    assert len((await tail.run("XREAD", "STREAMS", OTHER_STREAM, "0-0"))[OTHER_STREAM.encode()]) == 1


async def test_writing_and_following_go_on_when_the_owner_of_the_logs_slot_is_killed(
    whole_cluster: ClusterOfThree, open_on: Open, open_client: OpenClient
) -> None:
    a, b = await open_on(whole_cluster.url), await open_on(whole_cluster.url)
    async with writing(a) as writer:
        before = await asyncio.to_thread(whole_cluster.owner, STREAM)
        before.kill()
        await writer.after(20)
        assert await asyncio.to_thread(whole_cluster.owner, STREAM) is not before

    await check(writer, a, b, open_client(whole_cluster.url))


async def test_writing_and_following_go_on_while_the_logs_slot_moves_to_another_server_and_back(
    whole_cluster: ClusterOfThree, open_on: Open, open_client: OpenClient
) -> None:
    cluster = whole_cluster
    a, b = await open_on(cluster.url), await open_on(cluster.url)
    slot, owner = cluster.slot(STREAM), await asyncio.to_thread(cluster.owner, STREAM)
    other = next(server for server in cluster.primaries() if server is not owner)
    async with writing(a) as writer:
        for source, target in ((owner, other), (other, owner)):
            for _ in cluster.moving(slot, source, target):
                await asyncio.sleep(0.2)
            await writer.after(20)
            assert await asyncio.to_thread(cluster.owner, STREAM) is target

    await check(writer, a, b, open_client(cluster.url))
