"""Whether a client takes its answer: uvicorn waits for a reader for ever, and what it does not take stays here.

Invariant: as long as something is written that was not taken, a timer runs.
"""

import asyncio
from collections.abc import Callable
from typing import Final

PACE: Final = 64 << 10
"""Bytes of an answer that a client has to take within its patience, or what is left of it."""


class Reading:
    """One client's.

    Args:
        loop: The running one.
        wire: What the bytes go to in the end; ended when the client is too slow.
        patience: Seconds for each `PACE` of bytes.
        missed: Told before.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wire: asyncio.Transport, patience: float, missed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._wire = wire
        self._patience = patience
        self._missed = missed
        self._unread = 0
        self._timer: asyncio.TimerHandle | None = None

    def expect(self) -> None:
        """Wait until the client has taken what is written, if there is something."""
        if self._timer is None and (unread := self._wire.get_write_buffer_size()):
            self._unread = unread
            self._timer = self._loop.call_later(self._patience, self._look)

    def end(self) -> None:
        """Wait for nothing: it reads, or the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        unread = self._wire.get_write_buffer_size()
        if unread and unread + PACE > self._unread:
            self._missed()
            self._wire.abort()
        else:
            self.expect()
