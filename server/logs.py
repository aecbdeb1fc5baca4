"""Logging: one JSON object a line, or a readable rendering on a terminal; always on standard error.

Invariant: no secret reaches a line. Fields that may hold one are blanked by name, and the password part of anything
that looks like a URL is blanked, in our own lines and in those of libraries alike.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_FIELDS: Final = frozenset({"password", "dsn", "secret", "token", "authorization", "redis_url", "data", "key"})
_URL_PASSWORD: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*):\S+@", re.IGNORECASE)


def configure(level: str, style: str) -> None:
    """Set up logging for the process.

    Args:
        level: debug, info, warning or error.
        style: json, console, or auto for console on a terminal and json elsewhere.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    render: Processor = (
        # Its own tracebacks show local variables, and those may hold a password.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "mcp", "asyncio", "asyncpg"):
        logging.getLogger(name).setLevel(logging.WARNING)


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank the fields that may hold a secret, and passwords in URLs, however deep. A structlog processor."""
    # What begins with an underscore is structlog's own, and goes before the line is written.
    return {name: value if name.startswith("_") else _blanked(value, name) for name, value in event.items()}


def _blanked(value: Any, name: str = "") -> Any:  # noqa: ANN401 - whatever a line was given
    if name.lower() in _SECRET_FIELDS:
        return "***"
    match value:
        case str():
            return _URL_PASSWORD.sub(r"\g<scheme>:***@", value)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): _blanked(each, str(key)) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_blanked(each) for each in value]
        case _:
            return _blanked(repr(value))
