"""One tenant's open connections: those that are out, and those that wait for the next call.

Nobody waits here for a connection: the tenant's gate lets no more calls in than there may be. So the queue of a pool,
and the task that the driver's own pool makes of each return, are not needed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import asyncpg

Open: TypeAlias = Callable[[], Awaitable[asyncpg.Connection]]
OnConnection: TypeAlias = Callable[[asyncpg.Connection], Coroutine[Any, Any, None]]


class Shelf:
    """Connections, the one that came back last on top.

    Args:
        open_connection: Logs in.
        prepare: Run once on each new connection.
        idle_seconds: One that nobody took for so long is closed.
    """

    def __init__(self, open_connection: Open, prepare: OnConnection, idle_seconds: float) -> None:
        self._open = open_connection
        self._prepare = prepare
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[asyncpg.Connection, float]] = deque()
        self._out: set[asyncpg.Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """How many are open."""
        return len(self._idle) + len(self._out)

    @property
    def idle(self) -> int:
        """How many of them nobody has."""
        return len(self._idle)

    async def take(self) -> asyncpg.Connection:
        """Return one that nobody else has, a new one if need be. Raises what opening one raises; may be cancelled."""
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                self._out.add(connection)
                return connection
        return await self._opened()

    def give(self, connection: asyncpg.Connection) -> None:
        """Put one back that was taken; one that broke, or comes late, is let go."""
        self._out.discard(connection)
        if connection.is_closed():
            return
        if self._closed:
            connection.terminate()
            return
        loop = asyncio.get_running_loop()
        self._idle.append((connection, loop.time()))
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._idle_seconds, self._sweep)

    async def fill(self, least: int) -> None:
        """Open connections until there are `least`. Raises what opening one raises, once all attempts are over."""
        missing = max(0, least - self.size)
        opened = await asyncio.gather(*(self._add() for _ in range(missing)), return_exceptions=True)
        for each in opened:
            if isinstance(each, BaseException):
                raise each

    def drop_oldest(self) -> None:
        """Close the idle one that came back first, now; there must be one."""
        self._idle.popleft()[0].terminate()

    def terminate(self) -> None:
        """Close all, now, and each that comes back; none is opened that stays."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in (*self._out, *(connection for connection, _ in self._idle)):
            connection.terminate()
        self._idle.clear()

    async def close(self, within: float) -> None:
        """Say good-bye on those that are idle, for at most so many seconds, then close all."""
        leaving, self._closed = [connection for connection, _ in self._idle], True
        await asyncio.gather(*(connection.close(timeout=within) for connection in leaving), return_exceptions=True)
        self.terminate()

    async def _add(self) -> None:
        """Open one that nobody has: who waits for several may be cancelled, and those that are there are to stay."""
        self.give(await self._opened())

    async def _opened(self) -> asyncpg.Connection:
        connection = await self._open()
        try:
            await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        self._out.add(connection)
        return connection

    def _sweep(self) -> None:
        """Close what was idle for long; look again when the next may be."""
        loop = asyncio.get_running_loop()
        self._sweeping = None
        while self._idle and self._idle[0][1] + self._idle_seconds <= loop.time():
            self.drop_oldest()
        if self._idle:
            self._sweeping = loop.call_at(self._idle[0][1] + self._idle_seconds, self._sweep)
