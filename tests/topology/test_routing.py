"""Which server a call goes to: while a slot moves, while nobody can be asked, and when the URL is the wrong one."""

import asyncio
from typing import Final

import pytest

from registry.errors import RegistryUnavailable
from registry.names import Names
from tests.servers import ClusterOfThree, SentinelSet
from tests.topology.conftest import WITHIN, OpenClient

STREAM: Final = Names().stream


async def test_every_server_of_a_cluster_is_known_as_ours_replicas_too(
    whole_cluster: ClusterOfThree, open_client: OpenClient
) -> None:
    known: set[tuple[str, int]] = set()
    async with asyncio.timeout(WITHIN):
        # A server that has just heard of the replica does not tell of it yet.
        while known != {("127.0.0.1", server.port) for server in whole_cluster.servers}:
            redis = open_client(whole_cluster.url)
            await redis.run("GET", "any")
            known = set(redis.known)


async def test_the_sentinels_and_every_primary_that_they_named_are_known_as_ours(
    sentinels: SentinelSet, open_client: OpenClient
) -> None:
    redis = open_client(sentinels.url)
    await redis.run("GET", "any")

    watched = [*sentinels.sentinels, await asyncio.to_thread(sentinels.primary)]
    assert redis.known == {("127.0.0.1", server.port) for server in watched}


async def test_at_every_step_of_a_slot_on_its_way_each_kind_of_call_finds_its_keys(
    whole_cluster: ClusterOfThree, open_client: OpenClient
) -> None:
    cluster, keys = whole_cluster, ["{slot}a", "{slot}b"]
    redis = open_client(cluster.url, connections=5)
    await redis.pipeline([["SET", key, "0"] for key in keys])
    source = await asyncio.to_thread(cluster.owner, keys[0])
    target = next(server for server in cluster.primaries() if server is not source)

    steps = []
    for step in cluster.moving(cluster.slot(keys[0]), source, target):
        steps.append(step)
        before = [int(value or 0) for value in await redis.get_many(keys)]
        # At the same time, so that more than one connection is open to either server.
        await asyncio.gather(*(redis.run("INCR", key) for key in keys for _ in range(5)))
        assert await redis.pipeline([["INCR", key] for key in keys]) == [value + 6 for value in before]
        for key, value in zip(keys, before, strict=True):
            assert await redis.atomically([["INCR", key], ["GET", key]]) == [value + 7, str(value + 7).encode()]

    assert steps == ["begun", "moved a key", "moved a key", "moved all keys", "done"]


async def test_a_call_on_keys_on_both_sides_of_a_move_is_put_off_and_then_refused_as_what_may_pass(
    whole_cluster: ClusterOfThree, open_client: OpenClient
) -> None:
    cluster, keys = whole_cluster, ["{slot}a", "{slot}b"]
    redis = open_client(cluster.url)
    await redis.pipeline([["SET", key, "0"] for key in keys])
    source = await asyncio.to_thread(cluster.owner, keys[0])
    target = next(server for server in cluster.primaries() if server is not source)

    moving = cluster.moving(cluster.slot(keys[0]), source, target)
    while next(moving) != "moved a key":
        pass
    with pytest.raises(RegistryUnavailable, match="on its way"):
        await redis.run("MGET", *keys)
    waiting = asyncio.create_task(redis.run("MGET", *keys))
    await asyncio.sleep(0)
    for _ in moving:
        pass

    assert await waiting == [b"0", b"0"]


async def test_a_primary_that_is_well_is_used_while_every_sentinel_is_away(
    sentinel_set: SentinelSet, open_client: OpenClient
) -> None:
    redis = open_client(sentinel_set.url, timeout=1.0)
    await redis.run("SET", "a", "1")
    for sentinel in sentinel_set.sentinels:
        sentinel.kill()

    with pytest.raises(RegistryUnavailable, match="in time"):
        await redis.run("XREAD", "BLOCK", 1500, "STREAMS", STREAM, "0-0")

    assert await redis.run("GET", "a") == b"1"


async def test_a_service_that_no_sentinel_knows_is_told(sentinels: SentinelSet, open_client: OpenClient) -> None:
    with pytest.raises(RegistryUnavailable, match="No Sentinel knows the service"):
        await open_client(sentinels.url.replace("tenants", "others")).run("PING")


async def test_a_server_that_is_no_cluster_is_told(
    sentinels: SentinelSet, cluster: ClusterOfThree, open_client: OpenClient
) -> None:
    primary = sentinels.primary()
    with pytest.raises(RegistryUnavailable, match="write redis://"):
        await open_client(f"redis+cluster://127.0.0.1:{primary.port}").run("PING")
    others = next(server for server in cluster.primaries() if server is not cluster.owner(STREAM))
    with pytest.raises(RegistryUnavailable, match=r"write redis\+cluster://"):
        await open_client(f"redis://127.0.0.1:{others.port}").run("GET", STREAM)
