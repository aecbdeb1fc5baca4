"""Redis is away and comes back: reads go on, writes fail, and the replicas go on by themselves."""

import asyncio

import pytest

from projections.phase import Phase
from registry.errors import (
    RegistryUnavailable,
)
from registry.names import Names
from registry.stored import document_of
from server.embedded.valkey import EmbeddedValkey
from tests.two_replicas import PASSWORD, Start, eventually


async def test_while_redis_is_away_reads_go_on_and_writes_fail(own_valkey: EmbeddedValkey, start: Start) -> None:
    a = await start(own_valkey.url)
    await a.register()
    await own_valkey.stop()

    with pytest.raises(RegistryUnavailable):
        await a.register(host="other")
    with pytest.raises(RegistryUnavailable):
        await a.remove()
    await a.reaches(Phase.CUT_OFF)
    with pytest.raises(RegistryUnavailable):
        await a.register(host="other")

    assert await a.follower.tenant("acme") == a.live()
    assert await a.password() == PASSWORD
    assert a.follower.status.ready


async def test_while_redis_is_away_a_tenant_that_is_unknown_here_is_not_said_to_be_unknown(
    own_valkey: EmbeddedValkey, start: Start
) -> None:
    a = await start(own_valkey.url)
    await own_valkey.stop()
    await a.reaches(Phase.CUT_OFF)

    with pytest.raises(RegistryUnavailable):
        await a.follower.tenant("acme")


async def test_when_redis_is_back_the_replicas_go_on_by_themselves(own_valkey: EmbeddedValkey, start: Start) -> None:
    a, b = await start(own_valkey.url), await start(own_valkey.url)
    await asyncio.gather(*(a.register(f"tenant-{each}") for each in range(20)))
    await own_valkey.stop()
    await a.reaches(Phase.CUT_OFF)
    await own_valkey.start()
    await a.reaches(Phase.FOLLOWING)

    result = await a.register()

    await eventually(lambda: b.directory.tenant("acme") is not None)
    assert (len(a.directory), result.position.seq) == (21, 22)
    assert b.live() == a.live()


async def test_a_key_that_was_damaged_is_mended_when_redis_is_back(own_valkey: EmbeddedValkey, start: Start) -> None:
    a = await start(own_valkey.url)
    await a.register()
    await a.commands.run("SET", Names().tenant("acme"), "edited")
    await own_valkey.stop()
    await a.reaches(Phase.CUT_OFF)
    await own_valkey.start()
    await a.reaches(Phase.FOLLOWING)

    assert a.mended == ["acme"]
    assert await a.document() == document_of(a.live())


async def test_a_replica_that_starts_while_redis_is_away_is_not_ready_until_it_is_there(
    own_valkey: EmbeddedValkey, start: Start
) -> None:
    await (await start(own_valkey.url)).register()
    await own_valkey.stop()
    late = await start(own_valkey.url, ready=False)
    await eventually(lambda: late.follower.status.reason is not None)

    assert (late.follower.status.ready, late.follower.status.phase) == (False, Phase.CONNECTING)
    with pytest.raises(RegistryUnavailable, match="not read the whole registry"):
        await late.register()

    await own_valkey.start()
    await late.follower.complete()
    assert late.live().config.host == "db"
