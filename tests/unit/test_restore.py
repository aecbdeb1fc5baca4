"""What is said again after a loss: every pair of what is held and what the log has, and whole losses of any shape."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import msgspec
import pytest
from hypothesis import event, given, strategies as st

from registry.entries import START, Position
from registry.events import TenantConfig, TenantEvent, TenantRegistered, TenantRemoved
from registry.restore import event_of, newest, restated, with_mac
from registry.state import Live, Quarantined, Removed, Tenant, evolve
from tests.tables import table

NOON: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def live(event_id: str, version: int, minute: int, *, born: int = 0) -> Live:
    return Live(
        tenant="acme",
        version=version,
        position=Position(version + 1, f"{version + 1}-0"),
        event_id=event_id,
        command_id=f"command of {event_id}",
        digest="one:0d",
        changed_at=at(minute),
        changed_by="ann",
        born=at(born),
        config=TenantConfig(host=event_id, database="app", user="reader"),
        secret=None,
    )


def gone(event_id: str, version: int, minute: int) -> Removed:
    return Removed(
        tenant="acme",
        version=version,
        position=Position(version + 1, f"{version + 1}-0"),
        event_id=event_id,
        command_id=f"command of {event_id}",
        digest="one:0d",
        changed_at=at(minute),
        changed_by="ben",
    )


ASIDE: Final = Quarantined(tenant="acme", version=9, position=Position(9, "9-0"), event_id="aside", reason="newer")

NOTHING: Final = None
HELD: Final = "what is held, as it is"
HELD_ANEW: Final = "what is held, as a version and an event that nobody had"
CURRENT_ANEW: Final = "what the log has, as a version and an event that nobody had"


# What is held is version 3 of 12:03 in every row; the log has what the row says. Tenants are born at noon.
@table(
    ("held", "current", "said"),
    [
        pytest.param(live("h", 3, 3), None, HELD, id="a live tenant that the log does not know"),
        pytest.param(gone("h", 3, 3), None, HELD, id="a removal that the log does not know"),
        pytest.param(live("h", 3, 3), live("h", 3, 3), NOTHING, id="the same event, live"),
        pytest.param(gone("h", 3, 3), gone("h", 3, 3), NOTHING, id="the same event, a removal"),
        pytest.param(live("h", 3, 3), live("c", 2, 2), HELD, id="live, before a lost change"),
        pytest.param(gone("h", 3, 3), live("c", 2, 2), HELD, id="live, before a lost removal"),
        pytest.param(live("h", 3, 3, born=3), gone("c", 2, 2), HELD, id="removed, before it came back"),
        pytest.param(live("h", 3, 3), gone("c", 2, 2), CURRENT_ANEW, id="removed, and changed by who did not know"),
        pytest.param(live("h", 3, 3), live("c", 4, 4), NOTHING, id="changed since"),
        pytest.param(live("h", 3, 3), gone("c", 4, 4), NOTHING, id="removed since"),
        pytest.param(gone("h", 3, 3), gone("c", 4, 4), NOTHING, id="removed once more since"),
        pytest.param(live("h", 3, 3), live("c", 1, 4), CURRENT_ANEW, id="changed since, counted anew"),
        pytest.param(live("h", 3, 3), gone("c", 1, 4), CURRENT_ANEW, id="removed since, counted anew"),
        pytest.param(live("h", 3, 3), live("c", 3, 2), HELD_ANEW, id="another of the same version"),
        pytest.param(live("h", 3, 3), live("c", 5, 2), HELD_ANEW, id="another of a higher version"),
        pytest.param(gone("h", 3, 3), gone("c", 5, 2), HELD_ANEW, id="an older removal counts higher"),
        pytest.param(gone("h", 3, 3), live("c", 4, 4, born=4), NOTHING, id="registered anew, counted on"),
        pytest.param(gone("h", 3, 3), live("c", 1, 4, born=4), CURRENT_ANEW, id="registered anew, from one"),
        pytest.param(gone("h", 3, 3), live("c", 4, 4), HELD_ANEW, id="changed without knowing of it"),
        pytest.param(gone("h", 3, 3), live("c", 2, 4), HELD, id="changed without knowing, fewer times"),
        pytest.param(gone("h", 3, 3), live("c", 4, 4, born=3), HELD_ANEW, id="born in the moment of its removal"),
        pytest.param(ASIDE, None, NOTHING, id="cannot be read here"),
        pytest.param(ASIDE, live("c", 2, 2), NOTHING, id="cannot be read here, can be in the log"),
        pytest.param(live("h", 3, 3), ASIDE, NOTHING, id="cannot be read in the log"),
        pytest.param(gone("h", 3, 3), ASIDE, NOTHING, id="removed, cannot be read in the log"),
    ],
)
def test_what_is_said_of_a_tenant(held: Tenant, current: Tenant | None, said: str | None) -> None:
    told = restated(held, current, "new")

    if said is None:
        assert told is None
        return
    chosen = current if said == CURRENT_ANEW else held
    assert isinstance(chosen, Live | Removed)
    expected = msgspec.structs.replace(chosen, position=START)
    if said != HELD:
        assert current is not None
        expected = msgspec.structs.replace(
            expected,
            version=max(held.version, current.version) + 1,
            event_id="new",
            command_id="new",
        )
    assert told == expected


STATES: Final[Sequence[Tenant | None]] = (
    None,
    ASIDE,
    *(live(name, version, at_, born=born) for name in "xy" for version in (1, 2) for at_ in (1, 2) for born in (0, 1)),
    *(gone(name, version, at_) for name in "xy" for version in (1, 2) for at_ in (0, 1, 2)),
)


@table("held", STATES[1:])
def test_whatever_the_log_has_what_is_said_may_come_next_and_is_not_said_again(held: Tenant) -> None:
    for current in STATES:
        _may_come_next_and_is_not_said_again(held, current)


def _may_come_next_and_is_not_said_again(held: Tenant, current: Tenant | None) -> None:
    said = restated(held, current, "new")
    if said is None:
        return

    after = evolve(current, event_of(said, current), Position(99, "99-0"))

    assert current is None or after.version > current.version
    assert after.version >= held.version
    assert isinstance(after, Live) == isinstance(said, Live)
    assert restated(held, after, "newer") is None


@table("one", STATES[1:])
def test_the_newest_of_two_states_says_what_one_does_and_is_not_the_one_that_cannot_be_read(one: Tenant) -> None:
    for other in STATES:
        if other is None:
            continue
        _says_what_one_of_them_does(one, other)


def _age(state: Live | Removed) -> tuple[datetime, datetime]:
    return (state.born if isinstance(state, Live) else state.changed_at), state.changed_at


def _says_what_one_of_them_does(one: Tenant, other: Tenant) -> None:
    chosen = newest(one, other, "new")

    if isinstance(chosen, Quarantined):
        assert isinstance(one, Quarantined)
        assert isinstance(other, Quarantined)
        return
    assert chosen in (one, other) or chosen.event_id == "new"
    for each in (one, other):
        if type(chosen) is type(each) and one.event_id != other.event_id:
            assert _age(chosen) >= _age(each)


@table("one", STATES[2:])
def test_no_version_that_two_events_had_stays_with_either(one: Live | Removed) -> None:
    for other in STATES[2:]:
        assert isinstance(other, Live | Removed)
        chosen = newest(one, other, "new")

        assert isinstance(chosen, Live | Removed)
        assert all(chosen.version > each.version for each in (one, other) if each.event_id != chosen.event_id)


@pytest.mark.parametrize(
    ("born", "holds"),
    [(2, gone("r", 2, 3)), (3, gone("r", 2, 3)), (4, live("l", 9, 9, born=4))],
    ids=["before it", "in the same moment", "after it"],
)
def test_a_removal_ends_every_life_that_began_before_it_however_long_that_went_on(
    born: int, holds: Live | Removed
) -> None:
    one, other = gone("r", 2, 3), live("l", 9, 9, born=born)

    chosen = newest(one, other, "new")

    assert chosen == newest(other, one, "new")
    assert isinstance(chosen, Live | Removed)
    assert type(chosen) is type(holds)
    assert chosen.changed_at == holds.changed_at


def registration(event_id: str, version: int, minute: int, previous: str | None = "1-0") -> TenantRegistered:
    return TenantRegistered(
        event_id=event_id,
        time=at(minute),
        actor="ann",
        tenant="acme",
        version=version,
        command_id=f"command of {event_id}",
        digest="one:0d",
        previous=previous,
        config=TenantConfig(host=event_id, database="app", user="reader"),
    )


def removal(event_id: str, version: int, minute: int) -> TenantRemoved:
    return TenantRemoved(
        event_id=event_id,
        time=at(minute),
        actor="ben",
        tenant="acme",
        version=version,
        command_id=f"command of {event_id}",
        digest="one:0d",
        previous="1-0",
    )


def test_the_event_says_everything_of_before_and_goes_on_behind_what_the_log_has() -> None:
    said, current = msgspec.structs.replace(live("h", 3, 3), position=START), live("c", 2, 2)

    told = event_of(said, current)

    assert told.previous == current.position.entry
    assert event_of(said, None).previous is None
    assert evolve(current, told, Position(9, "9-0")) == msgspec.structs.replace(said, position=Position(9, "9-0"))
    lost = msgspec.structs.replace(gone("h", 3, 3), position=START)
    assert evolve(None, event_of(lost, None), START) == lost


def test_the_tenant_as_the_signed_event_leaves_it_has_the_events_code() -> None:
    said = msgspec.structs.replace(live("h", 3, 3), mac="of the lost log")
    unsigned = event_of(said, None)

    assert with_mac(said, unsigned).mac is None
    assert with_mac(said, msgspec.structs.replace(unsigned, mac="one:00")).mac == "one:00"


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
