"""Looks after one request while it is worked on: notices that its client leaves, and shows a patient one life.

Most calls are over before anything of this begins, and cost one timer. A call whose client has left is cancelled, and
with it the query in Postgres. One that runs long begins its answer as a stream, if the client can take one, with
comments that keep proxies from closing it: what the SDK does for the 2026-07-28 revision, here in every revision.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.types import Receive, Send

from server.departure import ClientLeft
from server.interruption import Interruption

T = TypeVar("T")

WATCHED_AFTER: Final = 0.05
"""Seconds after which it is watched for whether the client is still there."""
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
        loop: The running one; to ask for it takes a system call.
        receive: Tells when the client has left.
        send: Takes the answer.
        streams: Whether the client can take a stream.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, send: Send, *, streams: bool) -> None:
        self._loop = loop
        self._receive = receive
        self._send = send
        self._streams = streams
        self._leaving = Interruption()
        self._watching: asyncio.Task[None] | None = None
        self._living: asyncio.Task[None] | None = None
        self._alive: asyncio.TimerHandle | None = None
        self._begun = False

    async def while_there(self, work: Awaitable[T]) -> T:
        """Return what `work` returns; if the client leaves before, cancel it and raise `ClientLeft`. Cancellable."""
        timer = self._loop.call_later(WATCHED_AFTER, self._begin)
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
            self._end(timer)
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

    def _begin(self) -> None:
        self._watching = self._loop.create_task(self._watch())
        if self._streams:
            self._alive = self._loop.call_later(ALIVE_EVERY - WATCHED_AFTER, self._come_alive)

    def _end(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._alive is not None:
            self._alive.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leaving.strike()

    def _come_alive(self) -> None:
        self._living = self._loop.create_task(self._live())

    async def _live(self) -> None:
        """Begin the stream, and go on. Cancelled only while it waits: what is sent, is sent whole."""
        await self._send({"type": "http.response.start", "status": 200, "headers": STREAM})
        self._begun = True
        while True:
            await self._send({"type": "http.response.body", "body": ALIVE, "more_body": True})
            await asyncio.sleep(ALIVE_EVERY)
