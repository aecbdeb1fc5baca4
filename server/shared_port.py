"""A worker's side of the port: the process with the fewest clients takes the next, and each knows of the others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from server.accepting import Acceptor
from server.board import Board, Doing
from server.loops import running
from server.port import Port
from server.seat import Seat
from server.siblings import Siblings

_LOOK_EVERY: Final = 0.1
"""Seconds between two looks at whether this worker is ready."""


class SharedPort(Port):
    """The socket, the board and the siblings of one worker. To be made in its event loop."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(socket.socket(fileno=seat.listener))
        self._seat = seat
        self._board = Board(seat.board, seat.workers)
        self._leaving = asyncio.Event()
        self._acceptor: Acceptor | None = None
        self._siblings: Siblings | None = None

    def leave(self) -> None:
        """Have the worker stop, once the answers under way are given."""
        self._leaving.set()

    @property
    def told(self) -> Mapping[str, int]:
        """Which worker this is, and how many are ready."""
        return {"worker": self._seat.number, "workers_ready": self._board.ready, "workers": self._seat.workers}

    @property
    def sockets(self) -> list[socket.socket]:
        """None: an HTTP server that accepts by itself takes what is others'."""
        return []

    def accept(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Begin to take clients."""
        self._acceptor = Acceptor(self.listener, self._board, self._seat.number, make)
        self._acceptor.start()

    def count(self, clients: int) -> None:
        """Tell the siblings how many clients are connected here."""
        if self._acceptor is not None:
            self._acceptor.count(clients)

    def close(self) -> None:
        """Take no more clients: those who wait are the siblings'."""
        self._leaving.set()
        if self._acceptor is not None:
            self._acceptor.close()
        self._board.clear(self._seat.number)

    def metrics(self, tell: Callable[[], bytes]) -> Callable[[], Awaitable[bytes]]:
        """Return what asks the siblings, too."""
        mailbox = socket.socket(fileno=self._seat.mailbox)
        others = {number: socket.socket(fileno=file) for number, file in self._seat.siblings.items()}
        self._siblings = Siblings(self._seat.number, mailbox, others, tell)
        return self._siblings.metrics

    @asynccontextmanager
    async def open(self, is_ready: Callable[[], bool], stop: Callable[[], None]) -> AsyncIterator[None]:
        """Tell the siblings whether this one is ready, answer what they ask, and stop when the supervisor says so."""
        self._tell(is_ready())
        async with AsyncExitStack() as stack:
            if self._siblings is not None:
                await stack.enter_async_context(self._siblings.answering())
            await stack.enter_async_context(running(self._keep_told(is_ready), self._stop(stop)))
            yield

    async def _keep_told(self, is_ready: Callable[[], bool]) -> None:
        while not self._leaving.is_set():
            self._tell(is_ready())
            await asyncio.sleep(_LOOK_EVERY)

    async def _stop(self, stop: Callable[[], None]) -> None:
        await self._leaving.wait()
        stop()

    def _tell(self, ready: bool) -> None:  # noqa: FBT001 - what is told
        self._board.tell(self._seat.number, Doing.READY if ready else Doing.UNREADY)
