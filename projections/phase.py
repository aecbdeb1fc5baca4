"""What a follower is doing, and what it found: the words that health checks, metrics and logs share."""

import enum
from datetime import datetime
from typing import Final

import msgspec

from projections.diagnosis import Finding


class Phase(enum.StrEnum):
    """What the follower is doing."""

    CONNECTING = "connecting"
    REPLAYING = "replaying"
    FOLLOWING = "following"
    CUT_OFF = "cut_off"
    RESTORING = "restoring"
    DIVERGED = "diverged"
    HALTED = "halted"


class OnLoss(enum.StrEnum):
    """What a replica does when the log has lost something that it holds."""

    RESTORE = "restore"
    HALT = "halt"
    """It waits until an operator has put the log back, or lets it restore."""
    LOOK_ON = "look_on"
    """It begins and restores nothing whatever anybody says: where there is no log, there are no tenants."""


STUCK: Final = frozenset({Phase.DIVERGED, Phase.HALTED})
"""Phases in which nothing more is folded until somebody mends something: there is nothing to wait for."""
_UNREAD: Final = frozenset({Phase.CONNECTING, Phase.REPLAYING})


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot for health checks.

    Attributes:
        phase: What the follower is doing.
        ready: The whole fold was in once, nothing unreadable has stopped it since, and it is not too old to serve.
        degraded: Known tenants are served, and it is not certain that nothing has changed.
        position: How far the log is folded.
        epoch: Of the log; two replicas with the same epoch and position agree on every tenant.
        tenants: How many are live.
        reason: Why it is not following.
        found: What the last look at a log that did not link told, `found_at` when, and `findings` how often each was
            found.
    """

    phase: Phase
    ready: bool
    degraded: bool
    position: str
    epoch: str | None
    tenants: int
    reason: str | None = None
    found: Finding | None = None
    found_at: datetime | None = None
    findings: dict[Finding, int] = {}

    @property
    def stuck(self) -> bool:
        """Whether nothing more is folded until somebody mends something: there is nothing to wait for."""
        return self.phase in STUCK


def is_degraded(phase: Phase) -> bool:
    """Whether a replica in this phase serves what it knows without knowing that it still holds."""
    return phase is not Phase.FOLLOWING and phase not in _UNREAD and phase is not Phase.HALTED
