"""Parameters in: what a caller got wrong is said in words that let it call again."""

from typing import Any

import asyncpg
import pytest

from registry.errors import InvalidInput
from server.binding import bind, misfit
from tests.tables import table


def column(name: str, kind: str = "scalar", schema: str = "pg_catalog") -> asyncpg.Type:
    return asyncpg.Type(0, name, kind, schema)


def one(given: object, name: str, kind: str = "scalar", schema: str = "pg_catalog") -> Any:  # noqa: ANN401 - for the driver
    return bind([column(name, kind, schema)], [given])[0]


@table(
    ("name", "given", "bound"),
    [
        ("int4", 5, 5),
        ("int8", "9223372036854775807", 2**63 - 1),
        ("numeric", "1.50", b"\0\2\0\0\0\0\0\2\0\1\x13\x88"),
        ("float8", "-Infinity", float("-inf")),
        ("bool", False, False),
        ("bytea", "3q0=", b"\xde\xad"),
        ("text", "x", "x"),
        ("bit", "101", asyncpg.BitString(b"\1\0\1")),
        ("jsonb", {"a": None}, b'\x01{"a":null}'),
        ("date", "2000-01-02", b"\0\0\0\1"),
    ],
)
def test_a_parameter_is_taken_as_results_write_it(name: str, given: object, bound: object) -> None:
    assert one(given, name) == bound


@pytest.mark.parametrize("kind", ["scalar", "array", "range", "multirange", "composite"])
def test_null_is_null_whatever_the_type(kind: str) -> None:
    assert one(None, "int4range", kind) is None


def test_lists_become_arrays_however_deep() -> None:
    assert one([["1", 2], [None, 3]], "int8[]", "array") == [[1, 2], [None, 3]]


def test_ranges_and_multiranges_are_taken_as_results_write_them() -> None:
    assert one({"lower": 1, "upper": "5", "bounds": "[]"}, "int8range", "range") == asyncpg.Range(1, 5, upper_inc=True)
    assert one({"lower": None, "upper": None}, "numrange", "range") == asyncpg.Range()
    assert one("empty", "numrange", "range") == asyncpg.Range(empty=True)
    assert one([{"lower": 1, "upper": 2}], "int4multirange", "multirange") == [asyncpg.Range(1, 2)]


def test_a_users_type_that_is_called_like_a_builtin_one_is_given_as_text() -> None:
    assert one("soon", "date", schema="public") == "soon"
    assert one({"lower": "a", "upper": None}, "daterange", "range", "public") == asyncpg.Range("a", None)


@table(
    ("name", "kind", "given", "advice"),
    [
        ("int4", "scalar", "x", "integer from -2147483648 to 2147483647"),
        ("int2", "scalar", 40000, "integer from -32768 to 32767"),
        ("text", "scalar", 5, "give a string"),
        ("bool", "scalar", "true", "true or false"),
        ("bytea", "scalar", "not base64", "base64"),
        ("uuid", "scalar", "x", "UUID"),
        ("bit", "scalar", "12", "0101"),
        ("timestamptz", "scalar", "yesterday", "2024-02-29T13:05:09.25Z"),
        ("int4[]", "array", 5, "give a list"),
        ("int4[]", "array", [1, "x"], "integer"),
        ("int4range", "range", [1, 2], '"lower"'),
        ("int4range", "range", {"lower": 1, "upper": 2, "bounds": "x"}, '"lower"'),
        ("int4multirange", "multirange", "empty", "list of ranges"),
        ("point", "scalar", "(1,2)", "$1::text::point"),
        ("pair", "composite", {"a": 1}, "ROW($1)"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_type_and_what_to_give(
    name: str, kind: str, given: object, advice: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        bind([column("text"), column(name, kind)], ["fine", given])
    assert f"Parameter $2 has the Postgres type {name}: " in caught.value.message
    assert advice in caught.value.message
    assert caught.value.facts == {"field": "params[2]"}


def test_a_nest_without_end_is_refused_and_not_a_crash() -> None:
    given: list[Any] = []
    given.append(given)
    with pytest.raises(InvalidInput, match=r"\$1"):
        one(given, "int4[]", "array")


def test_a_wrong_number_of_parameters_is_told_with_those_the_statement_has() -> None:
    with pytest.raises(InvalidInput, match=r"the statement has 2 \(\$1 int4, \$2 text\), params has 1"):
        bind([column("int4"), column("text")], [1])
    with pytest.raises(InvalidInput, match="the statement has none, params has 1"):
        bind([], [1])


def test_what_only_the_driver_finds_wrong_is_told_in_the_same_words() -> None:
    error = asyncpg.DataError("invalid input for query argument $1: [[1], [2, 3]] (non-homogeneous array)")
    error.__cause__ = ValueError("non-homogeneous array")
    told = misfit([column("int4[]", "array")], error)
    assert told is not None
    assert told.message == "Parameter $1 has the Postgres type int4[]: non-homogeneous array."
    bare = misfit([column("int4")], asyncpg.InterfaceError("query argument $1: unsupported"))
    assert bare is not None
    assert "the driver cannot encode it" in bare.message


def test_an_error_of_postgres_is_not_taken_for_a_wrong_parameter_whatever_its_words() -> None:
    forged = asyncpg.PostgresError.new({"C": "22000", "S": "ERROR", "M": "query argument $9: forged"})
    assert misfit([column("int4")], forged) is None
    assert misfit([column("int4")], asyncpg.DataError("another one")) is None
