"""A read in as few round trips as there can be: one where the connection knows the statement, and two where not.

What begins the call and what ends it travel with the driver's own messages (`server/asides.py`). The result is fetched
in one go, as many rows as it may have: what is too much of it, the meter leaves out before it is decoded. Whatever does
not fit into that is left to the careful way (`server/reads.py`), which has everything in steps.
"""

import asyncio
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

import asyncpg
from asyncpg import Connection

from registry.errors import QueryRefused
from server.asides import Aside, Line, query, steps_of
from server.binding import bind, misfit
from server.columns import Column
from server.meter import meter_of
from server.prepared import Description, Prepared
from server.read_session import CLEAN_SECONDS, ReadLimits, closing, leave, opening, see_through, seed
from server.results import Budget, Result
from server.sql_catalogue import Known
from server.sql_guard import Statement
from server.sqlstates import lost
from server.values import LESSONS

_NOT_THERE: Final = frozenset({"26000", "42P05"})
"""A prepared statement is not there, or one of its name is: the session is another one than a moment ago."""
_TEXTS_KEPT: Final = 256
_AGAIN_SECONDS: Final = 0.05


class NotQuick(Exception):
    """The careful way is to be tried; as far as the connection is left, it is clean.

    Args:
        lasting: Whether there may be left in the session what no reset reaches: it is then this call's alone, and to be
            closed with it.
    """

    def __init__(self, *, lasting: bool) -> None:
        super().__init__()
        self.lasting = lasting


class _Changed(Exception):
    """What would be read by one description has another one by now."""


_OUTDATED: Final = (*LESSONS, asyncpg.InvalidCachedStatementError, _Changed)
"""What is raised where a statement is not what it was taken for."""


def keep_no_names(connection: Connection) -> None:
    """Have no statement stay prepared in the session of a connection, which may be another one each time."""
    line = meter_of(connection).line
    if line is not None:
        line.statements.distrust_names()


class QuickRead:
    """One read, from its beginning to a clean session.

    Args:
        connection: Leased and prepared.
        line: The connection's.
        budget: What the result may take.
        search_path: As `server.reads.read` has it.
    """

    def __init__(self, connection: Connection, line: Line, budget: Budget, search_path: str | None) -> None:
        self._connection = connection
        self._line = line
        self._budget = budget
        message, steps = _begin(budget.limits, search_path)
        self._begin = Aside(message, line.openings[message], steps=steps)
        self._end: Aside | None = None
        self._surplus: tuple[str, ...] | None = None
        self._lasting = False
        self._described: Description | None = None

    async def run(self, statement: Statement, params: Sequence[object], known: Known) -> tuple[list[Column], Result]:
        """Return the columns and the rows of the result.

        Raises `QueryRefused`, `NotQuick`, and what the driver raises. May be cancelled; goes on when the session is
        clean, or the connection closed, at most two seconds later.
        """
        try:
            prepared = self._line.statements.get(statement.text)
            told = known.settled(statement.verdict, strict=statement.strict)
            if prepared is None or told is None:
                prepared = await self._prepared(statement.text, prepared)
                told = await known.refusal(self._connection, statement.verdict, strict=statement.strict)
            refusal, self._lasting = told
            if refusal is not None:
                raise QueryRefused(f"{refusal}.")
            if self._begin.done and self._begin.refused:  # it may write where it stands
                raise self._not_quick()
            result = Result(self._budget, prepared.encoder)
            await result.take(await self._fetched(prepared, params, result, keep=statement.tidy))
        except (*LESSONS, asyncpg.PostgresError, _Changed) as error:
            if self._takes_care(error, statement.text):
                raise self._not_quick() from None
            raise
        finally:
            await self._leave()
        return prepared.columns, result

    def _takes_care(self, error: BaseException, text: str) -> bool:
        """Whether the careful way may do what this one could not; what is known of the statement is then forgotten."""
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _NOT_THERE:
            self._line.statements.distrust_names()
        elif self._differs or isinstance(error, _OUTDATED):
            self._line.statements.forget(text)
        else:
            return self._begin.sent and self._begin.refused
        return True

    async def _prepared(self, text: str, prepared: Prepared | None) -> Prepared:
        self._line.enclose(self._begin, None)
        if prepared is None:
            return await self._line.statements.prepare(self._connection, text)
        return prepared

    async def _fetched(
        self, prepared: Prepared, params: Sequence[object], result: Result, *, keep: bool
    ) -> list[asyncpg.Record]:
        args, line = bind(prepared.parameters, params), self._line
        self._surplus = line.statements.surplus if keep else None
        named = line.statements.named
        holding = _number_of(self._connection) if named else b""
        self._end = Aside(_end(self._surplus, named), line.closings, holding=holding)
        line.enclose(None if self._begin.sent else self._begin, self._end)
        if not prepared.state.name:
            self._described = line.ask_again(prepared.told)
        driver: Any = self._connection
        protocol = driver._protocol  # noqa: SLF001 - the driver's public ways have no limit of rows
        try:
            records, *_ = await protocol.bind_execute(prepared.state, args, "", result.whole(), True, None)  # noqa: FBT003
        except (asyncpg.DataError, asyncpg.InterfaceError) as error:
            raise (None if self._differs else misfit(prepared.parameters, error)) or error from None
        if self._begin.refused:  # a server that says that it ran although no transaction began is not Postgres
            raise lost()
        if self._differs:
            raise _Changed
        return records or []

    @property
    def _differs(self) -> bool:
        return self._described is not None and self._described.differs

    def _not_quick(self) -> NotQuick:
        lasting, self._lasting = self._lasting, False
        return NotQuick(lasting=lasting)

    async def _leave(self) -> None:
        """Wait until the session is clean; close the connection if it is not."""
        end, self._line.statements.coming = self._end, None
        self._line.enclose(None, None)
        try:
            if end is not None and end.sent:
                await self._see(end)
            elif self._begin.sent:
                await leave(self._connection)
        finally:  # another cancellation may have come meanwhile
            if self._lasting and not self._connection.is_closed():
                self._connection.terminate()

    async def _see(self, end: Aside) -> None:
        """Wait for the answer to what ends the call, and heed it."""
        try:
            # Not done: the call was cancelled, or its answer would have brought this one.
            if not end.done or _is_cancelling(self._connection):
                _, cancelled = await see_through(_ended(self._connection, end))
                if cancelled is not None:
                    raise cancelled
        finally:
            self._note(end)

    def _note(self, end: Aside) -> None:
        if end.refused:
            if not self._connection.is_closed():
                self._connection.terminate()
        elif end.elsewhere:  # there is a pooler in between
            self._line.statements.distrust_names()
        elif self._surplus is None:
            self._line.statements.forget_all()
        elif self._surplus:
            self._line.statements.forget_surplus(self._surplus)


@lru_cache(_TEXTS_KEPT)
def _begin(limits: ReadLimits, search_path: str | None) -> tuple[bytes, int]:
    """Return the messages that begin a call, and how many statements that are."""
    texts = opening(limits, search_path)
    return steps_of(texts), len(texts)


def _end(surplus: tuple[str, ...] | None, named: bool) -> bytes:  # noqa: FBT001 - as `_around_seed` has it
    before, after = _around_seed(surplus, named)
    return b"%b%b%b" % (before, seed().encode(), after)


@lru_cache(_TEXTS_KEPT)
def _around_seed(surplus: tuple[str, ...] | None, named: bool) -> tuple[bytes, bytes]:  # noqa: FBT001 - a key
    """Return the message that ends a call, in two parts: it is the same each time but for the seed."""
    mark = seed()
    before, _, after = query(closing(mark, deallocate=surplus, telling=named)).partition(mark.encode())
    return before, after


def _number_of(connection: Connection) -> bytes:
    """Return how the number of a connection's session stands in a row; a pooler gives it one of its own."""
    number = b"%d" % connection.get_server_pid()
    return struct.pack(">i", len(number)) + number


async def _ended(connection: Connection, end: Aside) -> None:
    """Wait for the answer as long as a server gets for it; without one it counts as refused.

    Postgres forgets a request to cancel that comes before the statement has begun, so it is told again and again. One
    that comes when the session is clean would stop the next caller's statement, so none is left under way.
    """
    loop, driver = asyncio.get_running_loop(), cast("Any", connection)
    until, told = loop.time() + CLEAN_SECONDS, list[asyncio.Future[None]]()
    while not end.done and loop.time() < until:
        try:
            async with asyncio.timeout(_AGAIN_SECONDS):
                await end.wait()
        except TimeoutError:
            if connection.is_closed():
                return
            told.append(loop.create_future())
            driver._cancel_current_command(told[-1])  # noqa: SLF001 - the driver tells it once
    try:
        async with asyncio.timeout_at(until):
            await asyncio.gather(*told, driver._protocol._wait_for_cancellation())  # noqa: SLF001 - the one that it tells
    except TimeoutError:
        if not connection.is_closed():
            connection.terminate()


def _is_cancelling(connection: Connection) -> bool:
    driver: Any = connection
    return bool(driver._protocol._is_cancelling())  # noqa: SLF001 - the driver has no public way to ask that
