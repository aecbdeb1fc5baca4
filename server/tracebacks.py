"""What is told of an exception that nobody expected: where it was raised and what it is, not what it says.

A bug's text may hold anything (`invalid literal for int(): '…'`), and so may a library's: the line of code, the class
and the chain lead to the cause without it. Told in full are our own errors' codes and the system's error numbers.
Local variables are never shown.
"""

import errno
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, TypeAlias

from registry.errors import TenancyError

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
_DEEPEST: Final = 20
"""Exceptions of one chain, and frames of groups in groups, that are told."""


def told(error: BaseException) -> str:
    """Return the traceback of an exception, and of those that led to it, without their texts."""
    return "\n".join(_lines(error, _DEEPEST))


def told_of(exc_info: ExcInfo) -> str:
    """Do as `told` for what `sys.exc_info` returns."""
    return told(exc_info[1])


def kind_of(error: BaseException) -> str:
    """Return the exception's class, with its code or error number where that is no secret."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    match error:
        case TenancyError():
            return f"{name} ({error.code})"
        case OSError(errno=int(number)):
            return f"{name} ({errno.errorcode.get(number, number)})"
        case _:
            return name


def tell_crashes(tell: Callable[[str, BaseException], None]) -> None:
    """Have `tell` called with what broke, and the exception, where Python itself would print its text."""

    def crashed(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        tell("crashed", error)

    def thread_crashed(args: Any) -> None:  # noqa: ANN401 - threading names no type for it
        if args.exc_value is not None:
            tell("a thread crashed", args.exc_value)

    def unraisable(args: Any) -> None:  # noqa: ANN401 - sys names no type for it
        if args.exc_value is not None:
            tell("an exception that nobody could be told of", args.exc_value)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed
    sys.unraisablehook = unraisable


def _lines(error: BaseException, left: int) -> Iterator[str]:
    before, link = _led_to(error)
    if before is not None and left:
        yield from _lines(before, left - 1)
        yield link
    yield "Traceback (most recent call last):"
    for frame in traceback.format_tb(error.__traceback__):
        yield frame.rstrip("\n")
    yield kind_of(error)
    if isinstance(error, BaseExceptionGroup) and left:
        for number, each in enumerate(error.exceptions, 1):
            yield f"--- {number} of {len(error.exceptions)} in the group ---"
            yield from _lines(each, left // 2)


def _led_to(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, "This led to:"
    return (None if error.__suppress_context__ else error.__context__), "While this was handled:"
