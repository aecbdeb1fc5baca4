"""The tool that tells how the registry is: this replica, and where the others are."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from projections.directory import Directory
from projections.follower import Follower
from projections.replicas import ReplicaState
from registry.errors import RegistryUnavailable
from server.principal import Principal
from server.sight import page_of
from server.tenant_messages import After
from server.toolbox import OPERATORS_KNOW, Call, Hints, tool

_SHOWN: Final = 20
"""Quarantined tenants in one answer."""


class RegistryStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `registry_status`."""

    after: After | None = None


class QuarantinedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that cannot be used, and why."""

    tenant_id: str
    reason: str


class ReplicaLine(msgspec.Struct, frozen=True, kw_only=True):
    """One replica that may serve.

    Attributes:
        last_seen: Seconds ago; negative: Redis's clock went back.
    """

    name: str
    position: str
    phase: str
    last_seen: float
    live: bool


class StatusTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the registry is.

    Attributes:
        replica: Who answers.
        position: How far the log is applied here.
        epoch: Which log, or stretch of it.
        found: What had become of the log when it last did not link.
        reason: What is wrong.
        quarantined: The first of them behind `after`.
        next: Where they go on.
        replicas_unknown: Why the others are not known.
    """

    replica: str
    phase: str
    ready: bool
    position: str
    epoch: str | None = None
    tenants: int
    found: str | None = None
    reason: str | None = None
    quarantined: list[QuarantinedLine] = []
    quarantined_total: int = 0
    next: str | None = None
    replicas: list[ReplicaLine] = []
    replicas_unknown: str | None = None


class Company(Protocol):
    """Knows the replicas."""

    @property
    def name(self) -> str:
        """This one's name."""

    async def replicas(self) -> Sequence[ReplicaState]:
        """Return all of them, by name. Raises `RegistryUnavailable`."""


class StatusTools:
    """Look at the registry itself.

    Args:
        follower, directory: This replica's fold.
        presence: Where the others are.
    """

    def __init__(self, *, follower: Follower, directory: Directory, presence: Company) -> None:
        self._follower = follower
        self._directory = directory
        self._presence = presence

    @tool(Hints(read_only=True), "tenants:read")
    async def registry_status(self, args: RegistryStatus, call: Call) -> StatusTold:
        """Tell whether this replica is up to date, which tenants are quarantined, and where other replicas are."""
        status = self._follower.status
        aside = {
            known.tenant: known.reason
            for known in self._directory.quarantined()
            if call.principal.touches(known.tenant)
        }
        page, more = page_of(sorted(aside), args.after, _SHOWN)
        replicas, unknown = await self._others()
        return StatusTold(
            replica=self._presence.name,
            phase=status.phase,
            ready=status.ready,
            position=status.position,
            epoch=status.epoch,
            tenants=self._count(call.principal),
            found=status.found,
            reason=status.reason if call.principal.touches_all or status.reason is None else OPERATORS_KNOW,
            quarantined=[QuarantinedLine(tenant_id=tenant, reason=aside[tenant]) for tenant in page],
            quarantined_total=len(aside),
            next=page[-1] if more else None,
            replicas=replicas,
            replicas_unknown=unknown,
        )

    def _count(self, principal: Principal) -> int:
        if principal.touches_all:
            return len(self._directory)
        return sum(map(principal.touches, self._directory.roster.ids()))

    async def _others(self) -> tuple[list[ReplicaLine], str | None]:
        try:
            states = await self._presence.replicas()
        except RegistryUnavailable as error:
            return [], error.message
        return [_line(state) for state in states if state.may_serve], None


def _line(state: ReplicaState) -> ReplicaLine:
    return ReplicaLine(
        name=state.identity.name,
        position=str(state.whereabouts.position),
        phase=state.whereabouts.state,
        last_seen=round(state.last_seen, 1),
        live=state.live,
    )
