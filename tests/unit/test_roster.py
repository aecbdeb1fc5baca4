"""The roster: whatever comes and goes, it has the live ids in order, and what was handed out stays as it was."""

from hypothesis import given, strategies as st

from projections.roster import Roster, beginning_with

IDS = st.text("ab.", min_size=1, max_size=3)
CHANGES = st.lists(st.tuples(IDS, st.booleans()), max_size=40)


@given(changes=CHANGES)
def test_it_has_who_came_and_did_not_go_in_order_whenever_it_is_asked(
    changes: list[tuple[str, bool]],
) -> None:
    roster, live = Roster(), set[str]()
    for name, asked in changes:
        live ^= {name}
        roster.note(name, lives=name in live)
        assert len(roster) == len(live)
        if asked:
            assert roster.ids() == sorted(live)
    assert roster.ids() == sorted(live)


def test_so_many_changes_at_once_that_all_is_sorted_anew_end_in_the_same() -> None:
    roster = Roster(f"t{number}" for number in range(0, 2000, 2))
    for number in range(2000):
        if (number % 2 == 0) is not (number % 3 == 0):
            roster.note(f"t{number}", lives=number % 3 == 0)
    assert len(roster) == len(roster.ids())
    assert roster.ids() == sorted(f"t{number}" for number in range(0, 2000, 3))


def test_a_list_that_was_handed_out_does_not_change_under_who_reads_it() -> None:
    roster = Roster(["a", "c"])
    page = roster.ids()
    roster.note("b", lives=True)
    assert roster.ids() == ["a", "b", "c"]
    assert page == ["a", "c"]


def test_who_came_and_went_is_told_once() -> None:
    roster = Roster(["a", "b"])
    roster.note("a", lives=False)
    roster.note("c", lives=True)
    assert roster.moved() == {"a", "c"}
    assert roster.moved() == frozenset()


def test_who_takes_another_roster_over_tells_only_of_those_that_are_in_one_of_the_two() -> None:
    roster, other = Roster(["a", "b"]), Roster(["b", "c"])
    roster.note("d", lives=True)
    roster.become(other)
    assert len(roster) == 2
    assert roster.ids() == ["b", "c"]
    assert roster.moved() == {"a", "c", "d"}


def test_those_that_begin_with_something_lie_beside_each_other() -> None:
    ids = Roster(["acme", "acme-1", "acme.z", "acm", "b"]).ids()
    assert [ids[at] for at in beginning_with("acme", ids)] == ["acme", "acme-1", "acme.z"]
    assert list(beginning_with("x", ids)) == []
    assert len(beginning_with("", ids)) == 5


@given(ids=st.lists(st.text("aAb.", min_size=1, max_size=4)), sought=st.text("aAb.\n", min_size=1, max_size=3))
def test_an_id_is_found_by_any_part_of_it_whatever_the_case(ids: list[str], sought: str) -> None:
    roster = Roster(set(ids))
    assert list(roster.containing(sought)) == [each for each in roster.ids() if sought.lower() in each.lower()]
    if "a" not in roster.ids():
        roster.note("a", lives=True)
    assert ("a" in roster.containing("A")) is True
