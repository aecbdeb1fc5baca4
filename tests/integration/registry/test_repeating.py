"""Starts, crashes and lost replies: a command is carried out once, and what was cut short is seen through."""

import asyncio

import pytest

from registry.appender import TRIES
from registry.errors import (
    CommandReused,
    CorruptEntry,
    RegistryUnavailable,
    RemovedTenant,
)
from registry.names import Names
from registry.stored import document_of
from tests.two_replicas import PASSWORD, Crash, CrashingKeys, Replica, Start, command, eventually, login


async def test_a_replica_that_starts_again_folds_the_same(a: Replica, redis_url: str, start: Start) -> None:
    for each in range(30):
        await a.register(f"tenant-{each % 7}", host=f"db-{each}")
    await a.remove("tenant-3")

    again = await start(redis_url)

    assert again.follower.position == a.follower.position
    assert again.directory.epoch == a.directory.epoch
    assert set(map(repr, again.directory.all())) == set(map(repr, a.directory.all()))
    assert again.mended == []
    assert await again.password("tenant-1") == PASSWORD


async def test_more_entries_than_a_page_holds_are_all_replayed(a: Replica, redis_url: str, start: Start) -> None:
    await asyncio.gather(*(a.register(f"tenant-{each}") for each in range(1100)))

    again = await start(redis_url)

    assert len(again.directory) == 1100


async def test_a_crash_between_event_and_key_is_mended_by_the_next_start(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register("gone")
    dying = await start(redis_url, CrashingKeys())
    with pytest.raises(Crash):
        await dying.register()
    with pytest.raises(Crash):
        await dying.remove("gone")
    assert await a.document() is None
    assert await a.document("gone") is not None

    again = await start(redis_url)

    assert sorted(again.mended) == ["acme", "gone"]
    assert await again.document() == document_of(again.live())
    assert await again.document("gone") is None


async def test_a_lost_reply_makes_no_second_event(a: Replica) -> None:
    a.log.losing = 1

    result = await a.register()

    assert (result.status, result.version) == ("registered", 1)
    assert await a.log.end() == result.position
    assert result.position.seq == 2


async def test_a_command_whose_reply_was_lost_and_that_was_overtaken_is_not_carried_out_twice(
    a: Replica, b: Replica
) -> None:
    await a.register(host="old")
    a.log.losing = 1
    a.log.meanwhile = lambda: b.register(host="theirs")

    result = await a.register(host="ours", expected=1)

    assert (result.status, result.version) == ("replaced", 2)
    await eventually(lambda: a.live().version == 3)
    assert a.live().config.host == "theirs"
    document = await a.document()
    assert document == document_of(a.live())


async def test_the_retry_of_a_command_gets_the_first_answer_on_any_replica_and_however_late(
    a: Replica, b: Replica
) -> None:
    first = await a.registry.register("acme", login(), command("c1"))
    second = await a.registry.register("acme", login(host="other"), command("c2"))
    removed = await b.registry.remove("acme", command("c3"))
    end = await a.log.end()

    for replica in (a, b):
        assert await replica.registry.register("acme", login(), command("c1")) == first
        assert await replica.registry.register("acme", login(host="other"), command("c2")) == second
        assert await replica.registry.remove("acme", command("c3")) == removed

    assert [first.status, second.status, removed.status] == ["registered", "replaced", "removed"]
    assert await a.log.end() == end


async def test_a_command_id_with_another_content_is_refused(a: Replica, b: Replica) -> None:
    await a.registry.register("acme", login(), command("c1"))
    end = await a.log.end()

    for again in (
        b.registry.register("acme", login(host="other"), command("c1")),
        b.registry.register("acme", login(password="another"), command("c1")),
        b.registry.remove("acme", command("c1")),
    ):
        with pytest.raises(CommandReused, match="c1"):
            await again
    assert await a.log.end() == end


async def test_the_same_command_at_the_same_moment_on_two_replicas_is_carried_out_once(a: Replica, b: Replica) -> None:
    results = await asyncio.gather(
        *(replica.registry.register("acme", login(), command("c1")) for replica in (a, b, a, b))
    )

    assert {(result.status, result.version) for result in results} == {("registered", 1)}
    end = await a.log.end()
    assert end is not None
    assert end.seq == 2
    assert await a.document() == document_of(a.live())
    assert await a.password() == PASSWORD


async def test_a_head_that_was_deleted_by_hand_is_told_instead_of_a_conflict_without_end(a: Replica) -> None:
    await a.register()
    await a.commands.run("HDEL", Names().heads, "acme")

    with pytest.raises(CorruptEntry, match="heads by hand"):
        await a.register(host="other")

    assert a.live().version == 1


async def test_a_removal_that_was_cut_short_before_its_key_is_seen_through_by_its_retry(
    redis_url: str, start: Start, a: Replica
) -> None:
    crashing = await start(redis_url, CrashingKeys())
    await a.register()
    with pytest.raises(Crash):
        await crashing.remove()
    assert await a.document() is not None

    with pytest.raises(RemovedTenant):
        await a.remove()

    assert await a.document() is None


async def test_when_nobody_knows_whether_it_happened_the_same_call_again_finds_out(a: Replica) -> None:
    a.log.losing = TRIES
    with pytest.raises(RegistryUnavailable):
        await a.register()

    result = await a.register()

    assert (result.status, result.version, result.position.seq) == ("unchanged", 1, 2)
    assert await a.document() == document_of(a.live())
