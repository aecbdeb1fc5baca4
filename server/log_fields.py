"""What every line of a request tells, set by who knows it and read by who writes the line.

structlog's own context variables do the same; two of them, set and read for one request, took 20 us of CPU.
"""

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType, TracebackType
from typing import Final, Self

TELLING: Final = "mcp_postgres.telling"
"""Where in a request's scope the `Telling` of its lines is, for who learns more of it."""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_FIELDS: Final[ContextVar[Mapping[str, str]]] = ContextVar("fields of log lines", default=_NOTHING)


def fields() -> Mapping[str, str]:
    """Return the fields of the lines that are written here and now."""
    return _FIELDS.get()


class Telling:
    """Has lines tell one more field, as a context manager; and what is learned later (`add`)."""

    __slots__ = ("_fields", "_token")

    def __init__(self, name: str, value: str) -> None:
        self._fields = {**_FIELDS.get(), name: value}
        self._token: Token[Mapping[str, str]] | None = None

    def add(self, name: str, value: str) -> None:
        """Have them tell this, too, until it ends."""
        self._fields[name] = value

    def __enter__(self) -> Self:
        self._token = _FIELDS.set(self._fields)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _FIELDS.reset(self._token)
