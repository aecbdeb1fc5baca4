"""One guarded read: one statement, in a transaction that cannot write, with limits on time, rows and bytes.

Five layers, none of which relies on another:

1. The statement is looked at: its first word, the tree that Postgres's grammar makes of it, and what the tenant's
   catalogue says of functions that Postgres does not bring (`server/sql_guard.py`).
2. It is prepared in the extended protocol, which takes one statement.
3. It runs in a READ ONLY transaction with timeouts, and is fetched in steps, never further than the limits.
4. The transaction ends in ROLLBACK and the session is reset in the same round trip: with COMMIT, a setting made by the
   statement would reach the next caller. A connection that cannot be reset is closed (`server/read_session.py`).
5. What comes from the server passes the meter (`server/meter.py`).

Round trips of a small result: BEGIN with its settings, prepare, bind and first step, ROLLBACK with the reset: four. A
result beyond the first step costs one or two more; a type that the connection has not seen before two or three, once; a
function that Postgres does not bring two, once a minute and tenant.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias, cast

import asyncpg
import msgspec
from asyncpg.exceptions import InternalClientError

from registry.errors import QueryRefused
from server.binding import bind, misfit
from server.codecs import UnknownElement
from server.meter import Meter, meter_of
from server.read_session import GRACE_SECONDS, ReadLimits, is_gone, leave, opening, reset_connection
from server.sql_catalogue import Known
from server.sql_guard import Guard, Statement
from server.sqlstates import DRIVER_ERRORS, MALFORMED, lost, not_postgres, read_error, timed_out, too_large
from server.values import LESSONS, Row, forget_records, holds_many_values, learn, prepare_connection, row_reader

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
_MANY_VALUES_SHARE: Final = 8
"""The largest row with a column that holds many values, which are decoded one by one, is so many times smaller."""
_KEPT_ROWS: Final = 4
"""So many of the largest rows, in bytes, are kept of a step: the numbers of a result of the largest size may take up to
some six times as much in Postgres's form. The rows after them are left out before they are decoded."""
_QUIET_BYTES: Final = 16 << 20
"""What may come besides: answers without rows, the rest of a fetch that was cancelled, notices."""
_BREATH_SECONDS: Final = 0.002
_LESSONS_AT_MOST: Final = 16
_encode: Final = msgspec.json.Encoder().encode


class Column(msgspec.Struct, frozen=True):
    """One column of a result: its name, and its Postgres type as it is commonly written (`int8`, `text[]`)."""

    name: str
    type: str


class Rows(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result, column by column: names may repeat. Cells are JSON values as `server.values` tells.

    `truncated` says that there are more rows; `truncated_by` which limit was met. A row that alone is larger than the
    limit of bytes leaves no row at all. `guard` is `unparsed` when the statement was not understood (a newer grammar,
    or too long) and ran under the strictest rules: names that do harm may not stand in it at all.
    """

    columns: list[Column]
    rows: list[list[Any]]
    row_count: int
    truncated: bool
    truncated_by: Literal["rows", "bytes"] | None = None
    guard: Literal["unparsed"] | None = None


async def read(
    connection: "Connection",
    query: str | Statement,
    params: Sequence[object] = (),
    *,
    limits: ReadLimits,
    search_path: str | None = None,
    known: Known | None = None,
) -> Rows:
    """Run one read on a leased connection, and leave that as clean as a new one, or closed.

    Args:
        connection: Leased and prepared (`prepare_connection`).
        query: One statement that reads: a caller's text, or one that was vetted (`Guard.vet`) or is trusted.
        params: JSON values for `$1 … $n`.
        limits: How much it may take.
        search_path: Schemas to look names up in, instead of the login's own; written into SQL as it stands, so never a
            caller's.
        known: What the tenant's catalogue said before, and will say.

    Raises `QueryRefused`, `InvalidInput`, `QueryFailed`, `QueryTimeout` or `ConnectionLost`. May be cancelled at any
    time: the statement is then cancelled in Postgres, too, and the cancellation goes on when the connection is clean,
    at most two seconds later.
    """
    statement = Guard().vet(query) if isinstance(query, str) else query
    if is_gone(connection):
        raise lost()
    meter, begun = meter_of(connection), time.monotonic()
    meter.allow(_QUIET_BYTES)
    lasting = False
    scope = asyncio.timeout(limits.statement_timeout + GRACE_SECONDS)
    try:
        async with scope:
            await connection.execute(opening(limits, search_path))
            lasting = await _require_harmless(connection, statement, known or Known())
            rows = await _run(connection, statement.text, params, _Budget(limits, meter))
            return rows if statement.guard != "unparsed" else msgspec.structs.replace(rows, guard="unparsed")
    except MALFORMED:
        raise not_postgres() from None
    except DRIVER_ERRORS as error:
        if meter.fault is not None:
            raise (too_large() if meter.fault == "size" else not_postgres()) from None
        if scope.expired():
            raise timed_out(limits.statement_timeout) from None
        if isinstance(error, InternalClientError) and is_gone(connection):  # its answer came before it was asked
            raise lost() from None
        raise read_error(error, limits.statement_timeout, time.monotonic() - begun) from None
    finally:
        meter.allow(_QUIET_BYTES)
        await leave(connection)
        if lasting and not is_gone(connection):
            connection.terminate()


async def _require_harmless(connection: "Connection", statement: Statement, known: Known) -> bool:
    """Ask the tenant's catalogue; return whether the statement may leave what no reset reaches."""
    refusal, lasting = await known.refusal(connection, statement.verdict, strict=statement.strict)
    if refusal is not None:
        raise QueryRefused(f"{refusal}.")
    return lasting


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
        if any(isinstance(lesson, UnknownElement) for lesson in lessons) and not is_gone(connection):
            forget_records(connection)


async def _fetch(connection: "Connection", query: str, params: Sequence[object], budget: "_Budget") -> Rows:
    budget.meter.allow(_QUIET_BYTES)  # and no row is left out: what follows asks Postgres about types
    statement = await connection.prepare(query)
    attributes = statement.get_attributes()
    types = [attribute.type for attribute in attributes]
    result = _Result(budget, row_reader(types), many_values=holds_many_values(types))
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
    await result.take(records)
    while not portal._exhausted and result.truncated_by is None:  # noqa: SLF001 - as above
        await result.take(await portal._exec(result.step(), None))  # noqa: SLF001 - as above


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

    def __init__(self, budget: _Budget, row_of: Callable[[asyncpg.Record], Row], *, many_values: bool) -> None:
        self.rows: list[Row] = []
        self.truncated_by: Literal["rows", "bytes"] | None = None
        self._limits, self._meter = budget
        self._row_of = row_of
        self._largest = max(_ROW_BYTES, _ROW_RESULTS * self._limits.max_bytes)
        self._row = self._largest // _MANY_VALUES_SHARE if many_values else self._largest
        self._bytes = 0

    def step(self) -> int:
        """Return how many rows to fetch next: as many as will fit by what rows took so far, and one to see the end."""
        size, asked = max(_STEP_BYTES, _STEP_RESULTS * self._limits.max_bytes), self._asked()
        self._meter.allow(size, row=self._row, rows=_KEPT_ROWS * self._largest, due=asked)
        return asked

    def _asked(self) -> int:
        left = self._limits.max_rows - len(self.rows) + 1
        if not self.rows:
            return min(left, _FIRST_STEP)
        fitting = (self._limits.max_bytes - self._bytes) * len(self.rows) // self._bytes
        return max(1, min(left, fitting + 1))

    async def take(self, records: Sequence[asyncpg.Record]) -> None:
        """Keep what fits; others run in between where that takes its time."""
        begun = time.perf_counter()
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
            if time.perf_counter() - begun > _BREATH_SECONDS:
                await self._meter.breathe(begun)
                begun = time.perf_counter()
        if self._meter.dropped:
            self.truncated_by = "bytes"
