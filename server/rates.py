"""How often a caller may call, and a tenant be called: so often a second, and more at once after a pause.

Rules: pure; the clock comes in. What is remembered of a name is one number, for no longer than the name has something
to wait for, and of no more names than `REMEMBERED`, however many are tried. A call that is refused costs nothing.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from registry.errors import RateLimited

REMEMBERED: Final = 10_000
"""Names; of more that are all busy, the one that called the longest ago begins afresh."""


class Rate:
    """One rate, for each of many names.

    Args:
        per_second: Calls that a name may make in the long run; 0 for as many as it likes.
        burst: Seconds' worth of calls that it may make at once; one call at least.
        clock: In seconds, never back.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self._interval = 1 / per_second if per_second else 0.0
        self._ahead = max(0.0, burst - self._interval)
        self._clock = clock
        # Invariant: by name, when all its calls so far are paid for; who called last is last.
        self._paid_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid_at)

    def take(self, name: str) -> float:
        """Count a call of `name` and return 0, or return the seconds until it may call, and count nothing."""
        if not self.per_second:
            return 0.0
        now = self._clock()
        paid_at = max(now, self._paid_at.get(name, now))
        if paid_at - now > self._ahead:
            return paid_at - now - self._ahead
        self._paid_at[name] = paid_at + self._interval
        self._paid_at.move_to_end(name)
        if len(self._paid_at) > REMEMBERED:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        for name in [name for name, paid_at in self._paid_at.items() if paid_at <= now]:
            del self._paid_at[name]
        if len(self._paid_at) > REMEMBERED:
            self._paid_at.popitem(last=False)


class CallRates:
    """The two rates of a replica; `RateLimited` says when to come again."""

    def __init__(self, *, caller: Rate, tenant: Rate) -> None:
        self._caller = caller
        self._tenant = tenant

    def count_caller(self, subject: str) -> None:
        """Count a call by this caller, or raise `RateLimited`."""
        _require(self._caller, subject, "You call", "MCP_POSTGRES_CALLER_RATE")

    def count_tenant(self, tenant_id: str) -> None:
        """Count a call to this tenant's database, which must be a tenant's that there is, or raise `RateLimited`."""
        _require(self._tenant, tenant_id, f"Tenant {tenant_id!r} is called", "MCP_POSTGRES_TENANT_RATE")


def _require(rate: Rate, name: str, who: str, setting: str) -> None:
    wait = rate.take(name)
    if wait > 0:
        raise RateLimited(
            f"{who} more than {rate.per_second:g} times a second; try again in {wait:.1f} s, or less often. "
            f"(An operator sets this: {setting}.)",
            retry_after_ms=math.ceil(wait * 1000),
        )
