"""Rows as JSON: every value keeps its meaning, whatever JSON's numbers and Python's dates can hold.

| in Postgres | in JSON |
|---|---|
| int2, int4, oid, xid | number |
| int8, xid8 | number up to 2^53-1 either way, beyond it a string of digits |
| numeric | string with every digit: `"1.50"`, `"NaN"`, `"Infinity"` |
| float4, float8 | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
| bool, text and its kin, enums | themselves |
| bytea | base64 |
| json, jsonb | JSON itself, number for number and key for key; only white space goes |
| date, time, timetz, timestamp, timestamptz, interval | text, see `server.temporal`; timestamptz in UTC with `Z` |
| uuid, inet, cidr, macaddr, bit, pg_lsn, geometry, and all that is not named here | Postgres's own text |
| arrays | lists, nested as deep as the array; lower bounds are not told |
| ranges | `{"lower": …, "upper": …, "bounds": "[)"}` with null for no bound, or `"empty"`; multiranges: lists of them |
| domains | as their base type |
| composites | objects by attribute name; if an attribute has a type that only has text, all its attributes are text |
| anonymous records | lists; if an element's type is not a common one, lists of Postgres's own texts |

SQL's NULL is null, and so is JSON's.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec
from asyncpg import Connection
from asyncpg.exceptions import InternalClientError, OutdatedSchemaCacheError, UnsupportedClientFeatureError
from asyncpg.pgproto.pgproto import UUID

from server.codecs import (
    CODECS,
    UnknownElement,
    bytes_value,
    composite_texts,
)
from server.flat_columns import FLAT
from server.numerals import float_value, integer_value

Row: TypeAlias = list[Any]
"""One row: a JSON value (or `msgspec.Raw`) for each column."""

LESSONS: Final = (UnsupportedClientFeatureError, InternalClientError, OutdatedSchemaCacheError, UnknownElement)
"""What the driver raises about types that it does not know yet, or no longer; see `learn`."""

_RECORD: Final = 2249
_ANYARRAY: Final = 2277
_READY: Final = frozenset({16, 17, 19, 21, 23, 25, 26, 28, 705, 1042, 1043, 2950, *CODECS} - {_RECORD})
_ARRAYS: Final = frozenset(
    {
        *(199, 651, 1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1010, 1011, 1014, 1015, 1021, 1028, 1041),
        *(1115, 1182, 1183, 1185, 1187, 1231, 1270, 2951, 3221, 3807),
    }
)
"""Of types that are ready; those of int8 and float8 have to be looked through."""
_OF_MANY: Final = frozenset({602, 604, _RECORD, _ANYARRAY})
"""Paths and polygons are of points, a record of its fields."""
_UNREADABLE: Final = re.compile(r'cannot decode type "(.+)"\."(.+)": text encoding of ', re.DOTALL)
_UNHANDLED: Final = re.compile(r"(?:unhandled standard data type .* \(OID |missing field types for composite )(\d+)")
_TYPE: Final = """
    SELECT t.oid, n.nspname, t.typname, pg_catalog.to_json(ARRAY(
               SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)) AS attributes
      FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
     WHERE t.oid = $1 OR (n.nspname = $2 AND t.typname = $3)
"""


async def prepare_connection(connection: Connection) -> None:
    """Make a fresh connection speak JSON values.

    No round trip: only types of pg_catalog are declared here, and the driver knows their oids.
    """
    for oid, codec in CODECS.items():
        _declare(connection, oid, codec.name, _encoder(codec.encode), codec.decode)
    for oid, flat in FLAT.items():
        _settings(connection).set_builtin_type_codec(oid, flat.name, "pg_catalog", "scalar", flat.read_as, flat.form)
    # The type of pg_stats' most_common_vals and the like, which the driver would look up for ever.
    _declare(connection, _ANYARRAY, "anyarray", str, str, form="text")


async def learn(connection: Connection, lesson: BaseException) -> bool:
    """Prepare the connection for a type that it stumbled over, in the caller's transaction.

    Args:
        connection: It raised `lesson`, one of `LESSONS`.
        lesson: What it raised.

    Returns:
        Whether the same statement may succeed now. What was learned about a type lasts as long as the connection;
        what was learned about anonymous records lasts until `forget_records`. At most two round trips.
    """
    if isinstance(lesson, OutdatedSchemaCacheError):
        await connection.reload_schema_state()
        return True
    if isinstance(lesson, UnknownElement):
        _declare(connection, _RECORD, "record", str, composite_texts, form="text")
        return True
    named, numbered = _UNREADABLE.search(str(lesson)), _UNHANDLED.search(str(lesson))
    found = await connection.fetchrow(
        _TYPE, int(numbered[1]) if numbered else 0, named and named[1], named and named[2]
    )
    if found is None:
        return False
    attributes = msgspec.json.decode(found["attributes"], type=list[str])
    decode = partial(_composite_of_texts, attributes) if attributes else str
    _declare(connection, found["oid"], found["typname"], str, decode, form="text", schema=found["nspname"])
    return True


def forget_records(connection: Connection) -> None:
    """Read anonymous records by their elements' types again: what one statement held says nothing about the next."""
    codec = CODECS[_RECORD]
    _declare(connection, _RECORD, codec.name, codec.encode, codec.decode)


def are_ready(types: Sequence[asyncpg.Type]) -> bool:
    """Whether values of these types are read without a lesson, whatever they are."""
    return all(column.oid in _READY for column in types)


def is_ready(oid: int) -> bool:
    """Whether what the driver reads of this type can be encoded as it is, whatever the value."""
    return oid in _READY or oid in _ARRAYS or (oid in FLAT and FLAT[oid].value is None)


def holds_many_values(types: Sequence[asyncpg.Type]) -> bool:
    """Whether a cell of one of these types may be thousands of values, each of which costs as much as a cell."""
    return any(column.kind != "scalar" or column.oid in _OF_MANY for column in types)


def value_of(value: Any) -> Any:  # noqa: ANN401 - in: what the driver read; out: any JSON value
    """Return the JSON value of a value as the driver reads it on a prepared connection."""
    convert = _CONVERT.get(type(value))
    return value if convert is None else convert(value)


def _declare(
    connection: Connection,
    oid: int,
    name: str,
    encode: Callable[[Any], str | bytes],
    decode: Callable[[Any], Any],
    *,
    form: str = "binary",
    schema: str = "pg_catalog",
) -> None:
    """Tell the driver how a type crosses the wire.

    Its public call takes a name, and "char" means another type to it; and it refuses composites and ranges in their
    text form, though the driver reads them well.
    """
    _settings(connection).add_python_codec(oid, name, schema, (), "scalar", encode, decode, form)


def _settings(connection: Connection) -> Any:  # noqa: ANN401 - the driver's own
    driver: Any = connection
    return driver._protocol.get_settings()  # noqa: SLF001 - its public calls take no oid


def _composite_of_texts(attributes: Sequence[str], text: str) -> dict[str, str | None] | list[str | None]:
    fields = composite_texts(text)
    # The type may have changed since it was looked up; a name must not stand at another one's value.
    return dict(zip(attributes, fields, strict=True)) if len(fields) == len(attributes) else fields


def _encoder(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return what also takes a value that `server.binding` has encoded already."""
    return lambda value: value if isinstance(value, bytes) else encode(value)


def _list(value: Sequence[Any]) -> Row:
    return [value_of(element) for element in value]


def _object(value: asyncpg.Record) -> dict[str, Any]:
    return {name: value_of(element) for name, element in value.items()}


def _range(value: "asyncpg.Range[Any]") -> dict[str, Any] | str:
    if value.isempty:
        return "empty"
    bounds = ("[" if value.lower_inc else "(") + ("]" if value.upper_inc else ")")
    return {"lower": value_of(value.lower), "upper": value_of(value.upper), "bounds": bounds}


def _bits(value: asyncpg.BitString) -> str:
    return value.as_string().replace(" ", "")


def _coordinate(value: float) -> str:
    return repr(value).removesuffix(".0") if math.isfinite(value) else str(float_value(value))


def _numbers(values: Sequence[float]) -> str:
    return ",".join(_coordinate(value) for value in values)


def _points(points: Sequence[Sequence[float]]) -> str:
    return ",".join(f"({_numbers(point)})" for point in points)


def _path(value: asyncpg.Path) -> str:
    return f"({_points(value.points)})" if value.is_closed else f"[{_points(value.points)}]"


_CONVERT: Final[Mapping[type, Callable[[Any], Any]]] = {
    int: integer_value,
    float: float_value,
    bytes: bytes_value,
    UUID: str,
    list: _list,
    tuple: _list,
    asyncpg.Record: _object,
    asyncpg.Range: _range,
    asyncpg.BitString: _bits,
    asyncpg.Point: lambda value: f"({_numbers(value)})",
    asyncpg.Box: _points,
    asyncpg.LineSegment: lambda value: f"[{_points(value)}]",
    asyncpg.Path: _path,
    asyncpg.Polygon: lambda value: f"({_points(value)})",
    asyncpg.Circle: lambda value: f"<({_numbers(value.center)}),{_coordinate(value.radius)}>",
    asyncpg.Line: lambda value: f"{{{_numbers(value)}}}",
}
