"""Shows a patient client life while the SDK's road works on an answer in one piece: comments on a stream, begun late.

The SDK answers the handshake's revisions as JSON, unless progress is wanted, and is silent until then; proxies close
what is silent. As on the fast path (`server/attendance.py`), an answer that comes soon passes as it is, and one that
does not becomes the one event of a stream that has begun before it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Send

from server import attendance
from server.loops import running


@asynccontextmanager
async def signs_of_life(send: Send) -> AsyncIterator[Send]:
    """Yield a `send` for one answer in JSON, whose client reads streams. May be cancelled.

    What is sent by it after the stream has begun loses its status and headers: an event has neither, and a JSON-RPC
    message tells all of it.
    """
    late = _Late(send)
    async with running(late.live()):
        yield late.send


class _Late:
    """One answer. Invariant: either the answer's own head goes out or the stream's, never both."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._whole = asyncio.Lock()
        self._answering = False
        self._begun = False
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        """Send on what the SDK answers."""
        self._answering = True
        async with self._whole:
            if not self._begun:
                await self._send(message)
                return
            self._body += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                told = attendance.event_of(self._body) if self._body else b""
                await self._send({"type": "http.response.body", "body": told})

    async def live(self) -> None:
        """Begin the stream if nothing was answered for long, and go on until something is."""
        await asyncio.sleep(attendance.ALIVE_EVERY)
        while not self._answering:
            async with self._whole:
                await self._sign()
            await asyncio.sleep(attendance.ALIVE_EVERY)

    async def _sign(self) -> None:
        if not self._begun:
            self._begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": attendance.STREAM})
        await self._send({"type": "http.response.body", "body": attendance.ALIVE, "more_body": True})
