"""What a failed read is called: the driver's errors to the one family of errors, here and nowhere else.

Rules: pure. What is told is Postgres's own message with its SQLSTATE, hint and position; never where or as whom the
connection was made. Postgres may speak any language, so nothing is decided by its words.
"""

import asyncpg
from asyncpg.exceptions import InternalClientError, UnsupportedClientFeatureError

from registry.errors import ConnectionLost, QueryFailed, QueryRefused, QueryTimeout, TenancyError

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError, UnicodeDecodeError, OSError)
"""What the driver raises while a statement runs."""

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


def read_error(  # noqa: PLR0911 - one return a cause: this is the one place that tells them apart
    error: BaseException, timeout: float
) -> TenancyError:
    """Say what went wrong with a read and what to do.

    Args:
        error: One of `DRIVER_ERRORS`.
        timeout: The statement's limit in seconds, to name it.
    """
    match error:
        case asyncpg.QueryCanceledError():
            return timed_out(timeout)
        case asyncpg.ReadOnlySQLTransactionError():
            return QueryRefused(f"Only reads run here: {_text(error)}.", **_facts(error))
        case asyncpg.PostgresSyntaxError() if _is_several_statements(error):
            return QueryRefused("One statement a call: send each statement in a call of its own.", **_facts(error))
        case asyncpg.LockNotAvailableError():
            return QueryFailed(
                f"The statement waited too long for a lock ({_text(error)}); somebody is changing the table, "
                "try again later.",
                **_facts(error),
            )
        case asyncpg.PostgresError() if not isinstance(error, _LOST):
            return QueryFailed(f"Postgres reports: {_text(error)}.{_advice(error)}", **_facts(error))
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


def too_large() -> QueryFailed:
    """Say that single rows were too large to go on reading."""
    return QueryFailed(
        "The rows are too large to read: ask for fewer columns, or for a part of them with left(column, 1000) or "
        "substring(column, 1, 1000)."
    )


def _is_several_statements(error: asyncpg.PostgresError) -> bool:
    """Whether the parse message was refused as such: syntax errors proper come from the scanner."""
    return getattr(error, "server_source_function", None) == "exec_parse_message"


def _text(error: asyncpg.PostgresError) -> str:
    return str(error.args[0] if error.args else error).rstrip(".")


def _advice(error: asyncpg.PostgresError) -> str:
    told = (getattr(error, field, None) for field in ("detail", "hint"))
    return "".join(f" {text.rstrip('.')}." for text in told if text)


def _facts(error: asyncpg.PostgresError) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"sqlstate": str(error.sqlstate)}
    hint, position = getattr(error, "hint", None), getattr(error, "position", None)
    if hint:
        facts["hint"] = str(hint)
    if position:
        facts["position"] = int(position)
    return facts
