"""What single values become between Postgres's bytes and JSON."""

import math
import struct
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, strategies as st

from server import codecs, numerals
from server.codecs import CODECS, ELEMENTS
from tests.tables import table

BY_NAME = {codec.name: codec for codec in CODECS.values()}


def numeric(*groups: int, weight: int, sign: int = 0, scale: int = 0) -> bytes:
    return struct.pack(f">hhHh{len(groups)}h", len(groups), weight, sign, scale, *groups)


@pytest.mark.parametrize("value", [0, -1, 2**53 - 1, -(2**53) + 1])
def test_an_integer_that_every_reader_keeps_is_a_number(value: int) -> None:
    assert numerals.integer_value(value) == value


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1])
def test_an_integer_that_a_reader_might_round_is_digits(value: int) -> None:
    assert numerals.integer_value(value) == str(value)


@pytest.mark.parametrize(("value", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_floats_that_json_lacks_have_names_and_come_back(value: float, text: str) -> None:
    assert numerals.float_value(value) == text
    assert str(numerals.read_float(text)) == str(value)


@table("text", ["1.50", "0.000", "NaN", "Infinity", "-Infinity", "0.0000001", "100000000000000000000"])
def test_a_numeric_keeps_every_digit_and_its_scale(text: str) -> None:
    assert numerals.numeric_text(numerals.numeric_bytes(text)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60, places=40))
def test_a_numeric_is_the_same_number_with_the_same_scale(value: Decimal) -> None:
    told = numerals.numeric_text(numerals.numeric_bytes(format(value, "f")))
    assert told == format(value, "f").replace("-0." + "0" * 40, "0." + "0" * 40)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("1e131000", "1E+131000"),
        ("-1.25e-9000", "-1.25E-9000"),
        ("1.5e300", "1.5E+300"),
        ("0e-9000", "0"),
        ("1e200", "1" + "0" * 200),
        ("1e-190", "0." + "0" * 189 + "1"),
    ],
)
def test_a_numeric_that_would_be_mostly_zeros_is_told_with_an_exponent_and_is_as_exact(given: str, told: str) -> None:
    data = numerals.numeric_bytes(given)
    assert numerals.numeric_text(data) == told
    assert Decimal(numerals.numeric_text(data)) == Decimal(given)


def test_however_many_digits_a_numeric_has_they_are_told() -> None:
    digits = "7" * 3000 + "." + "3" * 3000
    assert numerals.numeric_text(numerals.numeric_bytes(digits)) == digits


@table(
    ("data", "text"),
    [
        (numeric(weight=0), "0"),
        (numeric(weight=0, scale=3), "0.000"),
        (numeric(1, 5000, weight=0, scale=2), "1.50"),
        (numeric(12, 3456, weight=1, sign=0x4000), "-123456"),
        (numeric(1, weight=2), "100000000"),
        (numeric(1200, weight=-1, scale=4), "0.1200"),
        (numeric(5, weight=-2, scale=8), "0.00000005"),
        (numeric(weight=0, sign=0xC000), "NaN"),
        (numeric(weight=0, sign=0xD000), "Infinity"),
        (numeric(weight=0, sign=0xF000), "-Infinity"),
    ],
)
def test_a_numeric_in_a_record_is_read_from_its_groups_of_four(data: bytes, text: str) -> None:
    assert ELEMENTS[1700](data) == text


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.1, 0.1), (1.5, 1.5), (3.4028234663852886e38, 3.4028235e38), (math.inf, "Infinity"), (1 / 3, 0.33333334)],
)
def test_a_float4_is_told_with_the_digits_it_has(value: float, told: object) -> None:
    assert BY_NAME["float4"].decode(struct.pack(">f", value)) == told


@given(st.floats(width=32, allow_nan=False))
def test_every_float4_comes_back_as_itself(value: float) -> None:
    codec = BY_NAME["float4"]
    assert codec.encode(codec.decode(struct.pack(">f", value))) == struct.pack(">f", value)


def test_a_float4_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        BY_NAME["float4"].encode(1e39)


def test_json_keeps_its_digits_and_its_repeated_keys_and_loses_only_white_space() -> None:
    told = codecs.json_value(b'{"a" : 1.50,\n "a": 12345678901234567890.123456789}')
    assert isinstance(told, msgspec.Raw)
    assert bytes(told) == b'{"a":1.50,"a":12345678901234567890.123456789}'


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, '["[[[{{{\\"[", ' + ",".join(["[]"] * 300) + "]"])
def test_json_of_many_levels_or_many_brackets_stays_json(text: str) -> None:
    assert isinstance(codecs.json_value(text.encode()), msgspec.Raw)


@pytest.mark.parametrize("text", ['"\\ud800"', "[" * 201 + "]" * 201, '{"a":' * 5000 + "1" + "}" * 5000])
def test_json_that_readers_refuse_comes_as_text_instead_of_breaking_the_answer(text: str) -> None:
    assert codecs.json_value(text.encode()) == text


@table(
    ("name", "text"),
    [
        ("char", "a"),
        ("char", ""),
        ("tid", "(0,1)"),
        ("pg_lsn", "16/B374D848"),
        ("pg_lsn", "0/0"),
        ("inet", "10.0.0.1"),
        ("inet", "10.0.0.1/24"),
        ("inet", "::ffff:1.2.3.4"),
        ("inet", "2001:db8::1/64"),
        ("cidr", "10.0.0.0/8"),
        ("cidr", "10.0.0.1/32"),
        ("date", "0044-03-15 BC"),
        ("time", "24:00:00"),
        ("timetz", "12:00:00.5-05:30"),
        ("timestamp", "2024-02-29T13:05:09"),
        ("timestamptz", "-infinity"),
        ("interval", "P1M2DT3H4M5.5S"),
    ],
)
def test_what_is_written_of_a_value_is_read_as_the_same_value(name: str, text: str) -> None:
    codec = BY_NAME[name]
    assert codec.decode(codec.encode(text)) == text


@pytest.mark.parametrize("name", ["json", "jsonb"])
def test_any_json_value_can_be_a_json_parameter(name: str) -> None:
    codec = BY_NAME[name]
    assert bytes(codec.decode(codec.encode({"a": [1, None, "x"]}))) == b'{"a":[1,null,"x"]}'


@table(
    ("name", "value"),
    [
        ("char", "ab"),
        ("char", "é"),
        ("char", 1),
        ("tid", "0,1"),
        ("tid", "(0,70000)"),
        ("pg_lsn", "x"),
        ("inet", "10.0.0"),
        ("cidr", "10.0.0.1/8"),
        ("date", 5),
        ("interval", "P99999999999999Y"),
        ("record", ["a"]),
        ("pg_snapshot", "1:2:"),
    ],
)
def test_a_value_that_a_type_cannot_hold_is_refused_with_what_to_give(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"give|out of range|pass text"):
        BY_NAME[name].encode(value)


def test_a_char_beyond_ascii_is_octal_as_postgres_has_it() -> None:
    assert BY_NAME["char"].decode(b"\xc3") == "\\303"


def test_a_snapshot_is_told_as_postgres_tells_it() -> None:
    assert BY_NAME["pg_snapshot"].decode(struct.pack(">iqq2q", 2, 10, 20, 10, 14)) == "10:20:10,14"


def test_a_record_is_read_by_the_types_it_names() -> None:
    data = (
        struct.pack(">i", 3) + struct.pack(">Iii", 23, 4, -7) + struct.pack(">Ii", 25, -1) + struct.pack(">Ii", 16, 1)
    )
    assert BY_NAME["record"].decode(data + b"\1") == [-7, None, True]


def test_a_record_with_a_type_that_its_bytes_do_not_explain_is_not_guessed() -> None:
    with pytest.raises(codecs.UnknownElement):
        BY_NAME["record"].decode(struct.pack(">iIi", 1, 790, 8) + b"\0" * 8)


@pytest.mark.parametrize(
    ("oid", "data", "value"),
    [
        (17, b"\xde\xad", "3q0="),
        (20, struct.pack(">q", 2**60), str(2**60)),
        (26, struct.pack(">I", 2**32 - 1), 2**32 - 1),
        (701, struct.pack(">d", math.nan), "NaN"),
        (2950, bytes(16), "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_a_records_elements_follow_the_rules_of_columns(oid: int, data: bytes, value: object) -> None:
    assert ELEMENTS[oid](data) == value


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("(1,a)", ["1", "a"]),
        ("()", [None]),
        ("(,)", [None, None]),
        ('("",x)', ["", "x"]),
        ('("a ""b"" \\\\ ,()",2)', ['a "b" \\ ,()', "2"]),
        ('("two\nlines")', ["two\nlines"]),
    ],
)
def test_a_rows_own_text_is_taken_apart_as_postgres_put_it_together(text: str, fields: list[str | None]) -> None:
    assert codecs.composite_texts(text) == fields


def test_integers_are_taken_as_numbers_or_digits_within_their_range() -> None:
    assert numerals.read_integer("9007199254740993", -(2**63), 2**63 - 1) == 9007199254740993
    assert numerals.read_integer(-5, -10, 10) == -5
    for wrong in ("x", "1.0", 1.0, True, 11, "11", None):
        with pytest.raises(ValueError, match="integer from -10 to 10"):
            numerals.read_integer(wrong, -10, 10)


def test_numbers_are_not_taken_from_other_things() -> None:
    for wrong in ("1.5", True, None):
        with pytest.raises(ValueError, match="number"):
            numerals.read_float(wrong)
    with pytest.raises(ValueError, match="can hold"):
        numerals.read_float(10**400)
    for wrong in ("1,5", "", True, None, "sNaN"):
        with pytest.raises(ValueError, match="number"):
            numerals.read_numeric(wrong)


def test_a_number_becomes_the_numeric_that_it_was_written_as() -> None:
    assert numerals.read_numeric(0.1) == Decimal("0.1")
    assert numerals.read_numeric(7) == Decimal(7)


def test_base64_and_uuids_are_checked_before_postgres_sees_them() -> None:
    assert codecs.read_bytes("3q0=") == b"\xde\xad"
    for wrong in ("3q0", "!", 5):
        with pytest.raises(ValueError, match="give"):
            codecs.read_bytes(wrong)
    with pytest.raises(ValueError, match="UUID"):
        codecs.read_uuid("nope")
