"""What a failed read is called: the driver's errors to the one family of errors, here and nowhere else.

Rules: pure. What is told is Postgres's own message with its SQLSTATE, hint and position; never where or as whom the
connection was made. Postgres may speak any language, so nothing is decided by its words.
"""

import re
import struct
from collections.abc import Sequence
from typing import Final

import asyncpg
from asyncpg.exceptions import InternalClientError, UnsupportedClientFeatureError

from registry.errors import ConnectionLost, QueryFailed, QueryInterrupted, QueryRefused, QueryTimeout, TenancyError

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError, UnicodeDecodeError, OSError)
"""What the driver raises while a statement runs."""
MALFORMED: Final = (BufferError, struct.error)
"""What the driver and the codecs raise over values that are not as long as they say."""

TEXT_AT_MOST: Final = 1000
"""Characters of a text that a server sent: it may send a gigabyte, and an answer, a log and a memory would hold it."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SQLSTATE: Final = re.compile(r"[0-9A-Z]{5}")
_POSITION: Final = re.compile(r"[0-9]{1,9}")
_EARLY: Final = 0.98
"""Two clocks may differ by so much over one statement."""

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


def read_error(  # noqa: PLR0911 - one return a cause: this is the one place that tells them apart
    error: BaseException, timeout: float, elapsed: float
) -> TenancyError:
    """Say what went wrong with a read and what to do.

    Args:
        error: One of `DRIVER_ERRORS`.
        timeout: The statement's limit in seconds, to name it.
        elapsed: Seconds since the read began: Postgres tells a limit and somebody's cancellation apart by words alone.
    """
    match error:
        case asyncpg.QueryCanceledError() if elapsed >= timeout * _EARLY:
            return timed_out(timeout)
        case asyncpg.QueryCanceledError():
            return QueryInterrupted(
                f"The statement was cancelled in Postgres, before its limit of {timeout:g} s, by somebody who may "
                "(pg_cancel_backend) or by a limit of its own; try again.",
                **_facts(error),
            )
        case asyncpg.ReadOnlySQLTransactionError():
            return QueryRefused(
                f"Only reads run here: {reason_of(error)}. To write, use execute_write.", **_facts(error)
            )
        case asyncpg.PostgresSyntaxError() if _is_several_statements(error):
            return QueryRefused("One statement a call: send each statement in a call of its own.", **_facts(error))
        case asyncpg.LockNotAvailableError():
            return QueryInterrupted(
                f"The statement waited too long for a lock ({reason_of(error)}); somebody is changing the table, "
                "try again later.",
                **_facts(error),
            )
        case asyncpg.PostgresError() if not isinstance(error, _LOST):
            return QueryFailed(f"Postgres reports: {reason_of(error)}.{_advice(error)}", **_facts(error))
        case UnicodeDecodeError():
            return QueryFailed("A text value is not valid UTF-8; read it as bytes: convert_to(column, 'SQL_ASCII').")
        case UnsupportedClientFeatureError() | InternalClientError():
            return QueryFailed("A column has a type that cannot be read here; cast it: column::text.")
        case _:
            return lost()


def timed_out(timeout: float) -> QueryTimeout:
    """Say that the statement ran into its limit of `timeout` seconds."""
    return QueryTimeout(
        f"The statement was cancelled at its limit of {timeout:g} s; ask for less (a narrower WHERE, a LIMIT), "
        "or look at its plan with EXPLAIN."
    )


def lost() -> ConnectionLost:
    """Say that the connection broke."""
    return ConnectionLost("The connection to the database was lost before the statement ended; try again.")


def not_postgres() -> ConnectionLost:
    """Say that the connection brought what is not Postgres's protocol."""
    return ConnectionLost(
        "The connection to the database brought bytes that are not Postgres's protocol and was closed; try again, and "
        "if that goes on, look at what is between here and the database."
    )


def foreign_text(text: str) -> str:
    """Return a text that came from a server, fit to be passed on: short, and without control characters."""
    # Cut first: what is cut off is not looked at.
    shown = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text[: TEXT_AT_MOST + 1])
    return shown if len(shown) <= TEXT_AT_MOST else f"{shown[: TEXT_AT_MOST - 1]}…"


def reason_of(error: Exception) -> str:
    """Return what an error of the driver says, to stand within a sentence."""
    return foreign_text(str(error.args[0] if error.args else "")).rstrip(".") or "no reason given"


def sqlstate_of(error: asyncpg.PostgresError) -> str | None:
    """Return the error's SQLSTATE; None if the server sent none, or something else."""
    state = str(error.sqlstate)
    return state if _SQLSTATE.fullmatch(state) else None


def too_large() -> QueryFailed:
    """Say that a single row or message was too large to go on reading."""
    return QueryFailed(
        "The rows, or an error that quotes a value, are too large to read: ask for fewer columns, or for a part of "
        "them with left(column, 1000) or substring(column, 1, 1000), of an array with column[1:1000]."
    )


def _is_several_statements(error: asyncpg.PostgresError) -> bool:
    """Whether the parse message was refused as such: syntax errors proper come from the scanner."""
    return getattr(error, "server_source_function", None) == "exec_parse_message"


_THEN: Final[Sequence[tuple[type[Exception], str]]] = (
    (asyncpg.UndefinedTableError, "Look at list_tables"),
    (asyncpg.UndefinedColumnError, "Look at describe_table"),
    (asyncpg.InsufficientPrivilegeError, "list_tables shows what this login may read"),
    (asyncpg.SyntaxOrAccessError, "Correct the statement"),
    (asyncpg.DataError, "Correct the value, or the condition that lets it in"),
    (asyncpg.IntegrityConstraintViolationError, "Correct the values; describe_table shows the constraints"),
    (asyncpg.InsufficientResourcesError, "Ask for less, or try again later"),
    (asyncpg.PostgresError, "The log of the database may say more"),
)
"""What to do about an error of Postgres's that brings no hint, the first that fits."""


def _advice(error: asyncpg.PostgresError) -> str:
    told = (getattr(error, field, None) for field in ("detail", "hint"))
    advice = "".join(f" {foreign_text(str(text)).rstrip('.')}." for text in told if text)
    if getattr(error, "hint", None):
        return advice
    return f"{advice} {next(then for kind, then in _THEN if isinstance(error, kind))}."


def _facts(error: asyncpg.PostgresError) -> dict[str, str | int | None]:
    facts: dict[str, str | int | None] = {"sqlstate": sqlstate_of(error)}
    hint, position = getattr(error, "hint", None), getattr(error, "position", None)
    if hint:
        facts["hint"] = foreign_text(str(hint))
    if position and _POSITION.fullmatch(position):
        facts["position"] = int(position)
    return facts
