"""Places that all tenants share: no tenant holds more than are left free, so that the next tenant finds one.

One tenant alone gets half of them, two get a third each, nine leave a tenth for the next: no tenant's calls, however
long they hang, take the last places from another one's. When places are scarce, the waiting tenant that holds the
fewest goes first, and among a tenant's own calls the one that came first. The queue is shared by the same rule.

Invariant: a tenant with calls that wait may not be let in now, so a call that goes in at once overtakes none that could
have gone before it. A waiter that is cancelled or gives up leaves no place taken: a place handed to it in the same
instant is passed on.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.gate import Full, come


class Commons:
    """Places and a queue for all tenants.

    Args:
        places: How many there are.
        queue: How many may wait.
        each: The most that one tenant may hold, however many are free.
    """

    def __init__(self, places: int, queue: int, each: float = math.inf) -> None:
        self._places = places
        self._queue = queue
        self._each = each
        self._held: dict[str, int] = {}
        self._running = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._queued = 0

    @property
    def running(self) -> int:
        """How many places are taken."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return self._queued

    def held(self, tenant: str) -> int:
        """How many places the tenant has."""
        return self._held.get(tenant, 0)

    @asynccontextmanager
    async def place(self, tenant: str, patience: float) -> AsyncIterator[None]:
        """Hold a place; `Full` at once without room in the queue, or after `patience` seconds. May be cancelled."""
        await self.enter(tenant, patience)
        try:
            yield
        finally:
            self.leave(tenant)

    def enter_at_once(self, tenant: str) -> bool:
        """Take a place, to be given back by `leave`, if the tenant may have one now; return whether."""
        free = tenant not in self._waiting and self._may_enter(tenant)
        if free:
            self._take(tenant)
        return free

    async def enter(self, tenant: str, patience: float) -> None:
        """Take a place, to be given back by `leave`; as `place` does."""
        if self.enter_at_once(tenant):
            return
        mine = self._waiting.get(tenant, ())
        if len(mine) >= self._queue - self._queued:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._queued += 1
        await come(turn, patience, lambda: self._give_up(tenant, turn))

    def _may_enter(self, tenant: str) -> bool:
        held = self._held.get(tenant, 0)
        return held < self._each and held < self._places - self._running

    def _take(self, tenant: str) -> None:
        self._held[tenant] = self._held.get(tenant, 0) + 1
        self._running += 1

    def leave(self, tenant: str) -> None:
        """Give a place back."""
        self._held[tenant] -= 1
        self._running -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        if self._waiting:
            self._let_in()

    def _give_up(self, tenant: str, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting.get(tenant, ()):
            self._waiting[tenant].remove(turn)
            self._unqueue(tenant)
        elif not turn.cancelled():
            self.leave(tenant)

    def _unqueue(self, tenant: str) -> None:
        self._queued -= 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]

    def _let_in(self) -> None:
        # Who holds the fewest, of those the one that waits the longest: if that one may not, nobody may.
        while self._waiting:
            tenant = min(self._waiting, key=self.held)
            if not self._may_enter(tenant):
                return
            turn = self._waiting[tenant].popleft()
            self._unqueue(tenant)
            if not turn.done():
                self._take(tenant)
                turn.set_result(None)
                if tenant in self._waiting:
                    self._waiting[tenant] = self._waiting.pop(tenant)  # behind those who hold as few
