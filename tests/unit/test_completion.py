"""Completion: what fits comes in an order that people expect, and where a long list goes on nothing is missed."""

from hypothesis import given, strategies as st

from server.completion import MOST, _completed, _just_before, _ranked

NAMES = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=2), min_size=1, max_size=5)


def test_what_begins_with_what_was_typed_comes_first_then_what_has_it_whatever_the_case() -> None:
    names = ["a_book", "Books", "book", "bookings", "other"]

    assert list(_ranked("book", names)) == ["book", "bookings", "a_book", "Books"]


def test_a_hundred_at_most_are_told_and_how_many_there_are_if_somebody_counted() -> None:
    few, many, countless = (_completed(iter(map(str, range(count)))) for count in (MOST, MOST + 1, 5000))

    assert (len(few.values), few.total, few.more) == (MOST, MOST, False)
    assert (len(many.values), many.total, many.more) == (MOST, MOST + 1, True)
    assert (len(countless.values), countless.total, countless.more) == (MOST, None, True)


@given(typed=NAMES, rest=st.text(st.characters(exclude_categories=["Cs"]), max_size=3), other=NAMES)
def test_a_list_that_goes_on_just_before_what_was_typed_leaves_none_of_it_out(
    typed: str, rest: str, other: str
) -> None:
    before = _just_before(typed).encode()

    assert (typed + rest).encode() > before
    assert not typed.encode() > other.encode() > before or other.startswith(typed[:-1])
