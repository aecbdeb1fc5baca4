"""A statement that is run again, once the driver was taught the types it stumbled over."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from asyncpg import Connection

from server.codecs import UnknownElement
from server.values import LESSONS, forget_records, learn

T = TypeVar("T")

_AT_MOST: Final = 16


async def taught(connection: Connection, run: Callable[[], Awaitable[T]], undo: Callable[[], Awaitable[bool]]) -> T:
    """Return what `run` returns, which is called again after each lesson.

    Args:
        connection: Where it runs.
        run: Runs the statement.
        undo: Returns whether it is as if the statement had not run; only then is it run again.

    Raises what `run` raises when there is nothing to be learned from it. May be cancelled.
    """
    lessons: list[BaseException] = []
    try:
        while True:
            try:
                return await run()
            except LESSONS as lesson:
                lessons.append(lesson)
                if not await undo() or len(lessons) > _AT_MOST or not await learn(connection, lesson):
                    raise
    finally:
        # What one statement held says nothing about the next.
        if any(isinstance(lesson, UnknownElement) for lesson in lessons) and not connection.is_closed():
            forget_records(connection)
