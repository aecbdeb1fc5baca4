"""Numbers over the wire and as JSON, none of which may lose a digit.

Rules: pure. Every function reads what Postgres sent, or raises `ValueError` with a sentence about what to give instead.
"""

import math
import re
import struct
from decimal import Decimal
from typing import Final

SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps: they may read numbers as doubles (RFC 8259, section 6)."""
_SPECIAL_FLOATS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NUMERIC_SIGN: Final = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
_NUMERIC_NEGATIVE: Final = 0x4000
_LARGEST_SCALE: Final = 16_383
_ZEROS: Final = 200
"""Zeros that a numeric is padded with at most; a number with more is told with an exponent."""
_ONE_GROUP, _TWO_GROUPS = 10, 12
_UNPACK_FEW: Final = {8 + 2 * count: struct.Struct(f">hhHH{count}H").unpack for count in range(8)}
"""By the bytes of the whole."""
_UNPACK_TWO: Final = _UNPACK_FEW[_TWO_GROUPS]  # most of them: it is worth a way of its own
_NEAR: Final = 20
"""Groups before or behind the point, up to which no number with few groups needs an exponent."""
_POWERS: Final = tuple(10**zeros for zeros in range(_ZEROS + 1))
_SIGNS: Final = frozenset({0, _NUMERIC_NEGATIVE})
_FLOAT4_DIGITS: Final = 9  # that many always tell two of them apart; fewer often do


def integer_value(value: int) -> int | str:
    """Return a number, or its digits where a JSON reader might round it."""
    return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)


def float_value(value: float) -> float | str:
    """Return a number, or `NaN`, `Infinity`, `-Infinity`: JSON has none of them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def read_integer(value: object, low: int, high: int) -> int:
    """Return an integer given as a number or as digits; raises `ValueError` outside of low to high."""
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"[+-]?\d{1,20}", value, re.ASCII) else value
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"give an integer from {low} to {high}, as a number or as a string of digits")
    return value


def read_float(value: object) -> float:
    """Return a float given as a number or as `NaN`, `Infinity`, `-Infinity`; raises `ValueError`."""
    if isinstance(value, str) and value in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[value]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError('give a number, or "NaN", "Infinity" or "-Infinity"')  # noqa: TRY004 - a wrong value of a caller's
    try:
        return float(value)
    except OverflowError:
        raise ValueError("give a number that a float can hold") from None


def read_numeric(value: object) -> Decimal:
    """Return a numeric given as a string, which keeps its scale, or as a number; raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    if isinstance(value, str) and re.fullmatch(
        r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?|NaN|-?Infinity", value, re.ASCII
    ):
        return Decimal(value)
    raise ValueError('give a number or a string like "1.50"')


def packed(layout: str, *numbers: float) -> bytes:
    """Return `struct.pack` of the numbers; raises `ValueError` if one does not fit."""
    try:
        return struct.pack(layout, *numbers)
    except (struct.error, OverflowError):
        raise ValueError("this is out of range") from None


def float4_value(data: bytes) -> float | str:
    """Return a short number that is this float4: 0.1, not 0.10000000149011612."""
    value = struct.unpack(">f", data)[0]
    for digits in range(6, _FLOAT4_DIGITS):
        short = float(f"{value:.{digits}g}")
        if math.isfinite(short) and struct.pack(">f", short) == data:
            return short
    return float_value(value)


def numeric_text(data: bytes) -> str:
    """Return every digit; on the wire there are groups of four, and how many digits follow the point.

    Ten bytes there can be 131 thousand zeros here: beyond `_ZEROS` of them the number is told with an exponent, as
    exact, and without the zeros behind its last digit.
    """
    size = len(data)
    if size == _TWO_GROUPS:
        _, weight, sign, scale, high, low = _UNPACK_TWO(data)
        number = high * 10_000 + low
    elif size in _UNPACK_FEW:
        _, weight, sign, scale, *groups = _UNPACK_FEW[size](data)
        number = 0
        for group in groups:
            number = number * 10_000 + group
    else:
        return _long_numeric_text(data)
    if not -_NEAR < weight < _NEAR or scale > _ZEROS // 2 or sign not in _SIGNS:
        return _long_numeric_text(data)
    shift = scale - (size - _ONE_GROUP) * 2 + weight * 4
    text = str(number * _POWERS[shift] if shift >= 0 else number // _POWERS[-shift])
    if scale:
        text = text if len(text) > scale else text.zfill(scale + 1)
        text = f"{text[:-scale]}.{text[-scale:]}"
    return f"-{text}" if sign else text


def _long_numeric_text(data: bytes) -> str:
    count, weight, sign, scale = struct.unpack_from(">hhHh", data)
    if sign in _NUMERIC_SIGN:
        return _NUMERIC_SIGN[sign]
    groups = "".join(f"{group:04d}" for group in struct.unpack_from(f">{count}h", data, 8))
    minus = "-" if sign == _NUMERIC_NEGATIVE else ""
    point = (weight + 1) * 4
    if max(point - len(groups), -point, scale - (len(groups) - point)) > _ZEROS:
        return minus + _with_exponent(groups, point)
    whole = groups[: max(point, 0)].ljust(point, "0").lstrip("0") or "0"
    fraction = ("0" * -point + groups[max(point, 0) :]).ljust(scale, "0")[:scale]
    return f"{minus}{whole}{'.' if scale else ''}{fraction}"


def shortened(text: str) -> str:
    """Return a numeric as `numeric_text` tells it, given as Postgres writes it: every digit and zero."""
    if len(text) < _ZEROS - 4:  # zeros are counted in groups of four
        return text
    minus = "-" if text[0] == "-" else ""
    whole, _, fraction = text.removeprefix("-").partition(".")
    digits = (whole + fraction).strip("0")
    if not digits:
        return "0" if len(fraction) + 4 > _ZEROS else text
    first = len(whole) - 1 - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    last = first - len(digits) + 1
    # As `_long_numeric_text` counts them: in groups of four.
    zeros = max(last // 4 * 4, -(first // 4 + 1) * 4, len(fraction) + last // 4 * 4)
    if zeros <= _ZEROS:
        return text
    return f"{minus}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}E{first:+d}"


def _with_exponent(groups: str, point: int) -> str:
    digits = groups.lstrip("0")
    exponent = point - (len(groups) - len(digits)) - 1
    digits = digits.rstrip("0")
    if not digits:
        return "0"
    return f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}E{exponent:+d}"


def numeric_bytes(value: object) -> bytes:
    """Return a numeric, given as `read_numeric` takes it, in Postgres's form; raises `ValueError`."""
    number = read_numeric(value)
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return struct.pack(">hhHh", 0, 0, {"n": 0xC000, "F": 0xF000 if sign else 0xD000}[exponent], 0)
    scale = max(-exponent, 0)
    if scale > _LARGEST_SCALE:
        raise ValueError("this is out of range")
    text = "".join(map(str, digits)) + "0" * (exponent % 4)
    text = text.rjust(-(-len(text) // 4) * 4, "0")
    groups = [int(text[start : start + 4]) for start in range(0, len(text), 4)]
    weight = len(groups) - 1 + (exponent - exponent % 4) // 4
    while groups and groups[0] == 0:
        del groups[0]
        weight -= 1
    while groups and groups[-1] == 0:
        del groups[-1]
    sign_bits = _NUMERIC_NEGATIVE if sign and groups else 0
    return packed(f">hhHh{len(groups)}h", len(groups), weight if groups else 0, sign_bits, scale, *groups)
