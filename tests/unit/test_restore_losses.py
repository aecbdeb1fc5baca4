"""What is said again after losses of any shape, by survivors in any order."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, TypeAlias

import msgspec
from hypothesis import event, given, strategies as st

from registry.entries import Position
from registry.events import TenantEvent, TenantRegistered, TenantRemoved
from registry.restore import event_of, restated
from registry.state import Live, Removed, Tenant, evolve
from tests.restorable import NOON, registration, removal

Steps: TypeAlias = list[tuple[bool, int]]
"""What happens to the tenant one after the other: whether it is removed, if it is live, and how long after."""

later: Final = st.integers(1, 5)
steps: Final = st.lists(st.tuples(st.booleans(), later), max_size=4)
some_steps: Final = st.lists(st.tuples(st.booleans(), later), min_size=1, max_size=4)


class History:
    """The events of one tenant in one log."""

    def __init__(self, events: Sequence[TenantEvent] = ()) -> None:
        self.events: list[TenantEvent] = []
        self.states: list[Tenant] = []
        for each in events:
            self.add(each)

    @property
    def state(self) -> Tenant | None:
        return self.states[-1] if self.states else None

    def add(self, fact: TenantEvent) -> None:
        seq = len(self.events) + 2
        self.states.append(evolve(self.state, fact, Position(seq, f"{seq}-0")))
        self.events.append(fact)

    def live_through(self, done: Steps, name: str, minute: int) -> int:
        """Let it happen; return when the last of it did. Two logs of another name have nothing at the same time."""
        for removes, later in done:
            minute += 10 * later
            version = self.state.version + 1 if self.state else 1
            event_id, when = f"{name}{version}", minute + len(name)
            if removes and isinstance(self.state, Live):
                self.add(removal(event_id, version, when))
            else:
                previous = self.state.position.entry if self.state else None
                self.add(registration(event_id, version, when, previous))
        return minute

    def is_told(self, held: Tenant, new_id: str) -> bool:
        """Say again what is held; return whether there was anything to say."""
        said = restated(held, self.state, new_id)
        if said is not None:
            self.add(event_of(said, self.state))
        return said is not None

    def is_settled_by(self, survivors: Sequence[Tenant]) -> None:
        """Let each survivor in turn say again what it holds, until none has anything to say."""
        for round_ in range(4):
            said = [self.is_told(held, f"new {round_} {number}") for number, held in enumerate(survivors)]
            if not any(said):
                return
        raise AssertionError("they go on saying things again")


class Loss(msgspec.Struct):
    """A log that lost what came behind its beginning, went on, and two survivors of what was lost.

    Attributes:
        kept: How many events the log has kept.
        log: The log as it is now.
        one, other: What two replicas hold; `other` had read everything.
    """

    kept: int
    log: History
    one: Tenant
    other: Tenant

    @property
    def since(self) -> list[TenantEvent]:
        return self.log.events[self.kept :]


@st.composite
def losses(draw: st.DrawFn, *, goes_on: bool = True, ends_removed: bool = False) -> Loss:
    lost = History()
    minute = lost.live_through(draw(some_steps), "lost", 0)
    if ends_removed and isinstance(lost.state, Live):
        lost.live_through([(True, draw(later))], "lost", minute)
    kept = draw(st.integers(0, len(lost.events) - 1))
    log = History(lost.events[:kept])
    begun = draw(st.integers(0, 10)) * 10
    before = max([0, *((each.time - NOON) // timedelta(minutes=1) for each in log.events)])
    if goes_on:
        log.live_through(draw(steps), "now", max(begun, before - before % 10))
    one = draw(st.sampled_from(lost.states))
    return Loss(kept, log, one, lost.states[-1])


@given(losses())
def test_whatever_was_lost_a_version_never_goes_back_and_the_survivors_come_to_an_end(loss: Loss) -> None:
    log, before = loss.log, len(loss.log.events)

    log.is_settled_by([loss.one, loss.other])  # `evolve` refuses a version that goes back

    assert log.state is not None
    assert log.state.version >= max(loss.one.version, loss.other.version)
    event(f"{len(log.events) - before} said")


@given(losses())
def test_no_version_and_no_event_stands_for_two_contents(loss: Loss) -> None:
    meant: dict[int, object] = {state.version: _content(state) for state in (loss.one, loss.other)}
    known = {state.event_id: _content(state) for state in (loss.one, loss.other)}
    said = len(loss.log.events)

    loss.log.is_settled_by([loss.one, loss.other])

    for state in loss.log.states[said:]:
        assert known.setdefault(state.event_id, _content(state)) == _content(state)
    last = loss.log.state
    assert last is not None
    assert meant.setdefault(last.version, _content(last)) == _content(last)


@given(losses())
def test_the_survivors_end_in_the_same_state_whoever_is_first(loss: Loss) -> None:
    other_way = History(loss.log.events)

    loss.log.is_settled_by([loss.one, loss.other])
    other_way.is_settled_by([loss.other, loss.one])

    assert _content(other_way.state) == _content(loss.log.state)


@given(losses(goes_on=False))
def test_what_was_acknowledged_last_holds_where_nothing_has_happened_since(loss: Loss) -> None:
    loss.log.is_settled_by([loss.one, loss.other])

    assert _content(loss.log.state) == _content(loss.other)
    assert isinstance(loss.log.state, Live | Removed)
    assert (loss.log.state.version, loss.log.state.event_id) == (loss.other.version, loss.other.event_id)


@given(losses(ends_removed=True))
def test_a_removal_is_not_undone_unless_the_tenant_was_registered_anew(loss: Loss) -> None:
    assert isinstance(loss.other, Removed)

    loss.log.is_settled_by([loss.one, loss.other])

    came_back = any(
        isinstance(each, TenantRegistered) and (each.previous is None or isinstance(before, TenantRemoved))
        for before, each in zip([None, *loss.log.events], loss.log.events, strict=False)
        if each in loss.since
    )
    assert came_back or isinstance(loss.log.state, Removed)


def _content(tenant: Tenant | None) -> object:
    return (tenant.config, tenant.secret) if isinstance(tenant, Live) else type(tenant)
