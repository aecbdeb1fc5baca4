"""The SDK's road, which is there later than the process: its imports take half a second of CPU.

They run in a thread, beside what needs no SDK: the fast path, health, metrics. Whoever needs it waits. They begin when
the registry is read, for that takes the interpreter, too; or when a request is there that needs them.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from server.loops import running

_TURN: Final = 0.0005
"""Seconds for which the importing thread keeps the interpreter while others want it; 5 ms is Python's own, and a call
that is being answered wants it some ten times."""


class Endpoint(Protocol):
    """Answers MCP."""

    def run(self) -> AbstractAsyncContextManager[None]:
        """Be open for requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST whose body was read."""


class SdkRoad:
    """An endpoint that is made later; until then requests wait.

    Args:
        make: Imports what it needs and returns the endpoint; runs in a thread.
        quiet: Returns when nothing more urgent is to be done.
    """

    def __init__(self, make: Callable[[], Endpoint], quiet: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._make = make
        self._quiet = quiet
        self._needed = asyncio.Event()
        self._made: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, when that can be done."""
        self._needed.set()
        endpoint = self._made.result() if self._made.done() else await asyncio.shield(self._made)
        await endpoint(scope, receive, send)

    async def run(self) -> None:
        """Make the endpoint and hold it open until cancelled. What breaks on the way is every request's to hear of."""
        async with running(self._when_quiet()):
            await self._needed.wait()
        try:
            endpoint = await asyncio.to_thread(_patiently, self._make)
        except Exception as error:  # noqa: BLE001 - the supervising loop
            structlog.get_logger("mcp").exception("the SDK cannot be used")
            self._made.set_exception(error)
            self._made.exception()
            return
        async with endpoint.run():
            self._made.set_result(endpoint)
            await asyncio.Event().wait()

    async def _when_quiet(self) -> None:
        await self._quiet()
        self._needed.set()


def _patiently(make: Callable[[], Endpoint]) -> Endpoint:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        return make()
    finally:
        sys.setswitchinterval(before)
