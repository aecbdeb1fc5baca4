"""One guarded read: one statement, in a transaction that cannot write, with limits on time, rows and bytes.

Four layers, none of which relies on another:

1. The statement's first word must be that of a read (`server/statement.py`); nothing that ends a transaction or
   outlives one gets past it.
2. It is prepared in the extended protocol, which takes one statement.
3. It runs in a READ ONLY transaction with timeouts, and is fetched in steps, never further than the limits.
4. The transaction ends in ROLLBACK and the session is reset in the same round trip: with COMMIT, a setting made by the
   statement would reach the next caller. A connection that cannot be reset is closed.

Round trips of a small result: BEGIN with its settings, prepare, bind and first step, ROLLBACK with the reset: four. A
result beyond the first step costs one or two more; a type that the connection has not seen before two or three, once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

import asyncpg
import msgspec
from asyncpg.exceptions import InternalClientError

from server.binding import bind, misfit
from server.codecs import UnknownElement
from server.meter import Meter, meter_of
from server.sqlstates import DRIVER_ERRORS, MALFORMED, lost, not_postgres, read_error, timed_out, too_large
from server.statement import require_read
from server.values import LESSONS, Row, forget_records, learn, prepare_connection, row_reader

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.prepared_stmt import PreparedStatement

    Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy[asyncpg.Record]

__all__ = ["Column", "ReadLimits", "Rows", "prepare_connection", "read", "reset_connection"]

_FIRST_STEP: Final = 64
"""Rows of the first fetch: most results are smaller, and rows may be large."""
_STEP_BYTES: Final = 16 << 20
_STEP_RESULTS: Final = _FIRST_STEP + 1
"""A step that brings more than so many bytes, and more than so many results of the largest size, is cut off."""
_ROW_BYTES: Final = 1 << 20
_ROW_RESULTS: Final = 2
"""The largest row: so many bytes, or so many results of the largest size, if that is more. A row is decoded in one go,
while every other call waits; what is larger would hardly be shorter as JSON, and is refused before that."""
_KEPT_ROWS: Final = 4
"""So many of the largest rows, in bytes, are kept of a step: the numbers of a result of the largest size may take up to
some six times as much in Postgres's form. The rows after them are left out before they are decoded."""
_QUIET_BYTES: Final = 16 << 20
"""What may come besides: answers without rows, the rest of a fetch that was cancelled, notices."""
_LESSONS_AT_MOST: Final = 16
_GRACE_SECONDS: Final = 1.0
"""How much later than Postgres this side gives up: Postgres counts each step anew."""
_CLEAN_SECONDS: Final = 5.0
_RESET: Final = """
    ROLLBACK; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *;
    SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES
"""
"""DISCARD ALL in parts, for that one cannot stand beside a ROLLBACK; its DISCARD PLANS frees no state of a caller's."""

_encode: Final = msgspec.json.Encoder().encode


class ReadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one read may take.

    Attributes:
        max_rows: Most rows of a result.
        max_bytes: Most bytes of its rows as JSON.
        statement_timeout: Seconds for the statement, from its first to its last row.
        lock_timeout: Seconds for each wait for a lock.
    """

    max_rows: int
    max_bytes: int
    statement_timeout: float
    lock_timeout: float


class Column(msgspec.Struct, frozen=True):
    """One column of a result: its name, and its Postgres type as it is commonly written (`int8`, `text[]`)."""

    name: str
    type: str


class Rows(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result, column by column: names may repeat. Cells are JSON values as `server.values` tells.

    `truncated` says that there are more rows; `truncated_by` which limit was met. A row that alone is larger than the
    limit of bytes leaves no row at all.
    """

    columns: list[Column]
    rows: list[list[Any]]
    row_count: int
    truncated: bool
    truncated_by: Literal["rows", "bytes"] | None = None


async def read(
    connection: "Connection",
    query: str,
    params: Sequence[object] = (),
    *,
    limits: ReadLimits,
    search_path: str | None = None,
) -> Rows:
    """Run one read on a leased connection, and leave that as clean as a new one, or closed.

    Args:
        connection: Leased and prepared (`prepare_connection`).
        query: One statement that reads.
        params: JSON values for `$1 … $n`.
        limits: How much it may take.
        search_path: Schemas to look names up in, instead of the login's own; written into SQL as it stands, so never a
            caller's.

    Raises `QueryRefused`, `InvalidInput`, `QueryFailed`, `QueryTimeout` or `ConnectionLost`. May be cancelled at any
    time: the statement is then cancelled in Postgres, too, and the cancellation goes on when the connection is clean,
    at most five seconds later.
    """
    require_read(query)
    if _is_gone(connection):
        raise lost()
    meter, begun = meter_of(connection), time.monotonic()
    meter.allow(_QUIET_BYTES)
    scope = asyncio.timeout(limits.statement_timeout + _GRACE_SECONDS)
    try:
        async with scope:
            await connection.execute(_opening(limits, search_path))
            return await _run(connection, query, params, _Budget(limits, meter))
    except MALFORMED:
        raise not_postgres() from None
    except DRIVER_ERRORS as error:
        if meter.fault is not None:
            raise (too_large() if meter.fault == "size" else not_postgres()) from None
        if scope.expired():
            raise timed_out(limits.statement_timeout) from None
        if isinstance(error, InternalClientError) and _is_gone(connection):  # its answer came before it was asked
            raise lost() from None
        raise read_error(error, limits.statement_timeout, time.monotonic() - begun) from None
    finally:
        meter.allow(_QUIET_BYTES)
        await _leave(connection)


async def reset_connection(_connection: "Connection") -> None:
    """Do nothing more when a connection comes back: the `reset` hook of a pool whose connections only `read` uses.

    `read` has reset it already, in the round trip of its ROLLBACK; the driver's own reset would be another.
    """


def _opening(limits: ReadLimits, search_path: str | None) -> str:
    statement, lock = _milliseconds(limits.statement_timeout), _milliseconds(limits.lock_timeout)
    idle = _milliseconds(limits.statement_timeout + _GRACE_SECONDS + _CLEAN_SECONDS)
    path = "" if search_path is None else f"; SET LOCAL search_path = {search_path}"
    return (
        f"BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {idle}{path}"
    )


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean no limit


async def _run(connection: "Connection", query: str, params: Sequence[object], budget: "_Budget") -> Rows:
    lessons: list[BaseException] = []
    try:
        while True:
            try:
                return await _fetch(connection, query, params, budget)
            except LESSONS as lesson:
                lessons.append(lesson)
                if len(lessons) > _LESSONS_AT_MOST or not await learn(connection, lesson):
                    raise
    finally:
        if any(isinstance(lesson, UnknownElement) for lesson in lessons) and not _is_gone(connection):
            forget_records(connection)


async def _fetch(connection: "Connection", query: str, params: Sequence[object], budget: "_Budget") -> Rows:
    budget.meter.allow(_QUIET_BYTES)  # and no row is left out: what follows asks Postgres about types
    statement = await connection.prepare(query)
    attributes = statement.get_attributes()
    result = _Result(budget, row_reader([attribute.type for attribute in attributes]))
    await _fill(result, statement, params)
    return Rows(
        columns=[Column(attribute.name, attribute.type.name) for attribute in attributes],
        rows=result.rows,
        row_count=len(result.rows),
        truncated=result.truncated_by is not None,
        truncated_by=result.truncated_by,
    )


async def _fill(result: "_Result", statement: "PreparedStatement[asyncpg.Record]", params: Sequence[object]) -> None:
    types = statement.get_parameters()
    portal = cast("_Portal", aiter(statement.cursor(*bind(types, params), prefetch=1)))
    try:
        records = await portal._bind_exec(result.step(), None)  # noqa: SLF001 - the public way is a round trip more
    except (asyncpg.DataError, asyncpg.InterfaceError) as error:
        raise misfit(types, error) or error from None
    result.take(records)
    while not portal._exhausted and result.truncated_by is None:  # noqa: SLF001 - as above
        result.take(await portal._exec(result.step(), None))  # noqa: SLF001 - as above


class _Portal(Protocol):
    """What a cursor of the driver can do beyond one row at a time."""

    _exhausted: bool

    async def _bind_exec(self, rows: int, within: float | None, /) -> list[asyncpg.Record]: ...
    async def _exec(self, rows: int, within: float | None, /) -> list[asyncpg.Record]: ...


class _Budget(NamedTuple):
    limits: ReadLimits
    meter: Meter


class _Result:
    """Rows as they come in, up to the limits."""

    def __init__(self, budget: _Budget, row_of: Callable[[asyncpg.Record], Row]) -> None:
        self.rows: list[Row] = []
        self.truncated_by: Literal["rows", "bytes"] | None = None
        self._limits, self._meter = budget
        self._row_of = row_of
        self._bytes = 0

    def step(self) -> int:
        """Return how many rows to fetch next: as many as will fit by what rows took so far, and one to see the end."""
        row = max(_ROW_BYTES, _ROW_RESULTS * self._limits.max_bytes)
        self._meter.allow(max(_STEP_BYTES, _STEP_RESULTS * self._limits.max_bytes), row=row, rows=_KEPT_ROWS * row)
        left = self._limits.max_rows - len(self.rows) + 1
        if not self.rows:
            return min(left, _FIRST_STEP)
        fitting = (self._limits.max_bytes - self._bytes) * len(self.rows) // self._bytes
        return max(1, min(left, fitting + 1))

    def take(self, records: Sequence[asyncpg.Record]) -> None:
        """Keep what fits."""
        for record in records:
            if len(self.rows) == self._limits.max_rows:
                self.truncated_by = "rows"
                return
            row = self._row_of(record)
            self._bytes += len(_encode(row)) + 1  # the comma
            if self._bytes > self._limits.max_bytes:
                self.truncated_by = "bytes"
                return
            self.rows.append(row)
        if self._meter.dropped:
            self.truncated_by = "bytes"


async def _leave(connection: "Connection") -> None:
    """Clean up in a task of its own, and wait for it however often the caller is cancelled meanwhile."""
    cleaning = asyncio.create_task(_clean(connection))
    cancelled: asyncio.CancelledError | None = None
    while not cleaning.done():
        try:
            await asyncio.shield(cleaning)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _clean(connection: "Connection") -> None:
    clean = False
    try:
        async with asyncio.timeout(_CLEAN_SECONDS):
            await connection.execute(_RESET)
        clean = True
    except DRIVER_ERRORS:
        return  # the connection is closed below; the read's own result or error is what counts
    finally:
        if not clean and not _is_gone(connection):
            connection.terminate()


def _is_gone(connection: "Connection") -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool took it out of the lease when it broke
        return True
