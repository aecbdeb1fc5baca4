"""Rows as they come in from a tenant's server, up to the limits, and what is told when they do not come."""

import time
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import asyncpg
import msgspec
from asyncpg.exceptions import InternalClientError

from registry.errors import TenancyError
from server.columns import Column
from server.connections import Connection
from server.meter import Meter
from server.read_session import ReadLimits, is_gone
from server.sqlstates import MALFORMED, lost, not_postgres, read_error, timed_out, too_large
from server.values import Row, holds_many_values, row_reader

_FIRST_STEP: Final = 64
"""Rows of the first fetch: most results are smaller, and rows may be large."""
_STEP_BYTES: Final = 16 << 20
_STEP_RESULTS: Final = _FIRST_STEP + 1
"""A step that brings more than so many bytes, and more than so many results of the largest size, is cut off."""
_ROW_BYTES: Final = 1 << 20
_ROW_RESULTS: Final = 2
"""The largest row: so many bytes, or so many results of the largest size, if that is more. A row is decoded in one go,
while every other call waits; what is larger would hardly be shorter as JSON, and is refused before that."""
_MANY_VALUES_SHARE: Final = 8
"""The largest row with a column that holds many values, which are decoded one by one, is so many times smaller."""
_KEPT_ROWS: Final = 4
"""So many of the largest rows, in bytes, are kept of a step: the numbers of a result of the largest size may take up to
some six times as much in Postgres's form. The rows after them are left out before they are decoded."""
QUIET_BYTES: Final = 16 << 20
"""What may come besides: answers without rows, the rest of a fetch that was cancelled, notices."""
_BREATH_SECONDS: Final = 0.002
__all__ = ["QUIET_BYTES", "Budget", "Column", "Result", "failure"]

_encode: Final = msgspec.json.Encoder().encode


class Budget(NamedTuple):
    """What a result may take, and who watches over it."""

    limits: ReadLimits
    meter: Meter


class Result:
    """Rows as they come in, up to the limits."""

    def __init__(self, budget: Budget, types: Sequence[asyncpg.Type]) -> None:
        self.rows: list[Row] = []
        self.truncated_by: Literal["rows", "bytes"] | None = None
        self._limits, self._meter = budget
        self._row_of = row_reader(types)
        self._largest = max(_ROW_BYTES, _ROW_RESULTS * self._limits.max_bytes)
        self._row = self._largest // _MANY_VALUES_SHARE if holds_many_values(types) else self._largest
        self.size = 0

    def step(self) -> int:
        """Return how many rows to fetch next: as many as will fit by what rows took so far, and one to see the end."""
        return self._allowed(self._asked(), max(_STEP_BYTES, _STEP_RESULTS * self._limits.max_bytes))

    def whole(self) -> int:
        """Return how many rows to fetch to have the result at once: as many as it may have, and one to see the end."""
        return self._allowed(self._limits.max_rows + 1, max(_STEP_BYTES, 2 * _KEPT_ROWS * self._largest))

    def _allowed(self, rows: int, size: int) -> int:
        self._meter.allow(size, row=self._row, rows=_KEPT_ROWS * self._largest, due=rows)
        return rows

    def _asked(self) -> int:
        left = self._limits.max_rows - len(self.rows) + 1
        if not self.rows:
            return min(left, _FIRST_STEP)
        fitting = (self._limits.max_bytes - self.size) * len(self.rows) // self.size
        return max(1, min(left, fitting + 1))

    async def take(self, records: Sequence[asyncpg.Record]) -> None:
        """Keep what fits; others run in between where that takes its time."""
        begun = time.perf_counter()
        for record in records:
            if len(self.rows) == self._limits.max_rows:
                self.truncated_by = "rows"
                return
            row = self._row_of(record)
            self.size += len(_encode(row)) + 1  # the comma
            if self.size > self._limits.max_bytes:
                self.truncated_by = "bytes"
                return
            self.rows.append(row)
            if time.perf_counter() - begun > _BREATH_SECONDS:
                await self._meter.breathe(begun)
                begun = time.perf_counter()
        if self._meter.dropped:
            self.truncated_by = "bytes"


def failure(
    error: Exception, connection: Connection, meter: Meter, *, timeout: float, elapsed: float, expired: bool
) -> TenancyError:
    """Say what one of `DRIVER_ERRORS` or `MALFORMED` means for the caller.

    Args:
        error: What the driver raised.
        connection: It was raised on this one.
        meter: The connection's.
        timeout: The statement's limit in seconds.
        elapsed: Seconds since it began.
        expired: Whether this side gave up.
    """
    if isinstance(error, MALFORMED):
        return not_postgres()
    if meter.fault is not None:
        return not_postgres() if meter.fault == "protocol" else too_large()
    if expired:
        return timed_out(timeout)
    if isinstance(error, InternalClientError) and is_gone(connection):  # its answer came before it was asked
        return lost()
    return read_error(error, timeout, elapsed)
