"""Parameters in: JSON values to what the driver encodes for `$1 … $n`, as `server.values` writes values out.

What a result holds can be given back as a parameter as it stands. A timestamptz without an offset is UTC. Composites,
anonymous records and the geometric types cannot be parameters; text can, and SQL casts it (`$1::text::point`).
Pure; every wrong parameter is an `InvalidInput` that names it, its type, and what to give.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import asyncpg

from registry.errors import InvalidInput
from server.codecs import CODECS, read_bytes, read_uuid
from server.numerals import read_float, read_integer

_INTEGERS: Final = {
    "int2": (-(2**15), 2**15 - 1),
    "int4": (-(2**31), 2**31 - 1),
    "int8": (-(2**63), 2**63 - 1),
    "oid": (0, 2**32 - 1),
    "xid": (0, 2**32 - 1),
    "cid": (0, 2**32 - 1),
    "xid8": (0, 2**64 - 1),
}
_RANGED: Final = {
    "int4range": "int4",
    "int8range": "int8",
    "numrange": "numeric",
    "daterange": "date",
    "tsrange": "timestamp",
    "tstzrange": "timestamptz",
}
_GEOMETRY: Final = ("point", "line", "lseg", "box", "path", "polygon", "circle")
_BOUNDS: Final = ("[)", "[]", "(]", "()")
_AT_PARAMETER: Final = re.compile(r"(?:invalid input for )?query argument \$(\d+):")


def bind(types: Sequence[asyncpg.Type], params: Sequence[object]) -> list[Any]:
    """Return the values to bind.

    Args:
        types: The prepared statement's parameter types.
        params: JSON values, one for each; null is SQL's NULL.

    Raises `InvalidInput` if their number or one of them is wrong.
    """
    if len(types) != len(params):
        raise InvalidInput(_wrong_number(types, len(params)), field="params")
    return [
        _bound(number, column, value) for number, (column, value) in enumerate(zip(types, params, strict=True), start=1)
    ]


def misfit(types: Sequence[asyncpg.Type], error: Exception) -> InvalidInput | None:
    """Return what to tell of a value that only the driver found wrong; None if the error is another one."""
    found = _AT_PARAMETER.match(str(error))
    if found is None or getattr(error, "severity", None):  # what has a severity comes from Postgres
        return None
    number = int(found[1])
    cause = str(error.__cause__ or "the driver cannot encode it")
    return _invalid(number, types[number - 1], cause)


def _bound(number: int, column: asyncpg.Type, value: object) -> Any:  # noqa: ANN401 - whatever the driver encodes
    try:
        return _converter(column)(value)
    except (ValueError, RecursionError) as error:
        raise _invalid(number, column, str(error)) from None


def _invalid(number: int, column: asyncpg.Type, reason: str) -> InvalidInput:
    return InvalidInput(
        f"Parameter ${number} has the Postgres type {column.name}: {reason}.", field=f"params[{number}]"
    )


def _wrong_number(types: Sequence[asyncpg.Type], given: int) -> str:
    named = ", ".join(f"${number} {column.name}" for number, column in enumerate(types, start=1))
    wanted = f"{len(types)} ({named})" if types else "none"
    return f"The number of parameters does not fit: the statement has {wanted}, params has {given}."


def _converter(column: asyncpg.Type) -> Callable[[Any], Any]:
    if column.kind == "array":
        return partial(_array, _scalar(column.name.removesuffix("[]"), column.schema))
    if column.kind == "range":
        return partial(_range, _element(column.name, column.schema))
    if column.kind == "multirange":
        return partial(_multirange, _element(column.name.replace("multirange", "range"), column.schema))
    if column.kind == "composite":
        return _cast_instead
    return _scalar(column.name, column.schema)


def _scalar(name: str, schema: str) -> Callable[[Any], Any]:
    # A user may have an enum called `date`: only pg_catalog's types are known by their names.
    return partial(_nullable, _SCALARS.get(name, _string) if schema == "pg_catalog" else _string)


def _element(range_name: str, schema: str) -> Callable[[Any], Any]:
    """Return how a range's bounds are converted; the driver's own way where the range is a user's."""
    element = _RANGED.get(range_name)
    return _scalar(element, schema) if element and schema == "pg_catalog" else _as_it_is


def _nullable(convert: Callable[[Any], Any], value: object) -> Any:  # noqa: ANN401 - whatever the driver encodes
    return None if value is None else convert(value)


def _as_it_is(value: object) -> object:
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("give a string")  # noqa: TRY004 - a wrong value is one error to the caller
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give true or false")  # noqa: TRY004 - a wrong value is one error to the caller
    return value


def _bits(value: object) -> asyncpg.BitString:
    digits = _string(value)
    if digits.strip("01"):
        raise ValueError('give a string like "0101"')
    return asyncpg.BitString(bytes(map(int, digits)))


def _cast_instead(value: object) -> None:
    if value is not None:
        raise ValueError("no parameter can; pass text and cast it in SQL, as in $1::text::point, or build it: ROW($1)")


def _array(convert: Callable[[Any], Any], value: object) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError("give a list")  # noqa: TRY004 - a wrong value is one error to the caller
    return [_array(convert, element) if isinstance(element, list) else convert(element) for element in value]


def _multirange(convert: Callable[[Any], Any], value: object) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError("give a list of ranges")  # noqa: TRY004 - a wrong value is one error to the caller
    return [_range(convert, element) for element in value]


def _range(convert: Callable[[Any], Any], value: object) -> "asyncpg.Range[Any] | None":
    match value:
        case None:
            return None
        case "empty":
            return asyncpg.Range(empty=True)
        case {"lower": lower, "upper": upper, **rest} if rest.get("bounds", "[)") in _BOUNDS:
            bounds = str(rest.get("bounds", "[)"))
            return asyncpg.Range(convert(lower), convert(upper), lower_inc=bounds[0] == "[", upper_inc=bounds[1] == "]")
        case _:
            raise ValueError('give {"lower": …, "upper": …, "bounds": "[)"}, null for no bound, or "empty"')


_SCALARS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **{codec.name: codec.encode for codec in CODECS.values()},
    **{name: partial(read_integer, low=low, high=high) for name, (low, high) in _INTEGERS.items()},
    **dict.fromkeys(_GEOMETRY, _cast_instead),
    "float8": read_float,
    "bool": _bool,
    "bytea": read_bytes,
    "uuid": read_uuid,
    "bit": _bits,
    "varbit": _bits,
}
"""Every other type is given in Postgres's own text."""
