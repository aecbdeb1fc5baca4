"""One guarded read: one statement, in a transaction that cannot write, with limits on time, rows and bytes.

Five layers, none of which relies on another:

1. The statement is looked at: its first word, the tree that Postgres's grammar makes of it, and what the tenant's
   catalogue says of functions that Postgres does not bring (`server/sql_guard.py`).
2. It is prepared in the extended protocol, which takes one statement.
3. It runs in a READ ONLY transaction with timeouts, and is fetched in steps, never further than the limits.
4. The transaction ends in ROLLBACK and the session is reset in the same round trip: with COMMIT, a setting made by the
   statement would reach the next caller. A connection that cannot be reset is closed (`server/read_session.py`).
5. What comes from the server passes the meter (`server/meter.py`).

Two ways. The quick one (`server/quick_reads.py`) takes one round trip where the connection knows the statement, and two
where not. The careful one fetches in steps, takes on roles and learns types: BEGIN with its settings, prepare, bind and
first step, ROLLBACK with the reset: four, and one or two for a result beyond the first step. On either, a type that the
connection has not seen costs two or three more, once; a function that Postgres does not bring two, once a minute and
tenant.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, cast

import asyncpg
import msgspec
from asyncpg import Connection

from registry.errors import QueryFailed, QueryRefused
from server.binding import bind, misfit
from server.interruption import Interruption
from server.lessons import taught
from server.meter import meter_of
from server.quick_reads import NotQuick, QuickRead
from server.read_session import GRACE_SECONDS, ReadLimits, enter, leave
from server.results import QUIET_BYTES, Budget, Column, EncodedRows, Result, decoded, failure, how_to_go_on
from server.row_encoding import RowEncoder
from server.sql_catalogue import Known
from server.sql_guard import Guard, Statement
from server.sql_rules import Verdict
from server.sqlstates import DRIVER_ERRORS, MALFORMED, lost
from server.values import Row, prepare_connection

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

    from server.asides import Line

__all__ = ["Column", "ReadLimits", "Rows", "prepare_connection", "read"]


T = TypeVar("T")


class Rows(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result, column by column: names may repeat. Cells are JSON values as `server.values` tells.

    `truncated` says that there are more rows; `truncated_by` which limit was met, and `hint` how to go on. A row that
    alone is larger than the limit of bytes leaves no row at all. `guard` is `unparsed` when the statement was not
    understood (a newer grammar, or too long) and ran under the strictest rules: names that do harm may not stand in it
    at all.
    """

    columns: list[Column]
    encoded: EncodedRows = msgspec.field(name="rows")
    row_count: int
    truncated: bool
    truncated_by: Literal["rows", "bytes"] | None = None
    hint: str | None = None
    guard: Literal["unparsed"] | None = None

    @property
    def rows(self) -> list[Row]:
        """The rows as values, decoded anew: for who reads them here; an answer takes them as they are encoded."""
        return decoded(self.encoded)


async def read(
    connection: Connection,
    query: str | Statement,
    params: Sequence[object] = (),
    *,
    limits: ReadLimits,
    search_path: str | None = None,
    known: Known | None = None,
    role: str | None = None,
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
        role: What role to take on, within the transaction; one that the tenant's registration lends.

    Raises `QueryRefused`, `InvalidInput`, `QueryFailed`, `QueryTimeout` or `ConnectionLost`, after which the same call
    may succeed on another connection. May be cancelled at any time: the statement is then cancelled in Postgres, too,
    and the cancellation goes on when the connection is clean, at most two seconds later.
    """
    statement = Guard().vet(query) if isinstance(query, str) else query
    if connection.is_closed():
        raise lost()
    reading = _Reading(
        connection, statement, params, Budget(limits, meter_of(connection)), search_path, known or Known()
    )
    if role is not None or reading.is_for_steps:
        return await reading.carefully(role)
    try:
        return await reading.quickly()
    except NotQuick as problem:
        lasting = problem.lasting
    return await reading.carefully(role, lasting=lasting)


class _Reading(NamedTuple):
    """One read, and the two ways to do it."""

    connection: Connection
    statement: Statement
    params: Sequence[object]
    budget: Budget
    search_path: str | None
    known: Known

    @property
    def is_for_steps(self) -> bool:
        """Whether it is known to take the careful way."""
        return self.budget.meter.line is None or self.known.is_large(self.statement.text)

    async def quickly(self) -> Rows:
        """Return the rows. Raises `NotQuick` where that takes more care."""
        line, text = cast("Line", self.budget.meter.line), self.statement.text
        read = QuickRead(self.connection, line, self.budget, self.search_path)
        try:
            columns, result = await self._bounded(read.run(self.statement, self.params, self.known))
        except QueryFailed:
            if self.budget.meter.fault != "amount":
                raise
            # Too much to come at once: on another connection it comes in steps.
            self.known.note_large(text)
            raise lost() from None
        if result.truncated_by == "bytes":
            self.known.note_large(text)
        return self._rows(columns, result)

    async def carefully(self, role: str | None, *, lasting: bool = False) -> Rows:
        """Return the rows, fetched in steps; what the connection has to learn about types, it learns.

        Args:
            role: To take on.
            lasting: Whether the session may hold already what no reset reaches.
        """
        return self._rows(*await self._bounded(self._in_steps(role, lasting=lasting)))

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        """Bound what is read in time and bytes, and say in our words what the driver raises."""
        meter, timeout, begun = self.budget.meter, self.budget.limits.statement_timeout, time.monotonic()
        meter.allow(QUIET_BYTES)
        scope = Interruption()
        timer = asyncio.get_running_loop().call_later(timeout + GRACE_SECONDS, scope.strike)
        try:
            with scope:
                return await work
        except (*MALFORMED, *DRIVER_ERRORS) as error:
            elapsed = time.monotonic() - begun
            raise failure(
                error, self.connection, meter, timeout=timeout, elapsed=elapsed, expired=scope.struck
            ) from None
        finally:
            timer.cancel()
            meter.allow(QUIET_BYTES)

    async def _in_steps(self, role: str | None, *, lasting: bool) -> tuple[list[Column], Result]:
        try:
            await enter(self.connection, self.budget.limits, self.search_path, role=role)
            lasting |= await require_harmless(
                self.connection, self.statement.verdict, self.known, strict=self.statement.strict
            )
            return await taught(self.connection, self._fetch, _as_it_was)
        finally:
            self.budget.meter.allow(QUIET_BYTES)
            await leave(self.connection, lasting=lasting)

    async def _fetch(self) -> tuple[list[Column], Result]:
        self.budget.meter.allow(QUIET_BYTES)  # and no row is left out: what follows asks Postgres about types
        statement = await self.connection.prepare(self.statement.text)
        attributes = statement.get_attributes()
        result = Result(self.budget, RowEncoder([attribute.type for attribute in attributes]))
        await _fill(result, statement, self.params)
        return [Column(attribute.name, attribute.type.name) for attribute in attributes], result

    def _rows(self, columns: list[Column], result: Result) -> Rows:
        return Rows(
            columns=columns,
            encoded=result.rows,
            row_count=result.count,
            truncated=result.truncated_by is not None,
            truncated_by=result.truncated_by,
            hint=how_to_go_on(result),
            guard="unparsed" if self.statement.guard == "unparsed" else None,
        )


async def require_harmless(connection: Connection, verdict: Verdict, known: Known, *, strict: bool = False) -> bool:
    """Ask the tenant's catalogue; return whether a statement may leave what no reset reaches. Raises `QueryRefused`."""
    refusal, lasting = await known.refusal(connection, verdict, strict=strict)
    if refusal is not None:
        raise QueryRefused(f"{refusal}.")
    return lasting


async def _as_it_was() -> bool:
    """Return True, for `taught`: a read that failed has left nothing to be undone."""
    return True


async def _fill(result: "Result", statement: "PreparedStatement[asyncpg.Record]", params: Sequence[object]) -> None:
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
