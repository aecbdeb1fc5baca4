"""Values as JSON: nothing a tenant stored may change its meaning on the way to a model."""

import math
import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg
from asyncpg.pgproto.pgproto import UUID
from hypothesis import given, strategies as st

from server import values
from server.values import value_of
from tests.tables import table


class Fields:
    """Stands for a record, which only the driver can make."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def items(self) -> Any:  # noqa: ANN401 - as the driver's
        return iter(self._fields.items())


@table(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**60, str(2**60)),
        (0.5, 0.5),
        (math.nan, "NaN"),
        ("x", "x"),
        (b"\xde\xad", "3q0="),
        (UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ([[1, 2**60], [None, 2]], [[1, str(2**60)], [None, 2]]),
        ((1, math.inf), [1, "Infinity"]),
        (asyncpg.BitString(b"\1\0\1\1\0\1"), "101101"),
        (asyncpg.Point(1, 2.5), "(1,2.5)"),
        (asyncpg.Point(math.nan, -math.inf), "(NaN,-Infinity)"),
        (asyncpg.Box((3, 4), (1, 2)), "(3,4),(1,2)"),
        (asyncpg.LineSegment((1, 2), (3, 4)), "[(1,2),(3,4)]"),
        (asyncpg.Path((1, 2), (3, 4), is_closed=False), "[(1,2),(3,4)]"),
        (asyncpg.Path((1, 2), (3, 4), is_closed=True), "((1,2),(3,4))"),
        (asyncpg.Polygon((1, 2), (3, 4)), "((1,2),(3,4))"),
        (asyncpg.Circle(asyncpg.Point(1, 2), 3), "<(1,2),3>"),
        (asyncpg.Line(1, 2, 3), "{1,2,3}"),
        (asyncpg.Range(empty=True), "empty"),
        (asyncpg.Range("1.0", None), {"lower": "1.0", "upper": None, "bounds": "[)"}),
        (asyncpg.Range(None, 5, upper_inc=True), {"lower": None, "upper": 5, "bounds": "(]"}),
    ],
)
def test_a_value_as_the_driver_reads_it_becomes_json_that_means_the_same(value: object, told: object) -> None:
    assert value_of(value) == told


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_int8_survives_a_reader_that_knows_only_doubles(value: int) -> None:
    told = value_of(value)
    assert int(told if isinstance(told, str) else float(told)) == value


def test_a_composite_is_an_object_by_attribute_name() -> None:
    record: Any = Fields({"a": uuid.UUID(int=0), "b": 2**60})
    assert values._object(record) == {"a": uuid.UUID(int=0), "b": str(2**60)}


def test_a_composite_known_only_as_text_is_an_object_unless_its_type_has_changed_since() -> None:
    assert values._composite_of_texts(["a", "b"], '(1,"x y")') == {"a": "1", "b": "x y"}
    assert values._composite_of_texts(["a"], '(1,"x y")') == ["1", "x y"]


def test_a_parameter_that_is_encoded_already_is_left_alone() -> None:
    encode = values._encoder(str.encode)
    assert encode(b"x") == b"x"
    assert encode("y") == b"y"
