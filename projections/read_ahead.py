"""Pages of a log, the next one on its way while this one is folded: Redis and the replica work at the same time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from registry.entries import Entry, Foreign, Position
from registry.log import TenantLog

_Page = Sequence[Entry | Foreign]


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
