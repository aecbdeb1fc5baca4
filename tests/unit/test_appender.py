"""The appender: many travel together, each is told its own, and whoever leaves takes nothing of the others along."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import pytest

from registry import codec
from registry.appender import TRIES, Appender
from registry.entries import START, Entry, Head, Position
from registry.errors import RegistryUnavailable
from registry.events import TenantRegistered
from registry.log import Appended, Conflict, KeepKey, Outcome, Proposal, Repeated
from registry.memory_log import MemoryLog
from registry.tally import Tally

MANY: Final = 64
"""The most that travel together."""


class SlowLog(MemoryLog):
    """A log that holds each batch at its door until it is let in, and at will loses replies."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.door = asyncio.Event()
        self.door.set()
        self.shuts = False
        """Whether the door shuts behind each batch."""
        self.arrived = asyncio.Event()
        self.losing = 0
        self.refusing = 0
        self.broken = False

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        self.batches.append([proposal.tenant for proposal in proposals])
        self.arrived.set()
        await self.door.wait()
        if self.shuts:
            self.door.clear()
        if self.broken:
            raise ValueError("broken")
        if self.refusing:
            self.refusing -= 1
            raise RegistryUnavailable("Redis cannot be reached; try again.")
        outcomes = await super().append(proposals)
        if self.losing:
            self.losing -= 1
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return outcomes

    async def is_reached(self) -> None:
        async with asyncio.timeout(10):
            await self.arrived.wait()

    def tenants(self) -> list[str]:
        """Whose events are in the log, in order."""
        told = [entry for entry in self._entries[1:] if isinstance(entry, Entry)]
        return [codec._NAMED.decode(entry.data).tenant for entry in told]


@pytest.fixture
async def log() -> SlowLog:
    log = SlowLog()
    await log.create("log_created.v1", b"{}", "epoch")
    return log


@pytest.fixture
def appender(log: SlowLog) -> Appender:
    return Appender(log)


@pytest.fixture
def propose(registered: Callable[[int], TenantRegistered]) -> Callable[..., Proposal]:
    """What makes a proposal of a tenant's first event."""

    def make(tenant: str, command: str = "command", *, expected: int = 0, version: int = 1) -> Proposal:
        event = registered(version)
        body = codec.encode(event).replace(b'"acme"', b'"%s"' % tenant.encode())
        body = body.replace(event.command_id.encode(), command.encode())
        if expected:
            body = body.replace(b'"previous":null', b'"previous":"%d-0"' % expected)
        return Proposal(
            tenant=tenant,
            expected=expected,
            after=Position(1, "1-0"),
            type=codec.type_of(event),
            data=body,
            head=Head(START, version, alive=True, event_id=f"event of {command}", command_id=command, digest="d"),
            key=KeepKey(),
        )

    return make


Propose = Callable[..., Proposal]


async def under_way(appender: Appender, log: SlowLog, proposal: Proposal) -> asyncio.Task[Outcome]:
    """Begin to append, and return when the batch stands at the log's door, which is closed."""
    log.door.clear()
    task = asyncio.create_task(appender.append(proposal))
    await log.is_reached()
    return task


async def next_under_way(log: SlowLog, first: asyncio.Task[Outcome]) -> None:
    """Let the first batch through; return when the next stands at the door, which has shut again."""
    log.arrived.clear()
    log.shuts = True
    log.door.set()
    await all_of([first])
    await log.is_reached()
    log.shuts = False


async def begin(appender: Appender, proposals: Sequence[Proposal]) -> list[asyncio.Task[Outcome]]:
    """Begin to append each; return when all of them wait."""
    tasks = [asyncio.create_task(appender.append(proposal)) for proposal in proposals]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def all_of(tasks: Sequence[asyncio.Task[Outcome]]) -> list[Outcome]:
    async with asyncio.timeout(10):
        return list(await asyncio.gather(*tasks))


async def test_what_is_proposed_while_a_batch_is_under_way_travels_together_in_the_next(
    appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first"))
    others = await begin(appender, [propose(f"t{each}") for each in range(5)])
    log.door.set()

    outcomes = await all_of([first, *others])

    assert log.batches == [["first"], ["t0", "t1", "t2", "t3", "t4"]]
    assert [outcome.position.seq for outcome in outcomes if isinstance(outcome, Appended)] == [2, 3, 4, 5, 6, 7]


async def test_who_is_alone_waits_for_nobody(appender: Appender, log: SlowLog, propose: Propose) -> None:
    for tenant in ("a", "b"):
        async with asyncio.timeout(10):
            assert isinstance(await appender.append(propose(tenant)), Appended)

    assert log.batches == [["a"], ["b"]]


async def test_no_more_travel_together_than_redis_may_be_held_for(
    appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first"))
    others = await begin(appender, [propose(f"t{each}") for each in range(2 * MANY + 1)])
    log.door.set()
    await all_of([first, *others])

    assert [len(batch) for batch in log.batches] == [1, MANY, MANY, 1]
    assert log.tenants() == ["first", *(f"t{each}" for each in range(2 * MANY + 1))]


async def test_each_of_a_batch_is_told_its_own(appender: Appender, log: SlowLog, propose: Propose) -> None:
    first = await under_way(appender, log, propose("first", "c0"))
    tasks = await begin(appender, [propose("a", "c1"), propose("a", "c2"), propose("b", "c3"), propose("a", "c1")])
    log.door.set()

    outcomes = await all_of([first, *tasks])

    assert [type(outcome) for outcome in outcomes] == [Appended, Appended, Conflict, Appended, Repeated]
    assert log.tenants() == ["first", "a", "b"]


async def test_what_a_cancelled_caller_has_proposed_is_not_sent_later(
    appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first"))
    given_up, kept = await begin(appender, [propose("given-up"), propose("kept")])
    given_up.cancel()
    await asyncio.wait([given_up])
    log.door.set()
    await all_of([first, kept])

    assert log.tenants() == ["first", "kept"]
    assert given_up.cancelled()


async def test_the_others_go_on_when_whoever_sends_for_them_is_cancelled_and_each_is_in_the_log_once(
    appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first"))
    tasks = await begin(appender, [propose(f"t{each}") for each in range(4)])
    await next_under_way(log, first)
    assert log.batches[1] == ["t0", "t1", "t2", "t3"]

    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    log.door.set()
    outcomes = await all_of(tasks[1:])

    assert tasks[0].cancelled()
    assert {type(outcome) for outcome in outcomes} == {Appended}
    assert sorted(log.tenants()) == ["first", "t1", "t2", "t3"]


async def test_a_caller_that_is_carried_along_may_leave_and_its_event_is_in_the_log_whole(
    appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first"))
    leading, carried = await begin(appender, [propose("leading"), propose("carried")])
    await next_under_way(log, first)

    carried.cancel()
    await asyncio.wait([carried])
    log.door.set()
    await all_of([leading])
    assert isinstance(await appender.append(propose("next", "c9")), Appended)

    assert log.tenants() == ["first", "leading", "carried", "next"]


@pytest.mark.parametrize("lost", range(1, TRIES))
async def test_when_replies_are_lost_all_of_a_batch_are_sent_again_and_none_is_appended_twice(
    lost: int, appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first", "c0"))
    tasks = await begin(appender, [propose(f"t{each}", f"c{each}") for each in range(3)])
    log.losing = lost
    log.door.set()

    outcomes = await all_of([first, *tasks])

    assert {type(outcome) for outcome in outcomes} <= {Appended, Repeated}
    assert log.tenants() == ["first", "t0", "t1", "t2"]


async def test_after_the_last_try_nobody_is_told_that_it_happened(
    appender: Appender, log: SlowLog, propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.appender._PAUSE", 0.0)
    log.refusing = TRIES
    async with asyncio.timeout(10):
        with pytest.raises(RegistryUnavailable):
            await appender.append(propose("acme"))

    assert len(log.batches) == TRIES
    assert log.tenants() == []
    assert isinstance(await appender.append(propose("acme")), Appended)


async def test_an_event_that_was_appended_and_overtaken_before_its_reply_came_is_found_again(
    log: SlowLog, propose: Propose
) -> None:
    tally = Tally()
    ours, theirs = Appender(log, tally), Appender(log)
    log.losing = 1
    task = await under_way(ours, log, propose("acme", "ours"))
    log.door.set()
    while log.losing:  # noqa: ASYNC110 - the log tells nobody that it has lost a reply
        await asyncio.sleep(0)
    assert isinstance(await theirs.append(propose("acme", "theirs", expected=2, version=2)), Appended)

    (outcome,) = await all_of([task])

    assert outcome == Appended(Position(2, "2-0"))
    assert log.tenants() == ["acme", "acme"]
    assert (tally.appended, tally.conflicts) == (1, 0)


async def test_what_breaks_under_a_batch_breaks_for_all_of_it_and_for_nobody_after(
    appender: Appender, log: SlowLog, propose: Propose
) -> None:
    first = await under_way(appender, log, propose("first"))
    tasks = await begin(appender, [propose("a"), propose("b")])
    log.broken = True
    log.door.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    log.broken = False

    assert [str(result) for result in results] == ["broken"] * 3
    assert isinstance(await appender.append(propose("a")), Appended)
