"""How failed logins are slowed: the answer waits, longer with each failure of an address and of all together.

Rules: pure; the time comes in as an argument.

Only failures wait. A valid token is never held up or refused for what others tried; otherwise one client that fails
behind a proxy would lock out everybody else behind it. A token has 256 random bits: slowing is not what makes it hard
to guess, it keeps those who try from costing much. What waits is bounded; one too many is told to come back later.
"""

from ipaddress import IPv6Address, ip_address
from typing import Final

import msgspec

FREE: Final = 3
"""Failures of one address that are answered at once: a typing error, a token that was just replaced."""
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0
HALF_LIFE: Final = 20.0
"""Seconds after which half of the failures are forgotten."""
ALL_PER_ONE: Final = 32
"""So many failures of all addresses weigh as much as one of an address."""
WAITING_AT_MOST: Final = 64
WAITING_OF_ONE: Final = 16
_ADDRESSES_AT_MOST: Final = 4096
_LINES: Final = 10
"""Log lines per `_LINES_SECONDS`."""
_LINES_SECONDS: Final = 10.0


class _Count(msgspec.Struct):
    """Failures, of which each weighs less the older it is."""

    weight: float = 0.0
    at: float = 0.0

    def add(self, now: float) -> float:
        self.weight = self.weight * 0.5 ** ((now - self.at) / HALF_LIFE) + 1
        self.at = now
        return self.weight


class FailedLogins:
    """Counts failures by address, forgets those that are old, and knows who waits."""

    def __init__(self) -> None:
        self._all = _Count()
        self._of: dict[str, _Count] = {}
        self._waiting: dict[str, int] = {}
        self._lines_since = 0.0
        self._lines = 0
        self._unsaid = 0

    def failed(self, address: str, now: float) -> float:
        """Count a failure; return for how many seconds its answer waits."""
        who = _network(address)
        count = self._of.pop(who, None) or _Count(0.0, now)
        if len(self._of) >= _ADDRESSES_AT_MOST:
            del self._of[next(iter(self._of))]
        self._of[who] = count
        steps = max(count.add(now) - FREE, self._all.add(now) / ALL_PER_ONE - FREE)
        return 0.0 if steps <= 0 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(steps - 1, _ENOUGH))

    def may_wait(self, address: str) -> bool:
        """Take a place for an answer that waits, to be given back by `waited`; False if there is none."""
        who = _network(address)
        of_one = self._waiting.get(who, 0)
        if of_one >= WAITING_OF_ONE or sum(self._waiting.values()) >= WAITING_AT_MOST:
            return False
        self._waiting[who] = of_one + 1
        return True

    def waited(self, address: str) -> None:
        """Give the place back."""
        who = _network(address)
        self._waiting[who] -= 1
        if not self._waiting[who]:
            del self._waiting[who]

    def unsaid(self, now: float) -> int | None:
        """Return how many failures had no line in the log before this one; None if this one is to have none either."""
        if now - self._lines_since >= _LINES_SECONDS:
            self._lines_since, self._lines = now, 0
        if self._lines >= _LINES:
            self._unsaid += 1
            return None
        self._lines += 1
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 a /64, which is the least that anybody has."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return parsed.exploded[:19]
    return str(parsed)


_ENOUGH: Final = 10.0
"""Doublings after which the longest delay is reached, and before which a float is not."""
