"""What a failed write is called: which statement it was, that nothing was written, or that nobody knows.

Rules: pure. The words for the cause are those for reads (`server/sqlstates.py`).
"""

from typing import Final

import asyncpg

from registry.errors import OutcomeUnknown, QueryFailed, QueryInterrupted, QueryTimeout, TenancyError
from server.sqlstates import reason_of, sqlstate_of

NOTHING_WRITTEN: Final = "Nothing was written."
_CLASHES: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Subclasses of both: what one of two transactions is told that cannot both go on."""


def at_statement(error: TenancyError, index: int) -> TenancyError:
    """Return the error of one statement, told as that."""
    return type(error)(f"statements[{index}]: {error.message} {NOTHING_WRITTEN}", **{**error.facts, "index": index})


def clash(error: BaseException) -> TenancyError | None:
    """Return what to tell where another transaction was in the way; None where it was not that."""
    if not isinstance(error, _CLASHES):
        return None
    return QueryInterrupted(
        f"Another transaction was in the way ({reason_of(error)}); try the whole call again.",
        sqlstate=sqlstate_of(error),
    )


def no_writes_there(error: BaseException) -> TenancyError | None:
    """Return what to tell where the server takes no writes at all; None where it was not that."""
    if not isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return None
    return QueryFailed(
        f"The database takes no writes: {reason_of(error)}. Read from it, or try again later.",
        sqlstate=sqlstate_of(error),
    )


def took_too_long(seconds: float) -> QueryTimeout:
    """Say that all statements together took too long."""
    return QueryTimeout(
        f"The statements together took longer than {seconds:g} s and were cancelled; write less in one call. "
        f"{NOTHING_WRITTEN}"
    )


def at_commit(error: TenancyError) -> TenancyError:
    """Return the error of COMMIT itself: what was deferred until then did not hold."""
    message = f"All statements ran, and what is deferred until COMMIT did not hold: {error.message} {NOTHING_WRITTEN}"
    return type(error)(message, **{**error.facts, "at": "commit"})


def unknown() -> OutcomeUnknown:
    """Say that the connection was lost at the one moment after which nobody can tell."""
    return OutcomeUnknown(
        "The connection was lost during COMMIT: everything was written or nothing was, and it is not known which. "
        "Look at the data before you write again."
    )
