"""uvicorn's server on our port, stopped by our signals."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import structlog
import uvicorn

from server.port import Port

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
_AT_LAST: Final = 1.0
"""Seconds from a second signal until no answer is waited for."""


class Stopping(NamedTuple):
    """What is done for an end in which every call is answered.

    Attributes:
        begin: Ends what would go on for ever; called as soon as the server is told to stop.
        stop_calls: Has those that still run answered at once; called when the patience is over, or at a second signal.
        patience: Seconds for calls that run.
    """

    begin: Callable[[], None]
    stop_calls: Callable[[], None]
    patience: float


class HttpServer(uvicorn.Server):
    """Leaves signals to us: uvicorn raises them again when it is done, which would end us before our clean-up.

    Args:
        config: What is served; its time for a graceful shutdown is longer than the patience.
        port: Where clients come from.
        stopping: What to do for an end.
    """

    def __init__(self, config: uvicorn.Config, port: Port, stopping: Stopping) -> None:
        super().__init__(config)
        self._port = port
        self._stopping = stopping

    def leave(self) -> None:
        """Stop once the answers under way are given."""
        structlog.get_logger("server").info("stopping")
        self._stopping.begin()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self._port.accept(self._protocol)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and end."""
        self._port.close()
        late = asyncio.get_running_loop().call_later(self._stopping.patience, self._stopping.stop_calls)
        await super().shutdown(sockets)
        late.cancel()
        if self.force_exit:  # then uvicorn would have the lifespan cancelled, and that logged as an error
            await self.lifespan.shutdown()

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
        if self.should_exit:
            self._stopping.stop_calls()
            asyncio.get_running_loop().call_later(_AT_LAST, self._force)
        self.leave()

    def _force(self) -> None:
        """Wait for no answer any more."""
        self.force_exit = True

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(self.config, self.server_state, self.lifespan.state)
        return made
