"""Cursors: good for who was given them, for one list, and never misread."""

import pytest
from hypothesis import given, strategies as st

from registry.errors import InvalidInput
from server.cursors import read_cursor, refuse_cursor, write_cursor
from server.principal import Principal

ANN = Principal("ann", frozenset({"tenants:read"}), ["acme-*"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(after=TEXT)
def test_it_leads_to_where_the_page_ended(after: str) -> None:
    assert read_cursor("resources", write_cursor("resources", after, ANN), ANN) == after


@pytest.mark.parametrize(
    "other",
    [
        Principal("ann", frozenset({"tenants:read"}), ["*"]),
        Principal("ann", frozenset({"tenants:read", "query:read"}), ["acme-*"]),
    ],
)
def test_it_is_refused_once_its_holder_sees_another_list(other: Principal) -> None:
    with pytest.raises(InvalidInput, match="begin again without one"):
        read_cursor("resources", write_cursor("resources", "acme-1", ANN), other)


def test_it_is_refused_by_another_list() -> None:
    with pytest.raises(InvalidInput):
        read_cursor("others", write_cursor("resources", "acme-1", ANN), ANN)


@given(st.one_of(st.text(max_size=60), TEXT.map(lambda text: write_cursor("resources", text, ANN)[:-1])))
def test_no_other_text_is_taken_for_one(cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_cursor("resources", cursor, ANN)
    assert refused.value.facts == {"field": "cursor"}


def test_one_written_otherwise_is_no_second_name_of_it() -> None:
    cursor = write_cursor("resources", "acme-1", ANN)
    for other in (cursor + "=", cursor + "\n", " " + cursor):
        with pytest.raises(InvalidInput):
            read_cursor("resources", other, ANN)


def test_a_list_of_one_page_takes_none() -> None:
    refuse_cursor(None)
    with pytest.raises(InvalidInput):
        refuse_cursor("")
