"""Records as JSON, many at once: what costs the most of a large result is what is done for each of its cells.

Rows are encoded once, by one call a piece, and spliced into the answer as they are. A column is only looked at value by
value where its type may hold what JSON cannot, and is converted only where it does.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from server.flat_columns import FLAT
from server.numerals import SAFE_INTEGER
from server.values import holds_many_values, is_ready, value_of

Column: TypeAlias = Sequence[Any]
"""The values of one column, as the driver reads them."""

_encode: Final = msgspec.json.Encoder().encode
_INT8, _FLOAT8 = 20, 701


class RowEncoder:
    """Encodes records whose columns have these types.

    Attributes:
        many: Whether one of the columns holds many values, which the driver decodes one by one.
    """

    def __init__(self, types: Sequence[asyncpg.Type]) -> None:
        self.many = holds_many_values(types)
        self._converters = [
            (position, _converter(column.oid)) for position, column in enumerate(types) if not is_ready(column.oid)
        ]

    def encode(self, records: Sequence[asyncpg.Record]) -> bytes:
        """Return the rows as JSON arrays with commas between them. Raises nothing; takes its time for all of them."""
        if not self._converters:
            return _encode(list(map(tuple, records)))[1:-1]
        columns: list[Column] = list(zip(*records, strict=True))
        for position, converted in self._converters:
            columns[position] = converted(columns[position])
        return _encode(list(zip(*columns, strict=True)))[1:-1]


def _converter(oid: int) -> Callable[[Column], Column]:
    flat = FLAT.get(oid)
    if flat is not None and flat.value is not None:
        return partial(_flat, flat.value)
    return _OF_NUMBERS.get(oid, _any)


def _any(column: Column) -> Column:
    return list(map(value_of, column))


def _flat(value: Callable[[Any], Any], column: Column) -> Column:
    if None in column:
        return [each if each is None else value(each) for each in column]
    return list(map(value, column))


def _integers(column: Column) -> Column:
    """Return them as they are where a JSON reader keeps them all; the others are told as digits."""
    known = [value for value in column if value is not None] if None in column else column
    is_safe = not known or (min(known) >= -SAFE_INTEGER and max(known) <= SAFE_INTEGER)
    return column if is_safe else _any(column)


def _floats(column: Column) -> Column:
    known = [value for value in column if value is not None] if None in column else column
    return column if math.isfinite(sum(known)) else _any(column)  # a sum may be too large where no value is


_OF_NUMBERS: Final[dict[int, Callable[[Column], Column]]] = {_INT8: _integers, _FLOAT8: _floats}
