"""Pages of a log, the next one on its way while this one is folded: Redis and the replica work at the same time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from registry.entries import Entry, Foreign, Position
from registry.log import TenantLog

_Page = Sequence[Entry | Foreign]
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")
_AHEAD: Final = 2
"""Questions under way: one is answered while the answer to another is worked on."""


class Pages:
    """Made by `read_ahead`."""

    def __init__(self, log: TenantLog, limit: int) -> None:
        self._log = log
        self._limit = limit
        self._ahead: tuple[Position, asyncio.Task[_Page]] | None = None

    async def after(self, position: Position) -> _Page:
        """Return what `TenantLog.read` does, and ask for what follows; it raises the same. May be cancelled."""
        page = await self._asked(position)
        if page and isinstance(page[-1], Entry):
            self._ask(page[-1].position)
        return page

    async def close(self) -> None:
        """Give up what was asked for and not fetched."""
        if self._ahead:
            (_, task), self._ahead = self._ahead, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _ask(self, position: Position) -> None:
        self._ahead = position, asyncio.create_task(self._log.read(position, self._limit))

    async def _asked(self, position: Position) -> _Page:
        if self._ahead is None or self._ahead[0] != position:
            await self.close()
            return await self._log.read(position, self._limit)
        try:
            return await self._ahead[1]
        finally:
            self._ahead = None


@asynccontextmanager
async def read_ahead(log: TenantLog, limit: int) -> AsyncIterator[Pages]:
    """Read a log in pages of at most `limit` entries; nothing of it is left under way afterwards."""
    pages = Pages(log, limit)
    try:
        yield pages
    finally:
        await pages.close()


@asynccontextmanager
async def ahead(
    ask: Callable[[_Asked], Awaitable[_Answer]], questions: Sequence[_Asked]
) -> AsyncIterator[AsyncIterator[tuple[_Asked, _Answer]]]:
    """Ask one question after the other, each before the answer to the one before is worked on.

    Yields each with its answer, in order; raises what `ask` does. Nothing is left under way afterwards.
    """
    tasks = deque[asyncio.Task[_Answer]]()

    async def answers() -> AsyncIterator[tuple[_Asked, _Answer]]:
        for number, question in enumerate(questions):
            while len(tasks) < min(_AHEAD, len(questions) - number):
                tasks.append(asyncio.ensure_future(ask(questions[number + len(tasks)])))
            answer = await tasks.popleft()
            # What was asked is sent when others have their turn, and they need one.
            await asyncio.sleep(0)
            yield question, answer

    try:
        yield answers()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
