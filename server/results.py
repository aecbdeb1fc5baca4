"""Rows as they come in from a tenant's server, up to the limits, and what is told when they do not come."""

import time
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import asyncpg
import msgspec
from asyncpg import Connection
from asyncpg.exceptions import InternalClientError

from registry.errors import TenancyError
from server.columns import Column
from server.meter import Meter
from server.read_session import ReadLimits
from server.row_encoding import RowEncoder
from server.sqlstates import MALFORMED, lost, not_postgres, read_error, timed_out, too_large
from server.values import Row

__all__ = ["QUIET_BYTES", "Budget", "Column", "EncodedRows", "Result", "decoded", "failure", "how_to_go_on"]

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
_DECODER: Final = msgspec.json.Decoder(list[Row])
_PIECE_ROWS: Final = 128
_PIECE_BYTES: Final = 1 << 15
_PIECE_GROWTH: Final = 8
"""So many rows at most are encoded in one go, while every other call waits: about so many bytes, by what the piece
before them took, and so many times as many rows as that had."""


EncodedRows: TypeAlias = msgspec.Raw
"""Rows as the JSON array of arrays that an answer holds; nothing encodes them again."""


class Budget(NamedTuple):
    """What a result may take, and who watches over it."""

    limits: ReadLimits
    meter: Meter


class Result:
    """Rows as they come in, up to the limits.

    Attributes:
        count: How many there are.
        size: Bytes of what was encoded, a comma for each row included.
        truncated_by: The limit that was met, if one was.
    """

    def __init__(self, budget: Budget, encoder: RowEncoder) -> None:
        self.count = 0
        self.size = 0
        self.truncated_by: Literal["rows", "bytes"] | None = None
        self._limits, self._meter = budget
        self._encode = encoder.encode
        self._pieces: list[bytes] = []
        self._largest = max(_ROW_BYTES, _ROW_RESULTS * self._limits.max_bytes)
        self._row = self._largest // _MANY_VALUES_SHARE if encoder.many else self._largest

    @property
    def rows(self) -> msgspec.Raw:
        """All rows, encoded."""
        return msgspec.Raw(b"[" + b",".join(self._pieces) + b"]")

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
        left = self._limits.max_rows - self.count + 1
        if not self.count:
            return min(left, _FIRST_STEP)
        fitting = (self._limits.max_bytes - self.size) * self.count // self.size
        return max(1, min(left, fitting + 1))

    async def take(self, records: Sequence[asyncpg.Record]) -> None:
        """Keep what fits; others run in between where that takes its time."""
        room = self._limits.max_rows - self.count
        fitting = records if len(records) <= room else records[:room]
        if len(fitting) == 1:
            self._keep(fitting)
        elif fitting:
            await self._keep_in_pieces(fitting)
        if self.truncated_by is None and (self._meter.dropped or len(records) > room):
            self.truncated_by = "rows" if len(records) > room else "bytes"

    async def _keep_in_pieces(self, fitting: Sequence[asyncpg.Record]) -> None:
        at, rows, begun = 0, 1, time.perf_counter()
        while at < len(fitting) and self.truncated_by is None:
            size = self.size
            self._keep(fitting[at : at + rows])
            at += rows
            rows = _next_piece(rows, self.size - size)
            if time.perf_counter() - begun > _BREATH_SECONDS:
                await self._meter.breathe(begun)
                begun = time.perf_counter()

    def _keep(self, records: Sequence[asyncpg.Record]) -> None:
        piece = self._encode(records)
        self.size += len(piece) + 1  # the comma
        if self.size <= self._limits.max_bytes:
            self._pieces.append(piece)
            self.count += len(records)
        elif len(records) == 1:
            self.truncated_by = "bytes"
        else:
            self.size -= len(piece) + 1
            self._keep_what_fits(records)

    def _keep_what_fits(self, records: Sequence[asyncpg.Record]) -> None:
        for record in records:
            self._keep((record,))
            if self.truncated_by is not None:
                return


def _next_piece(rows: int, size: int) -> int:
    """Return how many rows to encode next, after so many that took so many bytes."""
    return max(1, min(rows * _PIECE_BYTES // max(size, 1), rows * _PIECE_GROWTH, _PIECE_ROWS))


def how_to_go_on(result: Result) -> str | None:
    """Return what to do about a result that was cut, in words; None for a whole one."""
    if result.truncated_by is None:
        return None
    if not result.count:
        return "The first row alone is too large. Select fewer columns, or a part of long ones: left(column, 1000)."
    narrower = "Narrow it down (WHERE, an aggregate)"
    if result.truncated_by == "bytes":
        narrower = (
            "More would be too large an answer. Select fewer columns, or a part of long ones (left(column, 1000))"
        )
    return f"These are the first {result.count} rows. {narrower}, or go on: ORDER BY … OFFSET {result.count}."


def decoded(rows: msgspec.Raw) -> list[Row]:
    """Return rows as values again, for who reads them here."""
    return _DECODER.decode(rows)


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
    if isinstance(error, InternalClientError) and connection.is_closed():  # its answer came before it was asked
        return lost()
    return read_error(error, timeout, elapsed)
