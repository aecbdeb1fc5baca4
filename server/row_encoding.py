"""Records as JSON, many at once: what costs the most of a large result is what is done for each of its cells.

Rows are encoded once, by one call a piece, and spliced into the answer as they are. A column is only looked at value by
value where its type may hold what JSON cannot, and is converted only where it does.
"""

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from server.numerals import SAFE_INTEGER
from server.values import is_ready, value_of

Column: TypeAlias = list[Any]
"""The values of one column, as the driver reads them."""

_encode: Final = msgspec.json.Encoder().encode
_INT8, _FLOAT8 = 20, 701


class RowEncoder:
    """Encodes records whose columns have these types."""

    def __init__(self, types: Sequence[asyncpg.Type]) -> None:
        self._doubtful = [
            (position, itemgetter(position), _CHECKS.get(column.oid, _never))
            for position, column in enumerate(types)
            if not is_ready(column.oid)
        ]

    def encode(self, records: Sequence[asyncpg.Record]) -> bytes:
        """Return the rows as JSON arrays with commas between them. Raises nothing; takes its time for all of them."""
        doubtful = [(at, column) for at, get, fits in self._doubtful if not fits(column := list(map(get, records)))]
        if not doubtful:
            return _encode(list(map(tuple, records)))[1:-1]
        rows = list(map(list, records))
        for position, column in doubtful:
            for row, value in zip(rows, map(value_of, column), strict=True):
                row[position] = value
        return _encode(rows)[1:-1]


def _never(_column: Column) -> bool:
    return False


def _are_safe_integers(column: Column) -> bool:
    """Whether a JSON reader keeps all of them; the rest are told as digits."""
    known = [value for value in column if value is not None] if None in column else column
    return not known or (min(known) >= -SAFE_INTEGER and max(known) <= SAFE_INTEGER)


def _are_finite(column: Column) -> bool:
    """Whether all are finite; also False where only their sum is not."""
    known = [value for value in column if value is not None] if None in column else column
    return math.isfinite(sum(known))


_CHECKS: Final[dict[int, Callable[[Column], bool]]] = {_INT8: _are_safe_integers, _FLOAT8: _are_finite}
