"""uvicorn's server on our port, stopped by our signals."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
import uvicorn

from server.port import Port

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class HttpServer(uvicorn.Server):
    """Leaves signals to us: uvicorn raises them again when it is done, which would end us before our clean-up.

    Args:
        config: What is served.
        port: Where clients come from.
        before: Called when the server is about to stop: ends what would else go on for ever.
    """

    def __init__(self, config: uvicorn.Config, port: Port, before: Callable[[], None]) -> None:
        super().__init__(config)
        self._port = port
        self._before = before

    def leave(self) -> None:
        """Stop once the answers under way are given."""
        structlog.get_logger("server").info("stopping")
        self._before()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self._port.accept(self._protocol)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and end."""
        self._port.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Stop at SIGINT or SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in _STOPPING:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        # A second signal does not wait for answers under way.
        self.force_exit = self.should_exit
        self.leave()

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(self.config, self.server_state, self.lifespan.state)
        return made
