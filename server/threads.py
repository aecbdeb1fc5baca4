"""Telling an event loop from a thread what became of something."""

import asyncio
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def settle(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T], found: T, failure: Exception | None) -> None:
    """Give `answer` what was found, or the failure if there is one; nobody hears it where its loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, answer, found, failure)


def _settle(answer: asyncio.Future[T], found: T, failure: Exception | None) -> None:
    if answer.done():  # who waited has given up
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(found)
