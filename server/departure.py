"""Notices when the client of a request leaves before its answer, so that no work goes on that nobody waits for.

The SDK runs a call to its end when it answers with plain JSON. Here the request's channel is watched beside it; a call
whose client has left is cancelled, and with it the query in Postgres.
"""

import asyncio
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
        body: The body, which is told once more.
        receive: Tells what comes after it: that the client has left.
    """

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._ahead: Message | None = {"type": "http.request", "body": body, "more_body": False}
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
        """Tell the body once more, and then, when it happens, that the client has left."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
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


async def _end(working: asyncio.Task[T]) -> None:
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
