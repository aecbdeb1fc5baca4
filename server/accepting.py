"""How workers share one listening socket: the one with the fewest clients takes the next.

Left to the kernel, connections that stay open are not balanced: with a socket for each worker it draws lots, and with
one socket for all, the worker that wakes first takes all that wait (docs/decisions/workers.md has the figures). A
worker that is not ready leaves new clients to those that are.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

from server.board import Board

_LEFT_TO_OTHERS: Final = 0.005
"""Seconds that a client waits for the worker whose turn it is; then whoever sees it takes it."""
_AT_ONCE: Final = 16
"""Clients taken in one go, of many that come together."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ROOM_IN: Final = 1.0
"""Seconds until there may be file descriptors or memory again."""


class Acceptor:
    """Takes clients from a socket that siblings take from, too.

    Args:
        listener: The socket.
        board: Who has how many.
        worker: Which one this is.
        make: Makes the protocol of one connection.
    """

    def __init__(
        self, listener: socket.socket, board: Board, worker: int, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listener = listener
        self._board = board
        self._worker = worker
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._clients = 0
        self._resting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to take clients."""
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener.fileno(), self._look)

    def close(self) -> None:
        """Take no more; those who wait are the siblings'."""
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def count(self, clients: int) -> None:
        """Note how many clients are connected here."""
        self._clients = clients
        self._tell()

    def _tell(self) -> None:
        self._board.count(self._worker, self._clients + len(self._arriving))

    def _look(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._board.is_next(self._worker):
                self._rest(_LEFT_TO_OTHERS)
                return
            if not self._take():
                return

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._resting = self._loop.call_later(seconds, self._again)

    def _again(self) -> None:
        # Who still waits was left to one that is busy, or stands still.
        self._loop.add_reader(self._listener.fileno(), self._look)
        self._take()

    def _take(self) -> bool:
        """Take one; return whether there was one."""
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                structlog.get_logger("http").warning("no client can be taken", reason=errno.errorcode[error.errno])
                self._rest(_ROOM_IN)
            return False  # a sibling was quicker, or the client has left
        task = self._loop.create_task(self._connect(client))
        self._arriving.add(task)
        task.add_done_callback(self._arrived)
        self._tell()
        return True

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._arriving.discard(task)
        self._tell()

    async def _connect(self, client: socket.socket) -> None:
        try:
            client.settimeout(0)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError:
            client.close()  # it has left already
