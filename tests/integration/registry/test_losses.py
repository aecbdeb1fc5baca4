"""A log that is lost, replaced or shortened is seen, and what it lost is said again by a replica that holds it."""

import asyncio
from collections.abc import Sequence

import pytest

from projections.diagnosis import Finding
from projections.phase import Phase
from registry import codec
from registry.entries import AsOf, Entry, Epoch, Foreign, Position
from registry.errors import (
    LogDiverged,
    RegistryUnavailable,
)
from registry.events import LogRestored
from registry.log import Outcome, Proposal
from registry.names import Names
from registry.state import Quarantined, Removed
from registry.stored import document_of, head_of
from server.adopting import adopt_once
from tests.two_replicas import PASSWORD, STREAM, Replica, Start, eventually, now


async def test_a_log_that_is_lost_is_seen_and_nothing_is_written_into_the_void(a: Replica) -> None:
    await a.register()
    await a.commands.run("FLUSHALL")

    # Until the replica has found out what happened it may be over in a moment; afterwards an operator has to mend it.
    with pytest.raises((RegistryUnavailable, LogDiverged), match=r"does not hold|The log is gone"):
        await a.register(host="other")
    await a.reaches(Phase.DIVERGED)
    for attempt in (a.register("beta"), a.register(host="other"), a.remove()):
        with pytest.raises(LogDiverged, match="The log is gone"):
            await attempt

    assert a.live().config.host == "db"
    assert a.follower.status.ready
    assert await a.commands.run("DBSIZE") == 0


async def test_keys_are_adopted_once_the_log_that_was_lost_when_they_were_found_is_back(a: Replica) -> None:
    await a.register()
    dump = await a.commands.run("DUMP", STREAM)
    await a.commands.run("DEL", STREAM)
    await a.reaches(Phase.DIVERGED)
    await a.commands.run("SET", Names().tenant("old"), '{"host":"db","port":5432,"database":"app","user":"reader"}')
    adopting = asyncio.create_task(adopt_once(a.commands, Names(), a.follower, a.registry))
    await asyncio.sleep(0.1)
    assert not adopting.done()

    await a.commands.run("RESTORE", STREAM, 0, dump)
    await adopting

    assert a.live("old").config.host == "db"


async def test_a_log_that_was_replaced_by_another_is_seen(a: Replica, redis_url: str, start: Start) -> None:
    await a.register()
    await a.register(host="other")
    await a.commands.run("FLUSHALL")
    newcomer = await start(redis_url)
    await newcomer.register("beta")

    await a.reaches(Phase.DIVERGED)

    assert (a.live().config.host, a.directory.tenant("beta")) == ("other", None)
    with pytest.raises(LogDiverged):
        await a.register()


async def test_a_longer_log_in_the_place_of_ours_is_seen(a: Replica, redis_url: str, start: Start) -> None:
    await a.register()
    await a.commands.run("FLUSHALL")
    newcomer = await start(redis_url)
    for each in range(5):
        await newcomer.register(f"tenant-{each}")

    await a.reaches(Phase.DIVERGED)

    assert [tenant.tenant for tenant in a.directory.live()] == ["acme"]


async def test_a_log_whose_last_entry_was_deleted_is_seen_by_whoever_has_not_read_it_and_got_over(
    a: Replica, redis_url: str, start: Start
) -> None:
    last = await a.register()
    await a.commands.run("XDEL", STREAM, last.position.entry)

    late = await start(redis_url)

    assert late.follower.status.findings == {Finding.RESYNCHRONISED: 1}
    assert late.follower.position == last.position
    assert late.live() == a.live()
    assert (await late.register(host="other")).version == 2
    await eventually(lambda: a.live() == late.live())


async def test_a_tenant_that_neither_the_log_nor_its_key_tells_of_is_set_aside_and_the_others_are_served(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register("beta")
    last = await a.register()
    await a.commands.run("XDEL", STREAM, last.position.entry)
    await a.commands.run("DEL", Names().tenant("acme"))

    late = await start(redis_url)

    assert isinstance(late.directory.tenant("acme"), Quarantined)
    assert late.live("beta") == a.live("beta")
    assert (await late.register()).version == 2


async def test_a_log_that_is_gone_while_its_heads_are_there_is_not_begun_anew_by_a_newcomer(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    await a.commands.run("DEL", STREAM)

    late = await start(redis_url, ready=False)
    await late.reaches(Phase.DIVERGED)

    assert not late.follower.status.ready
    assert "The log is gone" in str(late.follower.status.reason)
    assert await a.commands.run("EXISTS", STREAM) == 0


async def test_a_newcomer_that_may_restore_begins_the_log_anew_from_heads_and_keys(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    await a.register("gone")
    await a.remove("gone")
    await a.commands.run("DEL", STREAM)

    late = await start(redis_url, restores=True)

    assert (late.live().config, late.live().event_id) == (a.live().config, a.live().event_id)
    assert isinstance(late.directory.tenant("gone"), Removed)
    assert await late.password() == PASSWORD
    assert (await late.register(host="other")).version == 2


async def test_what_a_log_lost_with_everything_else_is_said_again_by_whoever_holds_it(
    redis_url: str, start: Start
) -> None:
    a, b = await start(redis_url, restores=True), await start(redis_url, restores=True)
    await a.register()
    await a.register("gone")
    await a.remove("gone")
    await b.follower.refresh("gone")
    held = a.live()
    await a.commands.run("FLUSHALL")

    for replica in (a, b):
        await replica.leaves(held.position)
        await replica.reaches(Phase.FOLLOWING)

    await b.follower.refresh("acme")
    await eventually(lambda: a.follower.position == b.follower.position)
    assert set(map(repr, a.directory.all())) == set(map(repr, b.directory.all()))
    assert (a.live().event_id, a.live().version) == (held.event_id, held.version)
    assert isinstance(a.directory.tenant("gone"), Removed)
    assert await a.document() == document_of(a.live())
    assert list(await a.log.data_keys(["acme", "gone"])) == [a.keyring.wrapped(held), None]
    fresh = await start(redis_url)
    assert await fresh.password() == PASSWORD


@pytest.mark.parametrize("damaged", ["garbage", "2|1-0|x|1|event|command|digest"])
async def test_a_log_is_restored_also_where_a_head_is_damaged(damaged: str, redis_url: str, start: Start) -> None:
    replica = await start(redis_url, restores=True)
    await replica.register("acme")
    await replica.register("beta")
    before = replica.live("beta").position

    await replica.commands.atomically([("DEL", STREAM), ("HSET", Names().heads, "acme", damaged)])

    await eventually(lambda: replica.live("beta").position != before)
    await replica.reaches(Phase.FOLLOWING)
    assert await replica.log.heads(["acme"]) == [head_of(replica.live("acme"))]


async def test_what_was_decided_on_a_log_that_is_restored_meanwhile_is_refused_as_to_be_tried_again(
    redis_url: str, start: Start
) -> None:
    a = await start(redis_url, restores=True)
    for host in ("one", "two", "three"):
        await a.register(host=host)
    before = a.live().position

    async def lose_and_restore(tenants: Sequence[str]) -> Sequence[str | None]:
        """Lose everything between the decision and the append, once."""
        del a.log.data_keys  # the class's own comes to light
        told = await a.log.data_keys(tenants)
        await a.commands.run("FLUSHALL")
        await a.leaves(before)
        return told

    a.log.data_keys = lose_and_restore  # type: ignore[method-assign]  # a loss at just this moment

    with pytest.raises(RegistryUnavailable, match="does not hold"):
        await a.register(host="four")

    await a.reaches(Phase.FOLLOWING)
    assert (await a.register(host="four")).version == 4


async def test_a_removal_keeps_the_key_gone_although_an_epoch_opened_before_it_was_appended(
    redis_url: str, start: Start
) -> None:
    """Or who read the tenant in between, in the new epoch, would write it over the removal's fence."""
    a = await start(redis_url)
    await a.register()
    tenant, append = a.live(), a.log.append

    async def restore_before(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        a.log.append = append  # type: ignore[method-assign]  # once
        end, epoch = await a.log.end(), a.directory.epoch
        assert end is not None
        assert epoch is not None
        note = LogRestored(
            event_id="note", time=now(), actor="b", epoch="second", outcome="log_gone",
            lost_epoch=None, lost_position=None, live=0, removed=0,
        )  # fmt: skip
        opened = Epoch("second", "", epoch.begun)
        assert await a.log.note(end, codec.type_of(note), codec.encode(note), opens=opened)
        await a.follower.reached(Position(end.seq + 1, ""))
        return await append(proposals)

    a.log.append = restore_before  # type: ignore[method-assign]  # somebody restores at just this moment
    await a.remove()
    read = AsOf(a.directory.as_of.epoch, tenant.position)

    assert await a.keys.materialise(tenant, read) is False
    assert await a.document() is None


async def test_a_change_that_was_lost_before_this_replica_read_it_is_not_said_to_be_served(
    redis_url: str, start: Start
) -> None:
    a = await start(redis_url, restores=True)
    read, append = a.log.read, a.log.append
    late, lost = asyncio.Event(), asyncio.Event()

    async def read_after_the_loss(after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        late.set()
        await lost.wait()
        return await read(after, limit, wait)

    async def append_and_lose(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await append(proposals)
        a.log.append = append  # type: ignore[method-assign]  # once
        await a.commands.run("FLUSHALL")
        lost.set()
        return outcomes

    a.log.read = read_after_the_loss  # type: ignore[method-assign]  # a tail that is late
    await late.wait()  # the read that was under way has come back with nothing
    a.log.append = append_and_lose  # type: ignore[method-assign]  # a loss at just this moment

    registering = asyncio.create_task(a.register("acme"))
    await lost.wait()
    await eventually(lambda: a.follower.status.phase is Phase.FOLLOWING and a.follower.status.found is not None)
    await a.register("other")

    assert not (await registering).served
    assert a.directory.tenant("acme") is None
