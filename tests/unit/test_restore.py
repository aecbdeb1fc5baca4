"""What is said again after a loss: every pair of what is held and what the log has."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import pytest

from registry.entries import START, Position
from registry.restore import event_of, newest, restated, with_mac
from registry.state import Live, Quarantined, Removed, Tenant, evolve
from tests.restorable import gone, live
from tests.tables import table

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
