"""Numbers in JSON that no double and no Python integer can be: a database may hold them, and readers choke on them.

Rules: pure. `structuredContent` has the digits of such a number as a string, whatever road an answer goes; the text
beside it has it as it stands.
"""

import json
import math
from typing import Any, Final

import msgspec

_DECODER: Final = msgspec.json.Decoder()
_INTEGER_DIGITS: Final = 1000
"""Beyond that Python refuses to convert, for the time it would take."""
_DIGIT: Final = b"\1"
_E: Final = b"\2"
_SIGN: Final = b"\3"
_KINDS: Final = bytes(
    _DIGIT[0] if byte in b"0123456789" else _E[0] if byte in b"eE" else _SIGN[0] if byte in b"+-" else 0
    for byte in range(256)
)
_EXPONENT: Final = _DIGIT + _E + _DIGIT * 3
_SIGNED_EXPONENT: Final = _DIGIT + _E + _SIGN + _DIGIT * 3
_LONG: Final = _DIGIT * 200
"""What every number beyond a double has: an exponent of three digits, or two and some two hundred digits before."""


def values_of(payload: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON as values, with such numbers as strings of their digits."""
    try:
        return _DECODER.decode(payload)
    except msgspec.ValidationError:
        return json.loads(payload, parse_float=_number, parse_int=_integer)


def tamed(payload: bytes) -> bytes:
    """Return JSON in which such numbers are strings; as it stands if it has none, which takes 0.6 us a KB to see."""
    kinds = payload.translate(_KINDS)
    if not (_LONG in kinds or _EXPONENT in kinds or _SIGNED_EXPONENT in kinds):
        return payload
    try:
        _DECODER.decode(payload)
    except msgspec.ValidationError:
        return json.dumps(values_of(payload)).encode()
    return payload


def _number(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _INTEGER_DIGITS else digits
