"""Logging: one JSON object a line, or a readable rendering on a terminal; always on standard error.

Invariant: no secret reaches a line. Exceptions are told without their texts (`server/tracebacks.py`), fields and texts
that may hold a secret are blanked (`server/redaction.py`), in our own lines and in those of libraries alike.
"""

import asyncio
import logging
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from server import redaction
from server.log_lines import Logger, outputs, rendered, with_fields
from server.tracebacks import kind_of, tell_crashes, told_of

_QUIET: Final = ("uvicorn", "mcp", "asyncio", "asyncpg", "redis")


def configure(level: str, style: str) -> None:
    """Set up logging for the process.

    Args:
        level: debug, info, warning or error.
        style: json, console, or auto for console on a terminal and json elsewhere.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    render: Processor = (
        # Its own tracebacks show local variables; ours come ready-made.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    shared: list[Processor] = [
        _with_fields,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(told_of),
        without_secrets,
    ]
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("audit").setLevel(logging.INFO)  # whatever the level: it is no matter of taste
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if console:
        structlog.configure(
            processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[rendered],
            wrapper_class=Logger,
            logger_factory=outputs(sys.stderr),
            cache_logger_on_first_use=True,
        )


def watch_crashes() -> None:
    """Log what would otherwise end a thread, or the process, with a text of Python's own on standard error."""
    tell_crashes(lambda what, error: structlog.get_logger("process").error(what, exc_info=error))


def watch_loop() -> None:
    """Log what nobody awaits in the running event loop; its own line holds the exception's text and the arguments."""

    def tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        logger = structlog.get_logger("loop")
        logger.error(str(context.get("message", "unhandled")), exc_info=context.get("exception"))

    asyncio.get_running_loop().set_exception_handler(tell)


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank what may be a secret, however deep. A structlog processor."""
    return redaction.without_secrets(event)


def _with_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return with_fields(event)


class _Handler(logging.StreamHandler[Any]):
    """Says that a line could not be written, where the library's would print its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        why = kind_of(sys.exc_info()[1] or ValueError())
        sys.stderr.write(f"mcp-postgres: a log line of {record.name} could not be written: {why}\n")
