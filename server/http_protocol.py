"""The HTTP parser's own patience: uvicorn waits for ever for the headers of a request.

Only its timer between two requests is bounded; a connection that never says anything, or stops in the middle of its
headers, would be held until the other side leaves.
"""

import asyncio
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def impatient(seconds: float) -> type[asyncio.Protocol]:
    """Return a protocol for uvicorn that closes a connection whose headers take longer than `seconds`."""
    return type("Impatient", (_Impatient,), {"patience": seconds})


class _Impatient(HttpToolsProtocol):
    """uvicorn's protocol, and a timer from the connection's or the request's first sign to the end of its headers."""

    patience: ClassVar[float]
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn narrows what asyncio declares
        super().connection_made(transport)
        self._expect_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_headers()

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.patience, self._give_up)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if getattr(self.cycle, "response_complete", True):
            self.transport.close()
        else:
            self._expect_headers()  # the answer to the request before this one is under way: let it arrive

    def _unsupported_upgrade_warning(self) -> None:
        # uvicorn's advises to install something. Whoever asks for a WebSocket gets a plain answer instead.
        structlog.get_logger("http").debug("no WebSocket is spoken here")
