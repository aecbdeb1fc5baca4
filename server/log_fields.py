"""What every line of a request tells, set by who knows it and read by who writes the line.

structlog's own context variables do the same; two of them, set and read for one request, took 20 us of CPU.
"""

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType, TracebackType
from typing import Final

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_FIELDS: Final[ContextVar[Mapping[str, str]]] = ContextVar("fields of log lines", default=_NOTHING)


def fields() -> Mapping[str, str]:
    """Return the fields of the lines that are written here and now."""
    return _FIELDS.get()


class Telling:
    """Has lines tell one more field, as a context manager."""

    __slots__ = ("_name", "_token", "_value")

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value
        self._token: Token[Mapping[str, str]] | None = None

    def __enter__(self) -> None:
        self._token = _FIELDS.set({**_FIELDS.get(), self._name: self._value})

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _FIELDS.reset(self._token)
