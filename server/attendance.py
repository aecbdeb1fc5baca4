"""Looks after one request while it is worked on: notices that its client leaves, and keeps a long call's stream alive.

Most calls are over before anything of this begins. A call whose client has left is cancelled, and with it the query in
Postgres. One that runs long begins its answer as a stream, if the client can take one, with comments that keep proxies
from closing it: what the SDK does for the 2026-07-28 revision, here in every revision.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.types import Send

from server.departure import ClientLeft
from server.interruption import Interruption
from server.presence import Presence

T = TypeVar("T")

ALIVE_EVERY: Final = 15.0
"""Seconds between signs of life: the SDK's, below what proxies commonly wait (30 to 60)."""
STREAM: Final = [
    (b"content-type", b"text/event-stream"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
]
"""The head of an answer that has become a stream."""
ALIVE: Final = b": ping\r\n\r\n"
"""A comment, which clients pass over."""


def event_of(body: bytes | bytearray) -> bytes:
    """Return a JSON-RPC message, which is one line, as an event of a stream."""
    return b"event: message\r\ndata: %b\r\n\r\n" % bytes(body)


class Attendance:
    """The client's side of one request whose body was read.

    Args:
        presence: Tells when the client has left, and when it has waited long.
        send: Takes the answer.
        streams: Whether the client can take a stream.
    """

    def __init__(self, presence: Presence, send: Send, *, streams: bool) -> None:
        self._presence = presence
        self._send = send
        self._streams = streams
        self._leaving = Interruption()
        self._living: asyncio.Task[None] | None = None
        self._begun = False

    async def while_there(self, work: Awaitable[T]) -> T:
        """Return what `work` returns; if the client leaves before, cancel it and raise `ClientLeft`. Cancellable."""
        self._presence.attend(self._leaving.strike, self._come_alive if self._streams else None)
        try:
            with self._leaving:
                result = await work
        except BaseException as error:
            if self._living is not None:
                self._living.cancel()
            if self._leaving.struck and isinstance(error, TimeoutError):
                raise ClientLeft from None
            raise
        finally:
            self._presence.dismiss()
        if self._leaving.struck:  # and the work would not be stopped
            raise ClientLeft
        return result

    async def answer(self, body: bytes) -> None:
        """Send the answer, a JSON-RPC message: as JSON, or as the end of the stream that has begun."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait([self._living])
        if self._begun:
            await self._send({"type": "http.response.body", "body": event_of(body)})
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _come_alive(self) -> None:
        self._living = asyncio.create_task(self._live())

    async def _live(self) -> None:
        """Begin the stream, and go on. Cancelled only while it waits: what is sent, is sent whole."""
        await self._send({"type": "http.response.start", "status": 200, "headers": STREAM})
        self._begun = True
        while True:
            await self._send({"type": "http.response.body", "body": ALIVE, "more_body": True})
            await asyncio.sleep(ALIVE_EVERY)
