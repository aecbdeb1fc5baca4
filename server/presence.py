"""Whether the client of a connection is still there, and how long it has waited: told to whoever works for it.

The protocol hears that a connection has ended, so nobody has to watch for it: a task for each call, which waits for
uvicorn's channel, costs a busy server a tenth of all. A connection's requests are answered one after the other, so one
of them is attended to at a time.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from server.deadline import Deadline

PRESENCE: Final = "mcp_postgres.presence"
"""Where in the scope a connection's `Presence` is."""
GRACE: Final = 0.05
"""Seconds that a call goes on after its client left: most are over by then, and need not be cancelled in Postgres."""


class Presence:
    """One connection's client.

    Args:
        loop: The running one.
        patience: Seconds after which a call is a long one.
    """

    __slots__ = ("_left", "_loop", "_on_left", "_on_long", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._loop = loop
        self._left = False
        self._on_left: Callable[[], None] | None = None
        self._on_long: Callable[[], None] | None = None
        self._waiting = Deadline(loop, patience, self._tell_long)

    def attend(self, on_left: Callable[[], None], on_long: Callable[[], None] | None) -> None:
        """Call `on_left` some time after the client left, and `on_long` once the call is a long one; until `dismiss`.

        `on_left` may be called a moment after `dismiss`, too.
        """
        self._on_left, self._on_long = on_left, on_long
        if self._left:
            self._tell_left(on_left)
        elif on_long is not None:
            self._waiting.set()

    def dismiss(self) -> None:
        """The call is over."""
        self._on_left = self._on_long = None
        self._waiting.lift()

    def leave(self) -> None:
        """The connection has ended."""
        self._left = True
        self._waiting.end()
        if self._on_left is not None:
            self._tell_left(self._on_left)

    def _tell_left(self, on_left: Callable[[], None]) -> None:
        self._loop.call_later(GRACE, on_left)

    def _tell_long(self) -> None:
        if self._on_long is not None:
            self._on_long()
