"""Positions and links: what tells one log from another and shows a hole in it."""

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from registry.entries import START, Entry, Position
from registry.errors import InvalidInput
from tests.tables import table

counts = st.integers(0, 10**18 - 1)


@given(counts, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_position_survives_the_way_through_an_answer_and_back(seq: int, milliseconds: int, count: int) -> None:
    position = Position(seq, f"{milliseconds}-{count}")

    assert Position.parse(str(position)) == position


@table(
    "token",
    ["", "12", "12@", "@1-0", "12@1", "12@1-0\n", " 12@1-0", "-1@1-0", "12@1-0-0", "1" * 19 + "@1-0", "12@+"],
)
def test_a_token_that_no_answer_carried_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="is no position"):
        Position.parse(token)


def test_an_entry_follows_the_one_it_names_and_counts_on_from(place: Callable[[int], Position]) -> None:
    assert Entry(place(1), START.entry, "t", b"").follows(START)
    assert Entry(place(8), "7-0", "t", b"").follows(place(7))


@pytest.mark.parametrize(
    ("seq", "prev"),
    [
        pytest.param(9, "7-0", id="the count shows a hole"),
        pytest.param(8, "6-0", id="the link shows another entry before it"),
        pytest.param(7, "7-0", id="counted twice"),
        pytest.param(1, "0-0", id="another log's first entry"),
    ],
)
def test_an_entry_with_anything_in_between_does_not_follow(
    seq: int, prev: str, place: Callable[[int], Position]
) -> None:
    assert not Entry(place(seq), prev, "t", b"").follows(place(7))
