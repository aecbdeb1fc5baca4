"""Notices when the client of a request leaves before its answer, so that nothing goes on for nobody.

The SDK runs a call to its end when it answers with plain JSON. Here the request's channel is watched beside it; a call
whose client has left is cancelled, and with it the query in Postgres.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from starlette.types import Message, Receive, Scope

T = TypeVar("T")

_KEY: Final = "mcp_postgres.departure"


class ClientLeft(Exception):
    """The client left; whatever is answered reaches nobody."""


class Departure:
    """One request's channel, after its body was read.

    Args:
        ahead: The messages that were read already.
        receive: Tells what comes after them: that the client has left.
    """

    def __init__(self, ahead: list[Message], receive: Receive) -> None:
        self._ahead = deque(ahead)
        self._receive = receive
        self._left = asyncio.Event()

    @classmethod
    def of(cls, scope: Scope | None) -> "Departure | None":
        """Return what `watched` put into the request's scope."""
        return scope.get(_KEY) if scope else None

    @asynccontextmanager
    async def watched(self, scope: Scope) -> AsyncIterator[Scope]:
        """Watch the channel for as long as the context lasts; yields the scope in which `of` finds this."""
        watching = asyncio.create_task(self._watch())
        try:
            yield {**scope, _KEY: self}
        finally:
            watching.cancel()

    async def receive(self) -> Message:
        """Tell what was read ahead once more, and then, when it happens, that the client has left."""
        if self._ahead:
            return self._ahead.popleft()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; if the client leaves before, cancel it and raise `ClientLeft`. Cancellable."""
        working, leaving = asyncio.create_task(work), asyncio.create_task(self._left.wait())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientLeft
            return await working
        finally:
            leaving.cancel()
            await _end(working)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left.set()


async def read_ahead(receive: Receive, limit: int) -> tuple[bytes, list[Message], bool]:
    """Read a request's body, up to a little over `limit` bytes; return it, its messages, and whether it is whole."""
    told: list[Message] = []
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        message = await receive()
        told.append(message)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body", False):
            return b"".join(parts), told, message["type"] == "http.request" and size <= limit
    return b"".join(parts), told, False


def again(told: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that tells these messages first."""
    ahead = deque(told)

    async def replay() -> Message:
        return ahead.popleft() if ahead else await receive()

    return replay


async def _end(working: asyncio.Task[T]) -> None:
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
