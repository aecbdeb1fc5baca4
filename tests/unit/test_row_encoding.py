"""Rows are encoded many at once: what one of them holds must not change another, nor be taken for ordinary."""

import json
import math
import uuid
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given, strategies as st

from server.row_encoding import RowEncoder

OIDS = {"bool": 16, "bytea": 17, "int8": 20, "int4": 23, "text": 25, "float8": 701, "uuid": 2950, "int8[]": 1016}
LARGE = 2**53


def told(columns: str, *records: tuple[Any, ...]) -> list[Any]:
    """Return the rows of records with such columns, as a JSON reader has them."""
    types = [asyncpg.Type(OIDS[name], name, "scalar", "pg_catalog") for name in columns.split()]
    given: Any = records  # only the driver can make a record, and a tuple is read the same way
    rows: list[Any] = json.loads(b"[" + RowEncoder(types).encode(given) + b"]")
    return rows


def test_values_that_json_has_are_told_as_they_are() -> None:
    id_ = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    assert told("int8 text bool float8 bytea uuid", (1, "ä", True, 0.5, b"\xde\xad", id_), (None,) * 6) == [
        [1, "ä", True, 0.5, "3q0=", str(id_)],
        [None] * 6,
    ]


@pytest.mark.parametrize("large", [LARGE, -LARGE, 2**63 - 1, -(2**63)])
def test_one_integer_that_a_reader_would_round_is_told_as_digits_and_its_neighbours_as_numbers(large: int) -> None:
    rows = told("int8 int8", (1, LARGE - 1), (None, large), (2, 1 - LARGE))
    assert rows == [[1, LARGE - 1], [None, str(large)], [2, 1 - LARGE]]


@pytest.mark.parametrize(("value", "name"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_one_float_that_json_lacks_is_named_and_not_lost(value: float, name: str) -> None:
    assert told("float8", (0.5,), (value,), (None,), (1e308,)) == [[0.5], [name], [None], [1e308]]


def test_floats_whose_sum_is_too_large_are_numbers_all_the_same() -> None:
    assert told("float8", (1.7e308,), (1.7e308,)) == [[1.7e308], [1.7e308]]


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.none(), st.floats() | st.none()), min_size=1))
def test_rows_encoded_together_are_those_encoded_one_by_one(rows: list[tuple[int | None, float | None]]) -> None:
    assert told("int8 float8", *rows) == [each for row in rows for each in told("int8 float8", row)]


def test_arrays_are_looked_through() -> None:
    assert told("int8[]", ([1, LARGE],), (None,)) == [[[1, str(LARGE)]], [None]]


def test_json_in_a_row_is_not_read_on_the_way() -> None:
    record: Any = (msgspec.Raw(b"1.000000000000000000001"),)
    assert RowEncoder([asyncpg.Type(3802, "jsonb", "scalar", "pg_catalog")]).encode([record]) == (
        b"[1.000000000000000000001]"
    )
