"""How many may run at once, how many may wait, and for how long.

Invariant: `running <= limit` unless the limit was lowered while more were running. A waiter that is cancelled or gives
up leaves no place taken: a place handed to it in the same instant is passed on.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from server.interruption import Interruption


class Full(Exception):
    """No place is free, and the queue is full or the wait was too long."""


async def come(turn: asyncio.Future[None], patience: float, give_up: Callable[[], None]) -> None:
    """Wait for a turn; `Full` after `patience` seconds. May be cancelled; either way `give_up` is called before."""
    waiting = Interruption()
    timer = turn.get_loop().call_later(patience, waiting.strike)
    try:
        with waiting:
            await turn
    except TimeoutError:
        give_up()
        raise Full from None
    except asyncio.CancelledError:
        give_up()
        raise
    finally:
        timer.cancel()


class Gate:
    """Places for `limit` at once and a queue so long that at most `admitted` are inside or waiting.

    Args:
        limit: Places.
        admitted: Places and queue together; at least `limit`.
    """

    def __init__(self, limit: int, admitted: int) -> None:
        self._limit = limit
        self._admitted = max(limit, admitted)
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def running(self) -> int:
        """How many places are taken."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._waiting)

    def resize(self, limit: int, admitted: int) -> None:
        """Change the sizes; who is inside stays, who waits goes in if there is room now."""
        self._limit, self._admitted = limit, max(limit, admitted)
        self._let_in()

    def enter_at_once(self) -> bool:
        """Take a place, to be given back by `leave`, if there is one and nobody waits for it; return whether."""
        free = self._running < self._limit and not self._waiting
        self._running += free
        return free

    async def enter(self, patience: float) -> None:
        """Take a place, to be given back by `leave`.

        `Full` at once when the queue is full, or after `patience` seconds in it. May be cancelled.
        """
        if self.enter_at_once():
            return
        if self._running + len(self._waiting) >= self._admitted:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await come(turn, patience, lambda: self._give_up(turn))

    def leave(self) -> None:
        """Give a place back."""
        self._running -= 1
        if self._waiting:
            self._let_in()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif not turn.cancelled():
            self.leave()

    def _let_in(self) -> None:
        while self._waiting and self._running < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)
