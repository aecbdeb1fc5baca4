"""Whether this replica may serve from what it holds: how long ago it last knew that it was up to date.

Rules: pure; no clock, no await. Times are seconds of one clock that goes on while the process or the machine sleeps
(`projections.clock.boottime`), and every one is an argument.

How a follower uses it:

    asked = boottime()              # before the question is sent: what is appended afterwards is not in the answer
    entries = await log.read(…)     # or log.end()
    …                               # link and apply them
    freshness.heard(asked)          # if a page linked and was not full, or the end is our position. An empty read is
                                    # no news: a log that was emptied or replaced reads the same

    verdict = freshness.verdict(boottime(), cut_off=phase is Phase.CUT_OFF)     # on each call
    if verdict is not Verdict.FRESH:
        raise refusal(verdict)

A call that waits, for its turn or for a login, may wake in another time than it fell asleep in: ask again afterwards,
right before the tenant's database is used. A ticker (`projections.clock.ticking`) calls `tick` each half second, so
most calls need but one comparison: `now <= freshness.fresh_until`, where the follower is not cut off.
"""

import enum
import math
from typing import Final

from registry.errors import StaleReplica

_NEVER: Final = -math.inf


class Verdict(enum.StrEnum):
    """Whether to serve.

    `CATCH_UP`: not before the log was heard again. `STALE`: not while Redis is away. `UNSEEN`: Redis is there, but not
    before it lets this replica tell the others that it is.
    """

    FRESH = "fresh"
    CATCH_UP = "catch_up"
    STALE = "stale"
    UNSEEN = "unseen"


class Freshness:
    """What the replica knows about its own age.

    Invariant: with `must_be_seen`, verdicts are `FRESH` only within `max_staleness` and a lease of a moment at which
    the others could see this replica. That is how long they count on it, so what they told nobody serves is not served.

    Args:
        lease: Seconds that a process may stand still, and that others wait for a replica they do not see.
        max_staleness: Seconds that a replica cut off from Redis serves what it knows; 0: not at all, inf: for ever.
        must_be_seen: Whether others are told of removals that this replica has to apply first: `seen` is then called.

    Attributes:
        fresh_until: Up to this moment the verdict is `FRESH`, whatever else happens, unless the follower is cut off.
    """

    def __init__(self, lease: float, max_staleness: float, *, must_be_seen: bool = False) -> None:
        self._lease = lease
        self._max_staleness = max_staleness
        self._must_be_seen = must_be_seen
        self._ticked = self._heard = self._seen = _NEVER
        self._since = _NEVER
        """What was heard before this moment does not count."""
        self.fresh_until = _NEVER

    @property
    def heard_at(self) -> float | None:
        """Return when it was last known that everything was applied; None if it never was."""
        return None if self._heard == _NEVER else self._heard

    def tick(self, now: float) -> None:
        """Note that the process runs. If it did not for longer than the lease, it was frozen, and has to catch up."""
        if now - self._ticked > self._lease:
            self._since = now
        self._ticked = max(self._ticked, now)
        self._foresee()

    def heard(self, at: float) -> None:
        """Note that the log, asked no earlier than `at`, had nothing that is not applied."""
        self.tick(at)
        self._heard = max(self._heard, at)
        self._foresee()

    def seen(self, sent: float, answered: float) -> None:
        """Note that others can see this replica: it said so at `sent`, and that arrived before `answered`.

        If they could not see it for so long that they no longer counted on it, it has to catch up first.
        """
        self.tick(answered)
        if self._seen == _NEVER or answered - self._seen > self._max_staleness + self._lease:
            self._since = max(self._since, answered)
        self._seen = max(self._seen, sent)
        self._foresee()

    def verdict(self, now: float, *, cut_off: bool) -> Verdict:
        """Say whether to serve at `now`, to a follower that has a connection or is `cut_off`."""
        self.tick(now)
        if self._is_behind:
            return Verdict.CATCH_UP
        if cut_off and (self._max_staleness == 0 or now - self._heard > self._max_staleness):
            return Verdict.STALE
        if now <= self._counted_on_until:
            return Verdict.FRESH
        return Verdict.STALE if cut_off else Verdict.UNSEEN

    @property
    def _is_behind(self) -> bool:
        return self._heard < self._since or (self._must_be_seen and self._seen == _NEVER)

    @property
    def _counted_on_until(self) -> float:
        """Until when others count on this replica, or serve nothing that it might contradict."""
        return self._seen + self._max_staleness + self._lease if self._must_be_seen else math.inf

    def _foresee(self) -> None:
        running_until = self._ticked + self._lease
        self.fresh_until = _NEVER if self._is_behind else min(running_until, self._counted_on_until)


def refusal(verdict: Verdict) -> StaleReplica:
    """Return the error for a call that comes while the verdict is any but `FRESH`."""
    if verdict is Verdict.CATCH_UP:
        return StaleReplica("This replica has just started or stood still, and reads what it missed; try again.")
    if verdict is Verdict.UNSEEN:
        return StaleReplica(
            "Redis answers and has not taken for longer than MCP_POSTGRES_MAX_STALENESS what this replica tells the "
            "others, so that removals do not wait for it any more; try again, or on another replica. Its log says why."
        )
    return StaleReplica(
        "This replica has been cut off from Redis for longer than MCP_POSTGRES_MAX_STALENESS and cannot tell whether "
        "the tenant is still registered; try again, or on another replica."
    )
