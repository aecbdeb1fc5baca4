"""Whose bytes are read next: reading takes time on the one event loop, and that time is shared out among tenants.

A tenant may read at once as long as it has read little lately. One that has spent its credit waits for its turn: one
step at a time, the tenants in turn, and between two steps everybody else runs for as long as the step took. So
whatever a tenant's database sends, and over however many connections, it takes half of the time at most, in steps.

Rules: no I/O; the clock and the timer come in as arguments.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, TypeAlias

CREDIT: Final = 0.004
"""Seconds of reading that a tenant may do at once: some hundred small answers."""
REPAID: Final = 0.1
"""Seconds of reading that each second gives back."""
REST: Final = 1.0
"""How long the others run between two steps, in times of the step before."""
_TICK: Final = 1e-5
"""Seconds that are too few to wait for."""
_REMEMBERED: Final = 1024
_AHEAD: Final = CREDIT / REPAID
"""Seconds until a tenant's whole credit is paid back."""

Step: TypeAlias = Callable[[], bool]
"""Does a little of the work, and returns whether some is left."""
Later: TypeAlias = Callable[[float, Callable[[], None]], object]


class Turns:
    """The turns of one event loop.

    Args:
        later: Calls something after so many seconds.
        clock: In seconds; fine enough for parts of a millisecond.
    """

    def __init__(self, later: Later, clock: Callable[[], float] = time.perf_counter) -> None:
        self._later = later
        self._clock = clock
        self._paid_at: dict[str, float] = {}
        """When what a tenant has read will be paid back."""
        self._waiting: OrderedDict[str, deque[Step]] = OrderedDict()
        self._not_before = 0.0
        self._under_way = False

    def begin(self, tenant: str) -> float | None:
        """Return the time, for `spent`, if the tenant may read at once; None if it has to wait for its turn."""
        now = self._clock()
        return now if tenant not in self._waiting and self._paid_at.get(tenant, now) - now < _AHEAD else None

    def spent(self, tenant: str, begun: float) -> None:
        """Note that the tenant has read since `begun`, which `begin` returned."""
        now = self._clock()
        paid_at = self._paid_at.get(tenant, now)
        self._paid_at[tenant] = max(now, paid_at) + (now - begun) / REPAID
        if self._waiting:
            self._not_before = max(self._not_before, now + (now - begun) * REST)
        if len(self._paid_at) > _REMEMBERED:
            self._forget_paid()

    def ask(self, tenant: str, step: Step) -> None:
        """Run `step` when it is the tenant's turn, again and again until nothing is left."""
        self._waiting.setdefault(tenant, deque()).append(step)
        self._arrange()

    async def turn(self, tenant: str) -> None:
        """Wait until the tenant may go on. May be cancelled."""
        if self.begin(tenant) is not None:
            return
        mine = asyncio.get_running_loop().create_future()

        def call() -> bool:
            if not mine.done():
                mine.set_result(None)
            return False

        self.ask(tenant, call)
        await mine

    def _arrange(self) -> None:
        if self._waiting and not self._under_way:
            self._under_way = True
            self._later(max(0.0, self._not_before - self._clock()), self._go)

    def _go(self) -> None:
        self._under_way = False
        try:
            if self._not_before - self._clock() < _TICK:
                self._take_one()
        finally:
            self._arrange()

    def _take_one(self) -> None:
        tenant, steps = self._waiting.popitem(last=False)
        step, begun = steps.popleft(), self._clock()
        try:
            if step():
                steps.append(step)
        finally:
            if steps:
                self._waiting[tenant] = steps
            self.spent(tenant, begun)

    def _forget_paid(self) -> None:
        now = self._clock()
        self._paid_at = {tenant: paid_at for tenant, paid_at in self._paid_at.items() if paid_at > now}
