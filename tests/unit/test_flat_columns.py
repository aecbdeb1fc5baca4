"""What a server says of a result is changed before the driver reads it: only types, of whole descriptions only."""

import struct

import pytest
from hypothesis import given, strategies as st

from server.flat_columns import FLAT, retyped
from server.numerals import numeric_bytes, numeric_text, shortened
from tests.tables import table

PARSED = b"1\0\0\0\4"
PARAMETERS = b"t\0\0\0\x0a\0\1\0\0\x06\xa4"
READY = b"Z\0\0\0\5T"
NUMERIC, NUMERICS, TEXT = 1700, 1231, 25


def description(*columns: tuple[bytes, int]) -> bytes:
    fields = b"".join(name + b"\0" + struct.pack(">IHIhih", 7, 1, oid, -1, -1, 0) for name, oid in columns)
    return b"T" + struct.pack(">IH", len(fields) + 6, len(columns)) + fields


def alias(oid: int) -> int:
    (found,) = (each for each, flat in FLAT.items() if each & 0xFFFF == oid)
    return found


def test_columns_of_such_types_are_changed_and_nothing_else_is() -> None:
    columns = (b"a", NUMERIC), (b"b", NUMERICS), (b"c\x06\xa4", TEXT), (b"", NUMERIC)
    changed = (b"a", alias(NUMERIC)), (b"b", NUMERICS), (b"c\x06\xa4", TEXT), (b"", alias(NUMERIC))
    assert retyped(PARSED + PARAMETERS + description(*columns) + READY) == (
        PARSED + PARAMETERS + description(*changed) + READY
    )


@table(
    "answer",
    [
        description((b"a", NUMERIC)),
        PARSED,
        PARSED + READY,
        PARSED + PARAMETERS + b"n\0\0\0\4" + READY,
        PARSED + b"N" + description((b"a", NUMERIC))[1:],
        *((PARSED + description((b"a", NUMERIC)))[:length] for length in range(5, 30)),
    ],
)
def test_what_is_no_whole_description_of_a_result_stays_as_it_is(answer: bytes) -> None:
    assert retyped(answer) == answer


def test_a_description_that_lies_about_its_length_is_no_protocol() -> None:
    with pytest.raises((ValueError, struct.error)):
        retyped(PARSED + b"T" + struct.pack(">IH", 6, 3))


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,5}0{0,220})(\.0{0,220}[0-9]{1,5}0{0,220})?", fullmatch=True))
def test_a_numeric_as_postgres_writes_it_is_told_as_one_in_its_binary_form(text: str) -> None:
    written = text.lstrip("-") if not text.strip("-0.") else text  # Postgres has no negative zero
    assert shortened(written) == numeric_text(numeric_bytes(written))
