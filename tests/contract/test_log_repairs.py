"""What every log keeps for those who start from it, and for those who mend it: cuts, epochs, notes and heads."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from registry import codec
from registry.entries import START, Entry, Epoch, Head, Position
from registry.log import Appended, Conflict, Diverged, Outcome, Proposal, Repeated, SetKey, TenantLog
from tests.logs import append_one, entry_in, head_in

Append: TypeAlias = Callable[[Proposal], Awaitable[Position]]
Damage: TypeAlias = Callable[[], Awaitable[None]]
DamageOf: TypeAlias = Callable[[str], Awaitable[None]]
Propose: TypeAlias = Callable[..., Proposal]


async def test_proposals_that_travel_together_are_appended_in_order_and_link(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    proposals = [propose(start, tenant=f"tenant-{each}", data=b"%d" % each) for each in range(5)]

    outcomes = await log.append(proposals)

    read = await log.read(start, 10)
    assert [Appended(entry.position) for entry in read if isinstance(entry, Entry)] == list(outcomes)
    assert [entry.data for entry in read if isinstance(entry, Entry)] == [b"0", b"1", b"2", b"3", b"4"]
    position = start
    for entry in read:
        assert isinstance(entry, Entry)
        assert entry.follows(position)
        position = entry.position


async def test_nothing_to_append_is_nothing_done(log: TenantLog, start: Position) -> None:
    assert list(await log.append([])) == []
    assert await log.end() == start


async def test_one_that_is_refused_in_the_middle_leaves_the_others_alone(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start, tenant="taken", key=SetKey("theirs")))

    outcomes = await log.append(
        [
            propose(start, tenant="a"),
            propose(start, tenant="taken", command="late", key=SetKey("ours")),
            propose(Position(9, "9-9"), tenant="lost"),
            propose(start, tenant="b"),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [Appended, Conflict, Diverged, Appended]
    assert [_seq(outcome) for outcome in outcomes] == [end.seq + 1, None, None, end.seq + 2]
    assert list(await log.data_keys(["taken"])) == ["theirs"]
    assert [head is not None for head in await log.heads(["a", "taken", "lost", "b"])] == [True, True, False, True]


async def test_of_two_of_one_tenant_that_travel_together_the_second_is_in_conflict(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    first, second = await log.append([propose(start, command="one"), propose(start, command="two")])

    assert isinstance(first, Appended)
    assert second == Conflict(await head_in(log, "acme"))
    assert len(await log.read(start, 10)) == 1


async def test_one_command_twice_in_one_journey_is_carried_out_once(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    first, second = await log.append([propose(start), propose(start)])

    assert isinstance(first, Appended)
    assert second == Repeated(msgspec.structs.replace(propose(start).head, position=first.position))


async def test_one_that_knows_what_the_one_before_it_will_do_is_appended_behind_it(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    expected = start.seq + 1
    outcomes = await log.append([propose(start, command="one"), propose(start, command="two", expected=expected)])

    assert [_seq(outcome) for outcome in outcomes] == [expected, expected + 1]


async def test_what_is_restated_is_not_taken_for_the_command_that_led_to_it(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    first = await append(propose(start))

    again = await append_one(log, said_again(propose(first, expected=first.seq)))
    stale = await append_one(log, said_again(propose(first, expected=first.seq)))

    assert isinstance(again, Appended)
    assert again.position.seq == first.seq + 1
    assert stale == Conflict(await head_in(log, "acme"))


async def test_the_command_that_led_to_what_was_restated_is_still_known_when_it_is_repeated(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    restated = await append(said_again(propose(start)))

    assert await append_one(log, propose(start)) == Repeated(
        msgspec.structs.replace(propose(start).head, position=restated)
    )


async def test_a_cut_is_the_end_the_epoch_and_every_head(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    await append(propose(start, tenant="a"))
    end = await append(propose(start, tenant="b", alive=False))

    cut = await log.cut()

    assert (cut.end, cut.epoch, cut.unreadable) == (end, Epoch("epoch", start.entry, start.entry), ())
    assert cut.heads == {name: await head_in(log, name) for name in ("a", "b")}


async def test_a_cut_of_no_log_has_no_end(log: TenantLog) -> None:
    cut = await log.cut()

    assert (cut.end, cut.epoch, cut.heads) == (None, None, {})


async def test_a_cut_of_a_log_that_is_gone_has_the_heads_that_are_left(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_stream: Damage
) -> None:
    await append(propose(start))
    await lose_stream()

    cut = await log.cut()

    assert cut.end is None
    assert list(cut.heads) == ["acme"]


async def test_a_cut_is_of_one_instant_however_many_write(log: TenantLog, start: Position, propose: Propose) -> None:
    async def write() -> None:
        for each in range(100):
            await append_one(log, propose(start, tenant=f"tenant-{each}", command=f"{each}"))

    writing = asyncio.create_task(write())
    for _ in range(20):
        cut = await log.cut()
        assert cut.end is not None
        assert max((head.position.seq for head in cut.heads.values()), default=start.seq) == cut.end.seq
    await writing


async def test_a_note_is_an_entry_that_links_and_concerns_no_tenant(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))
    before = await log.cut()

    added = await log.note(end, "log_compacted.v1", b"{}")

    assert added is not None
    assert await entry_in(log, added.entry) == Entry(added, end.entry, "log_compacted.v1", b"{}")
    assert await log.end() == added
    assert (await log.cut()).heads == before.heads
    assert await log.epoch() == before.epoch


async def test_a_note_that_opens_an_epoch_leaves_the_log_the_same_log(log: TenantLog, start: Position) -> None:
    added = await log.note(start, "log_restored.v1", b"{}", opens=opening("second", start.entry))

    assert added is not None
    assert await log.epoch() == Epoch("second", added.entry, start.entry)
    assert (await log.cut()).epoch == await log.epoch()


async def test_a_note_is_not_made_once_somebody_has_written_since(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))

    assert await log.note(start, "log_restored.v1", b"{}", opens=opening("second")) is None
    assert await log.note(Position(end.seq, start.entry), "log_restored.v1", b"{}", opens=opening("second")) is None
    assert await log.note(Position(start.seq, end.entry), "log_restored.v1", b"{}", opens=opening("second")) is None
    assert await log.end() == end
    assert await log.epoch() == Epoch("epoch", start.entry, start.entry)


async def test_a_note_is_not_made_where_there_is_no_log(log: TenantLog) -> None:
    assert await log.note(START, "log_restored.v1", b"{}", opens=opening("second")) is None
    assert await log.end() is None


async def test_of_those_who_note_at_the_same_moment_one_does(log: TenantLog, start: Position) -> None:
    noted = await asyncio.gather(
        *(log.note(start, "log_restored.v1", b"{}", opens=opening(f"{each}")) for each in range(8))
    )

    assert len([each for each in noted if each]) == 1
    assert len(await log.read(START, 10)) == 2


async def test_a_note_names_a_log_that_nothing_names(log: TenantLog, start: Position, lose_epoch: Damage) -> None:
    await lose_epoch()

    added = await log.note(start, "log_restored.v1", b"{}", opens=opening("second", start.entry))

    assert added is not None
    assert await log.epoch() == Epoch("second", added.entry, start.entry)


async def test_no_log_has_no_epoch(log: TenantLog) -> None:
    assert await log.epoch() is None


async def test_which_log_it_is_is_noted_where_nothing_says_so_and_nowhere_else(
    log: TenantLog, start: Position, lose_epoch: Damage
) -> None:
    first, other = Epoch("epoch", start.entry, start.entry), Epoch("other", "7-0", "7-0")
    await log.mark_epoch(other)
    assert await log.epoch() == first

    await lose_epoch()
    await log.mark_epoch(other)

    assert await log.epoch() == other


async def test_begun_anew_a_log_keeps_what_another_has_left_as_orphans(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_stream: Damage
) -> None:
    await append(propose(start, key=SetKey("wrapped")))
    await lose_stream()
    await asyncio.sleep(0.005)  # ids are of milliseconds: within one of them a log is not told from another

    first = await log.create("log_created.v1", b"{}", "second", anew=True)

    cut = await log.cut()
    assert first is not None
    assert first.seq == 1
    assert cut.end == first
    assert cut.epoch == Epoch("second", first.entry, first.entry)
    assert cut.epoch.is_orphan(cut.heads["acme"])
    assert list(await log.data_keys(["acme"])) == ["wrapped"]
    own = await append(propose(first, tenant="beta"))
    head = await head_in(log, "beta")
    assert head is not None
    assert head.position == own
    assert not cut.epoch.is_orphan(head)


async def test_to_begin_anew_does_nothing_to_a_log_that_is_there(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))

    assert await log.create("log_created.v1", b"{}", "second", anew=True) == end
    assert await log.epoch() == Epoch("epoch", start.entry, start.entry)


async def test_an_orphan_is_overwritten_by_whoever_has_seen_it(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_stream: Damage
) -> None:
    orphan = await append(propose(start))
    await lose_stream()
    first = await log.create("log_created.v1", b"{}", "second", anew=True)
    assert first is not None

    unaware = await append_one(log, propose(first, command="new"))
    aware = await append_one(log, propose(first, command="new", expected=orphan.seq))

    assert isinstance(unaware, Conflict)
    assert isinstance(aware, Appended)


async def test_entries_come_in_the_order_they_were_asked_for(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start, data=b"[1]"))

    found = await log.entries([end.entry, "1-1", start.entry, end.entry])

    assert [entry.position if isinstance(entry, Entry) else entry for entry in found] == [end, None, start, end]
    assert list(await log.entries([])) == []


async def test_the_entry_before_an_id_is_the_last_that_is_not_behind_it(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))
    milliseconds, count = (int(word) for word in end.entry.split("-"))

    assert await log.before(end.entry) == await entry_in(log, end.entry)
    assert await log.before(f"{milliseconds}-{count + 1}") == await entry_in(log, end.entry)
    assert await log.before(start.entry) == await entry_in(log, start.entry)
    assert await log.before("0-1") is None


async def test_nothing_is_before_the_first_entry_that_was_kept(
    log: TenantLog, start: Position, append: Append, propose: Propose, trim: Damage
) -> None:
    await append(propose(start))
    await trim()

    assert await log.before(start.entry) is None


async def test_heads_come_in_the_order_they_were_asked_for(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    ends = {tenant: await append(propose(start, tenant=tenant)) for tenant in ("a", "b")}

    found = await log.heads(["b", "nobody", "a"])

    assert [head.position if isinstance(head, Head) else None for head in found] == [ends["b"], None, ends["a"]]
    assert list(await log.heads([])) == []


async def test_heads_can_be_had_unread_as_they_stand(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    await append(propose(start, tenant="a"))

    raw = await log.raw_heads(["nobody", "a"])

    assert [head and codec.read_head(head) for head in raw] == list(await log.heads(["nobody", "a"]))
    assert list(await log.raw_heads([])) == []


async def test_a_head_that_is_missing_or_behind_is_put_back(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_head: DamageOf
) -> None:
    end = await append(propose(start))
    right = await head_in(log, "acme")
    assert right is not None
    await lose_head("acme")

    assert await log.mend_head("acme", right, end)
    assert await head_in(log, "acme") == right
    await log.mend_head("acme", msgspec.structs.replace(right, position=start), end)
    assert await log.mend_head("acme", right, end)
    assert await head_in(log, "acme") == right


async def test_a_head_of_behind_what_was_read_is_not_put_back(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    first = await append(propose(start, command="one"))
    old = await head_in(log, "acme")
    assert old is not None
    await append(propose(first, command="two", expected=first.seq))
    new = await head_in(log, "acme")

    assert not await log.mend_head("acme", old, first)
    assert await head_in(log, "acme") == new


async def test_a_head_that_is_ahead_of_the_log_is_mended(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))
    right = await head_in(log, "acme")
    assert right is not None
    assert await log.mend_head("acme", msgspec.structs.replace(right, position=Position(999, "999-0")), end)

    assert await log.mend_head("acme", right, end)
    assert await head_in(log, "acme") == right


async def test_no_head_is_put_back_by_whoever_has_read_another_log(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_head: DamageOf
) -> None:
    end = await append(propose(start))
    right = await head_in(log, "acme")
    assert right is not None
    await lose_head("acme")

    assert not await log.mend_head("acme", right, Position(end.seq, "1-1"))
    assert await head_in(log, "acme") is None


async def test_no_head_is_put_back_where_there_is_no_log(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_everything: Damage
) -> None:
    end = await append(propose(start))
    right = await head_in(log, "acme")
    assert right is not None
    await lose_everything()

    assert not await log.mend_head("acme", right, end)
    assert await head_in(log, "acme") is None


async def test_a_head_that_was_put_back_decides_who_may_append(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_head: DamageOf
) -> None:
    end = await append(propose(start, command="one"))
    right = await head_in(log, "acme")
    assert right is not None
    await lose_head("acme")
    assert isinstance(await append_one(log, propose(end, command="two", expected=end.seq)), Conflict)
    await log.mend_head("acme", right, end)

    assert isinstance(await append_one(log, propose(end, command="two", expected=end.seq)), Appended)


def _seq(outcome: Outcome) -> int | None:
    return outcome.position.seq if isinstance(outcome, Appended) else None


def said_again(proposal: Proposal) -> Proposal:
    return msgspec.structs.replace(proposal, restated=True)


def opening(name: str, begun: str = "1-0") -> Epoch:
    """Return an epoch that is to be opened: where is the log's to say."""
    return Epoch(name, "0-0", begun)
