"""How single values cross the wire: Postgres's binary forms to JSON values, and JSON values to binary forms.

Rules: pure; one small function a type; every function reads bytes that Postgres sent, or raises `ValueError` with a
sentence about what to give instead. The layouts are those of the types' `send` and `recv` functions in Postgres.

`CODECS` are types whose driver's values would lose something (infinities, months, which of two types it was), or have
no JSON form. `ELEMENTS` also reads the common types that the driver reads well by itself: an anonymous record names its
elements' types only in its own bytes, and the driver takes some of them for something else.
"""

import base64
import binascii
import ipaddress
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec

from server import temporal
from server.numerals import float4_value, float_value, integer_value, numeric_bytes, numeric_text, packed, read_float

DEEPEST_JSON: Final = 200
"""Levels of JSON that are passed on as JSON: the protocol's own encoder gives up at 255, its envelope included."""

_DEEPEST_BYTES: Final = 2 * DEEPEST_JSON
"""Each level has two brackets."""
_format: Final = msgspec.json.format
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKET: Final = bytes(set(range(256)) - _STEP.keys())
_JSONB_VERSION: Final = b"\x01"
_INET, _INET6 = 2, 3  # address families as Postgres numbers them on the wire, on every platform
_FIELD: Final = re.compile(r'[(,](?:"((?:[^"\\]|""|\\.)*)"|([^,()"\\]*))(?=[,)])', re.DOTALL)
_ESCAPED: Final = re.compile(r'["\\](.)', re.DOTALL)


class Codec(NamedTuple):
    """One type: its name in pg_catalog, and both ways over the wire."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


class UnknownElement(Exception):
    """An anonymous record holds a type that its bytes alone do not explain."""


def bytes_value(value: bytes) -> str:
    """Return base64 (RFC 4648, section 4)."""
    return base64.b64encode(value).decode()


def json_value(text: bytes) -> msgspec.Raw | str:
    """Return JSON as it stands, without its white space; no number is read, so none loses a digit.

    What JSON readers would refuse (half a surrogate pair, hundreds of levels) comes as text.
    """
    if len(text) > _DEEPEST_BYTES and _is_deep(text):
        return text.decode()
    try:
        return msgspec.Raw(_format(text, indent=-1))
    except msgspec.MsgspecError:
        return text.decode()


def _is_deep(text: bytes) -> bool:
    """Whether JSON nests deeper than `DEEPEST_JSON`. Few brackets cannot, and counting them is fast."""
    if text.count(b"[") + text.count(b"{") <= DEEPEST_JSON:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKET)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEEPEST_JSON


def read_bytes(value: object) -> bytes:
    """Return the bytes of base64; raises `ValueError`."""
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error:
        raise ValueError("give base64") from None


def read_uuid(value: object) -> uuid.UUID:
    """Return a UUID given as text; raises `ValueError`."""
    try:
        return uuid.UUID(_text(value))
    except ValueError:
        raise ValueError('give a UUID like "6ba7b810-9dad-11d1-80b4-00c04fd430c8"') from None


def composite_texts(text: str) -> list[str | None]:
    """Return the fields of a row's own text, `(1,"a b",)`, each in its type's own text (record_out in Postgres)."""
    return [
        (plain or None) if quoted is None else _ESCAPED.sub(r"\1", quoted)
        for quoted, plain in (found.groups() for found in _FIELD.finditer(text))
    ]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("give a string")  # noqa: TRY004 - a wrong value is one error to the callers of this file
    return value


def _char_text(data: bytes) -> str:
    """Return what charout of Postgres 15 and later writes: nothing for NUL, octal beyond ASCII."""
    code = data[0]
    return "" if code == 0 else chr(code) if code < 128 else f"\\{code:03o}"  # noqa: PLR2004 - ASCII ends there


def _char_bytes(value: object) -> bytes:
    text = _text(value)
    if len(text) > 1 or not text.isascii():
        raise ValueError("give one ASCII character")
    return text.encode() or b"\0"


def _json_bytes(value: object) -> bytes:
    return msgspec.json.encode(value)


def _inet_text(data: bytes) -> str:
    _family, bits, is_cidr, size = data[:4]
    address = ipaddress.ip_address(data[4 : 4 + size])
    text = str(address)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        text = f"::ffff:{address.ipv4_mapped}"
    return text if bits == size * 8 and not is_cidr else f"{text}/{bits}"


def _inet_bytes(value: object) -> bytes:
    return _network_bytes(_interface(value), is_cidr=False)


def _cidr_bytes(value: object) -> bytes:
    interface = _interface(value)
    if interface.ip != interface.network.network_address:
        raise ValueError("give a network with no bits right of its prefix, like 10.0.0.0/8")
    return _network_bytes(interface, is_cidr=True)


def _interface(value: object) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        return ipaddress.ip_interface(_text(value))
    except ValueError:
        raise ValueError("give an address like 10.0.0.1 or 10.0.0.0/8") from None


def _network_bytes(interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface, *, is_cidr: bool) -> bytes:
    address = interface.packed
    family = _INET if interface.version == 4 else _INET6  # noqa: PLR2004 - the two versions of IP
    return bytes((family, interface.network.prefixlen, is_cidr, len(address))) + address


def _tid_text(data: bytes) -> str:
    block, offset = struct.unpack(">IH", data)
    return f"({block},{offset})"


def _tid_bytes(value: object) -> bytes:
    found = re.fullmatch(r"\((\d+),(\d+)\)", _text(value), re.ASCII)
    if found is None:
        raise ValueError('give a string like "(0,1)"')
    return packed(">IH", int(found[1]), int(found[2]))


def _lsn_text(data: bytes) -> str:
    high, low = struct.unpack(">II", data)
    return f"{high:X}/{low:X}"


def _lsn_bytes(value: object) -> bytes:
    found = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", _text(value))
    if found is None:
        raise ValueError('give a string like "16/B374D848"')
    return struct.pack(">II", int(found[1], 16), int(found[2], 16))


def _snapshot_text(data: bytes) -> str:
    count, low, high = struct.unpack_from(">iqq", data)
    running = struct.unpack_from(f">{count}q", data, 20)
    return f"{low}:{high}:{','.join(map(str, running))}"


def _record_values(data: bytes) -> list[Any]:
    """Return the elements of an anonymous record; raises `UnknownElement`."""
    values: list[Any] = []
    offset = 4
    for _ in range(struct.unpack_from(">i", data)[0]):
        oid, size = struct.unpack_from(">Ii", data, offset)
        offset += 8
        values.append(None if size < 0 else _element(oid, data[offset : offset + size]))
        offset += max(size, 0)
    return values


def _element(oid: int, data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    decode = ELEMENTS.get(oid)
    if decode is None:
        raise UnknownElement(oid)
    return decode(data)


def _cast_instead(_value: object) -> bytes:
    raise ValueError("a parameter cannot have this type; pass text and cast it in SQL, as in $1::text::…")


def _interval_text(data: bytes) -> str:
    us, days, months = struct.unpack(">qii", data)
    return temporal.interval_text(months, days, us)


def _interval_bytes(value: object) -> bytes:
    months, days, us = temporal.read_interval(_text(value))
    return packed(">qii", us, days, months)


def _unsigned(data: bytes) -> int | str:
    return integer_value(int.from_bytes(data))


def _signed(data: bytes) -> int | str:
    return integer_value(int.from_bytes(data, signed=True))


# Bound methods: these run once a cell.
_int4: Final = struct.Struct(">i").unpack
_int8: Final = struct.Struct(">q").unpack
_float8: Final = struct.Struct(">d").unpack

CODECS: Final[Mapping[int, Codec]] = {
    18: Codec("char", _char_text, _char_bytes),
    27: Codec("tid", _tid_text, _tid_bytes),
    114: Codec("json", json_value, _json_bytes),
    650: Codec("cidr", _inet_text, _cidr_bytes),
    700: Codec("float4", float4_value, lambda value: packed(">f", read_float(value))),
    869: Codec("inet", _inet_text, _inet_bytes),
    1082: Codec(
        "date",
        lambda data: temporal.date_text(_int4(data)[0]),
        lambda value: packed(">i", temporal.read_date(_text(value))),
    ),
    1083: Codec(
        "time",
        lambda data: temporal.time_text(_int8(data)[0]),
        lambda value: packed(">q", temporal.read_time(_text(value))),
    ),
    1114: Codec(
        "timestamp",
        lambda data: temporal.timestamp_text(_int8(data)[0]),
        lambda value: packed(">q", temporal.read_timestamp(_text(value))),
    ),
    1184: Codec(
        "timestamptz",
        lambda data: temporal.timestamptz_text(_int8(data)[0]),
        lambda value: packed(">q", temporal.read_timestamptz(_text(value))),
    ),
    1186: Codec("interval", _interval_text, _interval_bytes),
    1266: Codec(
        "timetz",
        lambda data: temporal.timetz_text(*struct.unpack(">qi", data)),
        lambda value: packed(">qi", *temporal.read_timetz(_text(value))),
    ),
    1700: Codec("numeric", numeric_text, numeric_bytes),
    2249: Codec("record", _record_values, _cast_instead),
    2970: Codec("txid_snapshot", _snapshot_text, _cast_instead),
    3220: Codec("pg_lsn", _lsn_text, _lsn_bytes),
    3802: Codec("jsonb", lambda data: json_value(data[1:]), lambda value: _JSONB_VERSION + _json_bytes(value)),
    5038: Codec("pg_snapshot", _snapshot_text, _cast_instead),
}
"""By oid, which is fixed for types of pg_catalog."""

ELEMENTS: Final[Mapping[int, Callable[[bytes], Any]]] = {
    **{oid: codec.decode for oid, codec in CODECS.items()},
    **dict.fromkeys((19, 25, 705, 1042, 1043), bytes.decode),
    16: lambda data: data != b"\0",
    17: bytes_value,
    **dict.fromkeys((20, 21, 23), _signed),
    **dict.fromkeys((26, 28, 5069), _unsigned),
    701: lambda data: float_value(_float8(data)[0]),
    2950: lambda data: str(uuid.UUID(bytes=data)),
}
"""How an anonymous record's elements are read, by the oid that stands before each."""
