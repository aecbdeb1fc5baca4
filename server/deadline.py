"""A time by which something has to have happened, put off for each request: one timer that looks at a number."""

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls `missed` when as many seconds have passed since it was last set, unless it was lifted.

    A timer for each request would be set and cancelled; this one goes on, and when it fires it looks whether the time
    has come, and else sets itself for the rest.

    Args:
        loop: The running one.
        seconds: How far ahead it is set.
        missed: May set it again.
    """

    __slots__ = ("_at", "_loop", "_missed", "_seconds", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, missed: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._missed = missed
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether something has to happen."""
        return self._at < math.inf

    def set(self) -> None:
        """Set it as far ahead as it may be, however it was before."""
        self._at = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def lift(self) -> None:
        """Nothing has to happen."""
        self._at = math.inf

    def end(self) -> None:
        """Lift it for good: nothing of it stays in the loop."""
        self.lift()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        left = self._at - self._loop.time()
        if left == math.inf:
            return
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self.lift()
        self._missed()
