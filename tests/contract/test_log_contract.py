"""What every log keeps, put to each of them: the one in memory and the one on Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
import pytest

from registry.entries import START, Entry, Position
from registry.log import (
    Appended,
    Conflict,
    DestroyKey,
    Diverged,
    KeepKey,
    KeyChange,
    Proposal,
    Repeated,
    Reused,
    SetKey,
    TenantLog,
    Twin,
)
from tests.logs import append_one, entry_in, head_in

Append: TypeAlias = Callable[[Proposal], Awaitable[Position]]
Damage: TypeAlias = Callable[[], Awaitable[None]]
Propose: TypeAlias = Callable[..., Proposal]


async def test_a_log_is_created_with_its_first_entry(log: TenantLog) -> None:
    end = await log.create("log_created.v1", b'{"a":1}', "epoch")

    assert end == await log.end()
    assert end is not None
    assert list(await log.read(START, 10)) == [Entry(end, START.entry, "log_created.v1", b'{"a":1}')]


async def test_replicas_that_start_together_create_one_log(log: TenantLog) -> None:
    ends = await asyncio.gather(*(log.create("log_created.v1", b"%d" % each, "epoch") for each in range(8)))

    assert len(set(ends)) == 1
    assert len(await log.read(START, 10)) == 1


async def test_creating_a_log_that_is_there_returns_its_end(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))

    assert await log.create("log_created.v1", b"{}", "epoch") == end
    assert len(await log.read(START, 10)) == 2


async def test_a_log_that_is_gone_while_its_heads_are_there_is_not_begun_anew(
    log: TenantLog, append: Append, propose: Propose, start: Position, lose_stream: Damage
) -> None:
    await append(propose(start))
    await lose_stream()

    assert await log.create("log_created.v1", b"{}", "epoch") is None
    assert await log.end() is None


async def test_no_log_has_no_end_and_nothing_to_read(log: TenantLog) -> None:
    assert await log.end() is None
    assert not await log.read(START, 10)


async def test_each_entry_links_to_the_one_before(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    await append(propose(start, tenant="a", data=b'"one"'))
    await append(propose(start, tenant="b", data=b'"two"'))

    read = await log.read(START, 10)

    position = START
    for entry in read:
        assert isinstance(entry, Entry)
        assert entry.follows(position)
        position = entry.position
    assert position == await log.end()
    assert [entry.data for entry in read if isinstance(entry, Entry)] == [b"{}", b'"one"', b'"two"']


async def test_data_is_kept_byte_for_byte(log: TenantLog, start: Position, append: Append, propose: Propose) -> None:
    data = bytes(range(256))
    position = await append(propose(start, data=data))

    entry = await entry_in(log, position.entry)

    assert isinstance(entry, Entry)
    assert entry.data == data


async def test_a_tenants_head_is_its_last_event(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    first = await append(propose(start, command="one"))
    gone = propose(first, expected=first.seq, alive=False, command="two")
    second = await append(gone)

    assert await head_in(log, "acme") == msgspec.structs.replace(gone.head, position=second)


async def test_a_tenant_that_the_log_never_heard_of_has_no_head(log: TenantLog, start: Position) -> None:
    assert start == await log.end()
    assert await head_in(log, "acme") is None


async def test_a_writer_that_a_faster_one_overtook_is_told_the_present_head(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    await append(propose(start, command="fast"))

    outcome = await append_one(log, propose(start, command="slow"))

    assert outcome == Conflict(await head_in(log, "acme"))
    assert len(await log.read(START, 10)) == 2


async def test_a_writer_that_knows_a_tenant_which_the_log_does_not_is_in_conflict(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    assert await append_one(log, propose(start, expected=7)) == Conflict(None)
    assert await log.end() == start


async def test_of_writers_at_the_same_moment_one_wins(log: TenantLog, start: Position, propose: Propose) -> None:
    outcomes = await asyncio.gather(*(append_one(log, propose(start, command=f"{each}")) for each in range(8)))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Appended", *["Conflict"] * 7]
    assert len(await log.read(START, 10)) == 2


async def test_writers_of_different_tenants_never_conflict(log: TenantLog, start: Position, propose: Propose) -> None:
    outcomes = await asyncio.gather(
        *(append_one(log, propose(start, tenant=f"tenant-{each}", command=f"{each}")) for each in range(50))
    )

    assert {type(outcome) for outcome in outcomes} == {Appended}
    assert len(await log.read(START, 100)) == 51


async def test_the_same_command_again_appends_nothing_and_gets_the_first_answer(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    proposal = propose(start)
    first = await append(proposal)

    again = await append_one(log, proposal)

    assert again == Repeated(msgspec.structs.replace(proposal.head, position=first))
    assert await log.end() == first


async def test_the_same_command_at_the_same_moment_is_carried_out_once(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    outcomes = await asyncio.gather(*(append_one(log, propose(start)) for _ in range(8)))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Appended", *["Repeated"] * 7]
    assert len(await log.read(START, 10)) == 2


async def test_a_command_id_used_again_with_other_content_is_refused(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start))

    outcome = await append_one(log, propose(start, digest="another"))

    assert outcome == Reused(msgspec.structs.replace(propose(start).head, position=end))
    assert await log.end() == end


async def test_one_command_id_may_serve_two_tenants(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    await append(propose(start, tenant="a"))

    assert isinstance(await append_one(log, propose(start, tenant="b")), Appended)


async def test_a_writer_is_refused_when_there_is_no_log(log: TenantLog, propose: Propose) -> None:
    assert await append_one(log, propose(Position(1, "1-0"))) == Diverged(None)
    assert await log.end() is None


async def test_a_writer_is_refused_after_the_log_was_deleted(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_stream: Damage
) -> None:
    end = await append(propose(start))
    await lose_stream()

    assert await append_one(log, propose(end, expected=end.seq, command="next")) == Diverged(None)
    assert await log.end() is None


async def test_a_repeated_command_is_not_said_to_be_in_a_log_that_is_gone(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_stream: Damage
) -> None:
    await append(propose(start))
    await lose_stream()

    assert await append_one(log, propose(start)) == Diverged(None)


async def test_a_writer_is_refused_when_what_it_has_read_was_trimmed_away(
    log: TenantLog, start: Position, append: Append, propose: Propose, trim: Damage
) -> None:
    end = await append(propose(start))
    await trim()

    assert await append_one(log, propose(start, tenant="beta")) == Diverged(end)
    assert await log.end() == end


async def test_a_writer_that_has_read_up_to_the_end_is_not_disturbed_by_a_trim(
    log: TenantLog, start: Position, append: Append, propose: Propose, trim: Damage
) -> None:
    end = await append(propose(start))
    await trim()

    outcome = await append_one(log, propose(end, tenant="beta"))

    assert isinstance(outcome, Appended)
    assert outcome.position.seq == end.seq + 1


async def test_a_writer_is_refused_by_a_log_that_took_the_place_of_its_own(
    log: TenantLog, start: Position, append: Append, propose: Propose, lose_everything: Damage
) -> None:
    end = await append(propose(start))
    await lose_everything()
    other = await log.create("log_created.v1", b'"another"', "epoch")

    assert await append_one(log, propose(end, tenant="beta")) == Diverged(other)
    assert await log.end() == other


async def test_the_count_of_a_position_must_be_the_logs_too(log: TenantLog, start: Position, propose: Propose) -> None:
    assert await append_one(log, propose(Position(start.seq + 1, start.entry))) == Diverged(start)


@pytest.mark.parametrize(
    ("change", "after"),
    [
        pytest.param(KeepKey(), "first", id="kept"),
        pytest.param(SetKey("second"), "second", id="set anew"),
        pytest.param(DestroyKey(), None, id="destroyed"),
    ],
)
async def test_the_data_key_changes_with_the_event(
    change: KeyChange, after: str | None, log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start, key=SetKey("first"), command="one"))

    await append(propose(end, expected=end.seq, command="two", key=change))

    assert list(await log.data_keys(["acme"])) == [after]


@pytest.mark.parametrize("change", [SetKey("second"), DestroyKey()], ids=["set", "destroyed"])
async def test_the_data_key_stays_when_nothing_is_appended(
    change: KeyChange, log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    end = await append(propose(start, key=SetKey("first"), command="one"))

    refused = [
        await append_one(log, propose(start, command="late", key=change)),
        await append_one(log, propose(start, command="one", key=change)),
        await append_one(log, propose(start, command="one", digest="other", key=change)),
        await append_one(log, propose(Position(9, "9-9"), expected=end.seq, command="lost", key=change)),
    ]

    assert [type(outcome) for outcome in refused] == [Conflict, Repeated, Reused, Diverged]
    assert list(await log.data_keys(["acme"])) == ["first"]


async def test_data_keys_come_in_the_order_they_were_asked_for(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    for tenant in ("a", "b"):
        await append(propose(start, tenant=tenant, key=SetKey(f"key of {tenant}")))

    assert list(await log.data_keys(["b", "nobody", "a"])) == ["key of b", None, "key of a"]
    assert list(await log.data_keys([])) == []


async def test_a_page_ends_at_its_limit_and_the_next_goes_on_from_there(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    for each in range(5):
        await append(propose(start, tenant=f"tenant-{each}"))

    sizes, position = [], START
    while page := await log.read(position, 4):
        sizes.append(len(page))
        assert isinstance(page[-1], Entry)
        position = page[-1].position

    assert sizes == [4, 2]
    assert position.seq == 6


async def test_a_waiting_read_returns_at_once_what_is_there(log: TenantLog, start: Position) -> None:
    (entry,) = await log.read(START, 10, 60)

    assert isinstance(entry, Entry)
    assert entry.position == start


async def test_a_waiting_read_wakes_up_when_something_is_appended(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    reading = asyncio.create_task(_read(log, start))
    await asyncio.sleep(0.05)
    assert not reading.done()

    end = await append(propose(start))
    (entry,) = await reading

    assert isinstance(entry, Entry)
    assert entry.position == end


async def test_a_waiting_read_returns_nothing_when_nothing_comes(log: TenantLog, start: Position) -> None:
    assert not await log.read(start, 10, 0.02)


async def test_a_read_after_a_cancelled_one_gets_what_came(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    reading = asyncio.create_task(_read(log, start))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait([reading])

    end = await append(propose(start))
    (entry,) = await log.read(start, 10, 1)

    assert isinstance(entry, Entry)
    assert entry.position == end


async def test_an_entry_is_found_by_its_id(log: TenantLog, start: Position, append: Append, propose: Propose) -> None:
    end = await append(propose(start, data=b"[1]"))

    assert await entry_in(log, end.entry) == Entry(end, start.entry, "t", b"[1]")


async def test_an_id_that_the_log_does_not_have_finds_nothing(log: TenantLog, start: Position) -> None:
    assert start == await log.end()
    assert await entry_in(log, "1-1") is None


async def _read(log: TenantLog, after: Position) -> list[object]:
    return list(await log.read(after, 10, 8))


def _alone(proposal: Proposal) -> Proposal:
    """Return the proposal of a tenant that must not come beside one of its name."""
    data = b'{"actor":"\\"tenant\\":\\"x\\"","tenant":"%s"}' % proposal.tenant.encode()
    return msgspec.structs.replace(proposal, alone=True, type="tenant_registered.v1", data=data)


async def test_of_two_tenants_whose_ids_differ_in_case_alone_the_one_that_comes_second_is_not_appended(
    log: TenantLog, start: Position, append: Append, propose: Propose
) -> None:
    first = await append(_alone(propose(start, tenant="acme")))

    assert await append_one(log, _alone(propose(start, tenant="Acme", command="other"))) == Twin("acme")
    assert await log.end() == first
    assert await head_in(log, "Acme") is None


async def test_of_two_that_travel_together_the_second_is_not_appended(
    log: TenantLog, start: Position, propose: Propose
) -> None:
    names = ("acme", "ACME", "beta", "Acme")

    outcomes = await log.append([_alone(propose(start, tenant=name, command=name)) for name in names])

    assert [type(outcome) for outcome in outcomes] == [Appended, Twin, Appended, Twin]


async def test_what_a_writer_has_read_already_is_its_own_to_weigh(
    start: Position, append: Append, propose: Propose
) -> None:
    read = await append(_alone(propose(start, tenant="acme")))

    await append(_alone(propose(read, tenant="ACME", command="other")))


async def test_a_log_that_has_twins_already_goes_on_with_both(
    start: Position, append: Append, propose: Propose
) -> None:
    await append(_alone(propose(start, tenant="acme")))
    twin = await append(propose(start, tenant="ACME", command="other"))

    await append(propose(start, tenant="ACME", expected=twin.seq, command="third"))


async def test_a_tenant_that_was_just_removed_is_in_nobodys_way(
    start: Position, append: Append, propose: Propose
) -> None:
    gone = _alone(propose(start, tenant="acme", alive=False))
    await append(msgspec.structs.replace(gone, type="tenant_removed.v1"))

    await append(_alone(propose(start, tenant="ACME", command="other")))
