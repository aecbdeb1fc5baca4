"""How a read's session begins and ends: what holds for the statement, and what is undone after it.

Each of the two is a layer of its own: the transaction stops writes whatever was let into it, and the reset leaves
nothing of a statement to the next caller, whatever that statement did.
"""

import asyncio
import secrets
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import msgspec

from server.sqlstates import DRIVER_ERRORS

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy[asyncpg.Record]

GRACE_SECONDS: Final = 1.0
"""How much later than Postgres this side gives up: Postgres counts each step anew, and a function may lift that."""
_CLEAN_SECONDS: Final = 2.0
"""What a server gets to stop a statement and to reset its session; the call's place is taken for so long."""
_RESET: Final = """
    ROLLBACK; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *;
    SELECT pg_catalog.pg_advisory_unlock_all(), pg_catalog.setseed({seed}); DISCARD TEMP; DISCARD SEQUENCES
"""
"""DISCARD ALL in parts, for that one cannot stand beside a ROLLBACK; its DISCARD PLANS frees no state of a caller's.
The seed of random() is none of its parts: it gets one that nobody knows."""


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


def opening(limits: ReadLimits, search_path: str | None = None) -> str:
    """Return what begins a read, one round trip: a transaction that cannot write, and its limits.

    Backslashes are no escapes in it, whatever the database is set to: the guard reads texts that way.
    """
    statement, lock = _milliseconds(limits.statement_timeout), _milliseconds(limits.lock_timeout)
    idle = _milliseconds(limits.statement_timeout + GRACE_SECONDS + _CLEAN_SECONDS)
    path = "" if search_path is None else f"; SET LOCAL search_path = {search_path}"
    return (
        f"BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {idle}; SET LOCAL standard_conforming_strings = on{path}"
    )


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean no limit


async def leave(connection: "Connection") -> None:
    """Undo what a read did to its session, in one round trip, or close the connection.

    Done in a task of its own, and waited for however often the caller is cancelled meanwhile, at most five seconds.
    """
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
            await connection.execute(_RESET.format(seed=secrets.randbits(53) / (1 << 52) - 1))
        clean = True
    except DRIVER_ERRORS:
        return  # the connection is closed below; the read's own result or error is what counts
    finally:
        if not clean and not is_gone(connection):
            connection.terminate()


async def reset_connection(_connection: "Connection") -> None:
    """Do nothing more when a connection comes back: the `reset` hook of a pool whose connections only `read` uses.

    `read` has reset it already, in the round trip of its ROLLBACK; the driver's own reset would be another.
    """


def is_gone(connection: "Connection") -> bool:
    """Whether it is closed, or the pool took it out of the lease when it broke."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True
