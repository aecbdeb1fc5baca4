"""How a call's session begins and ends: what holds for its statements, and what is undone after them.

Each of the two is a layer of its own: the transaction stops writes whatever was let into it, and the reset leaves
nothing of a statement to the next caller, whatever that statement did.
"""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from asyncpg import Connection

from server.meter import meter_of
from server.sqlstates import DRIVER_ERRORS

T = TypeVar("T")

GRACE_SECONDS: Final = 1.0
"""How much later than Postgres this side gives up: Postgres counts each step anew, and a function may lift that."""
CLEAN_SECONDS: Final = 2.0
"""What a server gets to stop a statement and to reset its session; the call's place is taken for so long."""
_RESET: Final = (
    "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; %sCLOSE ALL; UNLISTEN *; SET seed = %s; "
    "SELECT pg_catalog.pg_advisory_unlock_all()%s; DISCARD TEMP; DISCARD SEQUENCES"
)
"""The parts of DISCARD ALL, which itself cannot be sent together with a ROLLBACK; without DISCARD PLANS, which frees no
state of a caller's. The seed of random() is not among its parts, so it is set to one that nobody knows."""

_PLANNED_ONCE: Final = "SET LOCAL plan_cache_mode = force_generic_plan"
"""For statements of ours, which are the same for every caller: Postgres plans a statement anew for each of its first
five runs in a session, which takes longer than all else of a call, and keeps a plan only then."""


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


def opening(
    limits: ReadLimits,
    search_path: str | None = None,
    *,
    mode: Literal["READ ONLY", "READ WRITE"] = "READ ONLY",
    role: str | None = None,
) -> tuple[str, ...]:
    """Return what begins a call, one round trip: a transaction that cannot write, unless it is to, and its limits.

    A role is taken on last, and within the transaction alone. Backslashes are no escapes in it, whatever the database
    is set to: the guard reads texts that way. Where a search path is given, what follows is ours, and is planned once.
    """
    idle = limits.statement_timeout + GRACE_SECONDS + CLEAN_SECONDS
    return (
        f"BEGIN TRANSACTION {mode}",
        f"SET LOCAL statement_timeout = {_milliseconds(limits.statement_timeout)}",
        f"SET LOCAL lock_timeout = {_milliseconds(limits.lock_timeout)}",
        f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(idle)}",
        "SET LOCAL standard_conforming_strings = on",
        *(() if search_path is None else (f"SET LOCAL search_path = {search_path}", _PLANNED_ONCE)),
        *(() if role is None else (taking_on(role),)),
    )


def seed() -> str:
    """Return a seed for random() that nobody knows, always of the same length."""
    return f"{int.from_bytes(os.urandom(7), 'big') / (1 << 55) - 1:+.16f}"


def closing(
    seed: str, *, committed: bool = False, deallocate: Sequence[str] | None = None, telling: bool = False
) -> str:
    """Return what ends a call, one round trip: nothing of its statements is left in the session.

    Args:
        seed: What `seed` made.
        committed: Whether its transaction has ended already.
        deallocate: Which prepared statements go; all of them if None.
        telling: Whether the answer is to tell which session it is, by its number.
    """
    names = ("ALL",) if deallocate is None else deallocate
    goes = "".join(f"DEALLOCATE {name}; " for name in names)
    return ("" if committed else "ROLLBACK; ") + _RESET % (
        goes,
        seed,
        ", pg_catalog.pg_backend_pid()" if telling else "",
    )


def taking_on(role: str) -> str:
    """Return what takes on a role until the transaction ends. Its name may hold anything but NUL."""
    quoted = role.replace('"', '""')
    return f'SET LOCAL ROLE "{quoted}"'


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean no limit


async def enter(
    connection: Connection,
    limits: ReadLimits,
    search_path: str | None = None,
    *,
    mode: Literal["READ ONLY", "READ WRITE"] = "READ ONLY",
    role: str | None = None,
) -> None:
    """Begin a call, in one round trip; the arguments are those of `opening`. Whoever enters must `leave`.

    Raises what the driver raises. May be cancelled.
    """
    await connection.execute("; ".join(opening(limits, search_path, mode=mode, role=role)))


async def leave(connection: Connection, *, committed: bool = False, lasting: bool = False) -> None:
    """Undo what a call did to its session, in one round trip, or close the connection.

    Waited for however often the caller is cancelled meanwhile, at most two seconds; the cancellation then goes on,
    unless the call has committed: then there is something to tell.

    Args:
        connection: The call's; nobody else uses it yet.
        committed: Whether the call's transaction has ended already.
        lasting: Whether the session may hold what no reset reaches: the connection is then closed in any case.
    """
    try:
        _, cancelled = await see_through(_clean(connection, committed=committed))
        if cancelled is not None and not committed:
            raise cancelled
    finally:
        if lasting and not connection.is_closed():
            connection.terminate()


async def see_through(work: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """Run `work` in a task of its own, and wait for its end however often the caller is cancelled meanwhile.

    Returns what `work` returned, and the last cancellation, or None; the caller must raise that or answer for it.
    Raises what `work` raises; a cancellation is then lost.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001, S110 - raised below, from the task
            pass
    return task.result(), cancelled


async def _clean(connection: Connection, *, committed: bool) -> None:
    clean = False
    try:
        async with asyncio.timeout(CLEAN_SECONDS):
            await connection.execute(closing(seed(), committed=committed))
            line = meter_of(connection).line
            if line is not None:
                line.statements.forget_all()
        clean = True
    except DRIVER_ERRORS:
        return  # the connection is closed below; the read's own result or error is what counts
    finally:
        if not clean and not connection.is_closed():
            connection.terminate()
