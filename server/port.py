"""How one process has its port: alone. With `--workers` it is shared, which is `server/shared_port.py`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager


class Port:
    """A listening socket, and what `serve_http` does differently where several processes answer on it."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener

    @property
    def told(self) -> Mapping[str, int]:
        """What `/readyz` says of the processes behind the port."""
        return {}

    @property
    def sockets(self) -> list[socket.socket]:
        """What the HTTP server is to accept from by itself."""
        return [self.listener]

    def accept(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Begin to take clients, where the HTTP server does not; `make` makes the protocol of one connection."""

    def count(self, clients: int) -> None:
        """Note how many clients are connected."""

    def close(self) -> None:
        """Take no more clients."""

    def metrics(self, tell: Callable[[], bytes]) -> Callable[[], Awaitable[bytes]]:
        """Return what tells the metrics of all processes; `tell` returns those of this one. To be called once."""

        async def alone() -> bytes:
            return tell()

        return alone

    @asynccontextmanager
    async def open(self, is_ready: Callable[[], bool], stop: Callable[[], None]) -> AsyncIterator[None]:  # noqa: ARG002 - for those who share
        """Keep the other processes informed for as long as this lasts, and call `stop` when this one is to end."""
        yield
