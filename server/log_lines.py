"""Our own lines as JSON, from the call to standard error without the detour over the library's loggers and records.

A call of a tool writes one: through structlog's processors and Python's logging it took 130 us of CPU, more than the
rest of the request; here it takes 12. Libraries' lines, and those for a terminal, go the long way (`server/logs.py`).
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from server.log_fields import fields
from server.redaction import without_secrets
from server.tracebacks import kind_of, told

_encode: Final = msgspec.json.Encoder().encode
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class Logger(structlog.BoundLoggerBase):
    """What `structlog.get_logger` returns: a line below its logger's level costs nothing but the question."""

    _logger: "Output"

    def debug(self, event: str, *args: object, **fields: Any) -> None:  # noqa: ANN401 - any field
        """Write a line for who looks for a mistake."""
        self._write("debug", event, args, fields)

    def info(self, event: str, *args: object, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write a line that tells what happened."""
        self._write("info", event, args, fields)

    def warning(self, event: str, *args: object, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write a line of what somebody may want to change."""
        self._write("warning", event, args, fields)

    def error(self, event: str, *args: object, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write a line of what went wrong."""
        self._write("error", event, args, fields)

    def critical(self, event: str, *args: object, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write a line of what nothing works without."""
        self._write("critical", event, args, fields)

    def exception(self, event: str, *args: object, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write a line of what went wrong, with the exception that is being handled."""
        self._write("error", event, args, {"exc_info": True, **fields})

    def is_enabled_for(self, level: int) -> bool:
        """Whether a line of this level would be written."""
        return level >= self._logger.level

    def _write(self, level: str, event: str, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        if _LEVELS[level] < self._logger.level:
            return
        told = event % args if args else event
        if self._processors == _ONLY:
            self._logger.write(rendered(self._logger, level, {**self._context, **fields, "event": told}))
        else:  # a test listens
            self._proxy_to_logger(level, told, **fields)


class Output:
    """Where the lines of one name go.

    Args:
        name: The logger's.
        write: Takes a line with its end.
    """

    def __init__(self, name: str, write: Callable[[bytes], object]) -> None:
        self.name = name
        self.level = logging.getLogger(name).getEffectiveLevel()
        self._write = write
        self.debug = self.info = self.warning = self.error = self.critical = self.write

    def write(self, line: bytes) -> None:
        """Write a line. If it cannot be written, say so if that can be; nothing is raised."""
        try:
            self._write(line)
        except (OSError, ValueError) as error:
            with suppress(OSError, ValueError):
                sys.stderr.write(f"mcp-postgres: a log line of {self.name} could not be written: {kind_of(error)}\n")


def outputs(stream: TextIO) -> Callable[..., Output]:
    """Return what makes the outputs of loggers: a structlog logger factory."""
    write = _writer(stream)
    return lambda *names: Output(names[0] if names else "", write)


def rendered(logger: WrappedLogger, level: str, event: EventDict) -> bytes:
    """Return the line of an event, without secrets. A structlog processor, and the only one."""
    error = _error_of(event.pop("exc_info", None))
    line = without_secrets(with_fields(event))
    if error is not None:
        line["exception"] = told(error)
    line["logger"] = logger.name
    line["level"] = level
    line["timestamp"] = datetime.now(UTC)
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which JSON's escapes can tell
        return json.dumps(line, default=str).encode() + b"\n"


def with_fields(event: EventDict) -> EventDict:
    """Return the event with what every line of its request tells, where it does not say otherwise itself."""
    for name, value in fields().items():
        event.setdefault(name, value)
    return event


def _error_of(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _writer(stream: TextIO) -> Callable[[bytes], object]:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file: a test looks at it
        return lambda line: stream.write(line.decode())

    def write(line: bytes) -> None:
        while line:
            line = line[os.write(descriptor, line) :]

    return write


_ONLY: Final = [rendered]
