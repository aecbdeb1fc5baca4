"""One write: a few statements in one transaction that is committed as a whole, or rolled back as a whole.

As for reads (`server/reads.py`), but for what differs:

- The transaction is READ WRITE; what stops the rest is the look at each statement (`server/sql_writes.py`).
- A statement runs to its end, also where its rows are more than are told: the write holds.
- Nothing is run twice. Where the driver stumbles over a type of a statement's rows, that statement alone is undone to
  its savepoint before it is run again.
- COMMIT is seen through, however often the caller is cancelled meanwhile. A connection that is lost in it leaves
  nobody here who knows what became of it (`OutcomeUnknown`); before it, Postgres rolls back by itself.

Round trips: BEGIN with its settings and role, prepare and run each statement, COMMIT, the reset. With a role, one more
before each statement but the first, so that what a function did to the role ends with its statement.
"""

import asyncio
import time
from collections.abc import Sequence

import asyncpg
import msgspec
from asyncpg import Connection

from registry.errors import ConnectionLost, QueryRefused, TenancyError
from server.lessons import taught
from server.meter import Meter, meter_of
from server.read_session import GRACE_SECONDS, ReadLimits, enter, leave, see_through, taking_on
from server.reads import require_harmless
from server.results import QUIET_BYTES, Budget, failure
from server.sql_catalogue import Known
from server.sqlstates import DRIVER_ERRORS, MALFORMED, lost
from server.write_errors import at_commit, at_statement, clash, no_writes_there, took_too_long, unknown
from server.write_step import Attempt, Step, Written


class WriteLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one write may take: each statement, with the rows of all, and seconds for all together but COMMIT."""

    each: ReadLimits
    whole: float


class Writes(msgspec.Struct, frozen=True, kw_only=True):
    """What a write did.

    Attributes:
        committed: False for a dry run, which is rolled back.
    """

    committed: bool
    statements: list[Written]


async def write(
    connection: Connection,
    steps: Sequence[Step],
    *,
    limits: WriteLimits,
    known: Known | None = None,
    role: str | None = None,
    dry_run: bool = False,
) -> Writes:
    """Run statements in one transaction, and leave the connection as clean as a new one, or closed.

    Args:
        connection: Leased and prepared (`prepare_connection`).
        steps: What to run, in that order; looked at, and not refused.
        limits: How much it may take.
        known: What the tenant's catalogue said before, and will say.
        role: What role to take on, within the transaction; one that the tenant's registration lends.
        dry_run: Roll back in the end, after all that is deferred until COMMIT was checked.

    Raises what `read` raises, then nothing was written, and `OutcomeUnknown`. May be cancelled: until COMMIT begins
    everything is rolled back, and from then on it is seen through and told.
    """
    if connection.is_closed():
        raise lost()
    run = _Run(connection, limits, known or Known(), role)
    committed = False
    try:
        done = await run.all(steps, dry_run=dry_run)
        if not dry_run:
            await see_through(run.commit())
            committed = True
        return Writes(committed=committed, statements=done)
    finally:
        run.meter.allow(QUIET_BYTES)
        await leave(connection, committed=committed, lasting=run.lasting)


class _Run:
    """The transaction of one write."""

    def __init__(self, connection: Connection, limits: WriteLimits, known: Known, role: str | None) -> None:
        self.meter: Meter = meter_of(connection)
        self.lasting = False
        self._connection = connection
        self._limits = limits
        self._known = known
        self._role = role
        self._rows_left, self._bytes_left = limits.each.max_rows, limits.each.max_bytes

    async def all(self, steps: Sequence[Step], *, dry_run: bool) -> list[Written]:
        """Begin and run everything, up to COMMIT."""
        scope = asyncio.timeout(self._limits.whole)
        try:
            async with scope:
                await self._begin()
                done = [await self._at(index, step) for index, step in enumerate(steps)]
                if dry_run:
                    await self._check_deferred()
                return done
        except TimeoutError:
            raise (took_too_long(self._limits.whole) if scope.expired() else lost()) from None

    async def commit(self) -> None:
        """Commit, or say why not."""
        begun, scope = time.monotonic(), asyncio.timeout(self._limits.each.statement_timeout + GRACE_SECONDS)
        self.meter.allow(QUIET_BYTES)
        try:
            async with scope:
                ended = await self._connection.execute("COMMIT")
        except (*MALFORMED, *DRIVER_ERRORS) as error:
            cause = clash(error) or self._failure(error, begun, expired=False)
            if scope.expired() or not isinstance(error, asyncpg.PostgresError) or isinstance(cause, ConnectionLost):
                raise unknown() from None
            raise at_commit(cause) from None
        if ended != "COMMIT":  # a transaction that is broken is rolled back by it
            raise unknown()

    async def _begin(self) -> None:
        begun = time.monotonic()
        self.meter.allow(QUIET_BYTES)
        try:
            await enter(self._connection, self._limits.each, mode="READ WRITE", role=self._role)
        except (*MALFORMED, *DRIVER_ERRORS) as error:
            if isinstance(error, TimeoutError):
                raise
            raise no_writes_there(error) or self._failure(error, begun, expired=False) from None

    async def _check_deferred(self) -> None:
        begun = time.monotonic()
        try:
            await self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except (*MALFORMED, *DRIVER_ERRORS) as error:
            if isinstance(error, TimeoutError):
                raise
            raise at_commit(clash(error) or self._failure(error, begun, expired=False)) from None

    async def _at(self, index: int, step: Step) -> Written:
        """Run one statement; what goes wrong is told as its own."""
        begun, scope = time.monotonic(), asyncio.timeout(self._limits.each.statement_timeout + GRACE_SECONDS)
        try:
            async with scope:
                if self._role is not None and index:
                    await self._connection.execute(taking_on(self._role))
                self.lasting |= await require_harmless(self._connection, step.write.verdict, self._known)
                attempt = Attempt(self._connection, self.meter, step)
                return await taught(self._connection, lambda: self._counted(attempt), attempt.undo)
        except (*MALFORMED, *DRIVER_ERRORS) as error:
            if isinstance(error, TimeoutError) and not scope.expired():
                raise
            cause = clash(error) or no_writes_there(error) or self._failure(error, begun, expired=scope.expired())
            raise at_statement(cause, index) from None
        except TenancyError as error:
            raise at_statement(error, index) from None

    def _failure(self, error: Exception, begun: float, *, expired: bool) -> TenancyError:
        timeout, elapsed = self._limits.each.statement_timeout, time.monotonic() - begun
        return failure(error, self._connection, self.meter, timeout=timeout, elapsed=elapsed, expired=expired)

    async def _counted(self, attempt: Attempt) -> Written:
        each = msgspec.structs.replace(self._limits.each, max_rows=self._rows_left, max_bytes=self._bytes_left)
        written, result = await attempt.run(Budget(each, self.meter))
        self._rows_left -= result.count
        self._bytes_left -= result.size
        return written


def require_allowed(steps: Sequence[Step]) -> None:
    """Raise `QueryRefused` for the first statement that may not run."""
    for index, step in enumerate(steps):
        if step.write.verdict.refusal is not None:
            raise at_statement(QueryRefused(f"{step.write.verdict.refusal}."), index)
