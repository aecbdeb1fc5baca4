"""What a replica knows of the tenants: as far as the log is folded, and for as long as that may be served."""

import asyncio
import math
from typing import Final

import structlog

from projections.clock import boottime
from projections.directory import Directory
from projections.freshness import Freshness, Verdict, refusal
from projections.phase import STUCK, Phase, Status, is_degraded
from projections.standing import Standing
from registry.entries import START, AsOf, Head, Position, Unreadable
from registry.errors import CorruptEntry, RegistryUnavailable
from registry.events import TenantEvent
from registry.log import TenantLog
from registry.state import Live, Tenant

_CATCH_UP: Final = 5.0


class View:
    """The read side of a follower, which alone changes what is seen here.

    Args:
        log: Whose heads tell whether somebody is ahead.
        directory: What is folded.
        freshness: How old that may be; without one, it is served for ever.
    """

    def __init__(self, log: TenantLog, directory: Directory, freshness: Freshness | None) -> None:
        self._log = log
        self._directory = directory
        self._freshness = freshness or Freshness(math.inf, math.inf)
        self._complete = asyncio.Event()
        self._moved = asyncio.Event()
        self._announced = START
        self._logger = structlog.get_logger("follower")
        self._standing = Standing(self._logger)

    @property
    def position(self) -> Position:
        """How far the log is folded."""
        return self._directory.position

    @property
    def as_of(self) -> AsOf:
        """That, and in which epoch of the log."""
        return self._directory.as_of

    @property
    def status(self) -> Status:
        """Return what the follower is doing now."""
        standing, too_old = self._standing, self._too_old()
        return Status(
            phase=standing.phase,
            ready=self._is_whole and too_old is None,
            degraded=is_degraded(standing.phase),
            position=str(self.position),
            epoch=self._directory.epoch.name if self._directory.epoch else None,
            tenants=len(self._directory),
            reason=standing.reason or too_old,
            found=standing.found,
            found_at=standing.found_at,
            findings=dict(standing.findings),
        )

    def tick(self, now: float) -> None:
        """Note that the process runs, at `now` of `boottime`, and say once when what is held has become too old."""
        self._freshness.tick(now)
        self._standing.ages(self._too_old(), position=self.position)

    def require_ready(self) -> None:
        """Raise unless what is folded may be served.

        `RegistryUnavailable`, or why the log cannot be read, before the whole fold was in once; `StaleReplica` while it
        may be too old. To be asked again after each wait: this process may have been frozen in it.
        """
        phase, complete = self._standing.phase, self._complete.is_set()
        if complete and phase is Phase.FOLLOWING and boottime() <= self._freshness.fresh_until:
            return
        if phase is Phase.HALTED or not complete:
            self._standing.require_following()
        verdict = self._verdict()
        if verdict is not Verdict.FRESH:
            raise refusal(verdict)

    async def tenant(self, tenant_id: str) -> Tenant | None:
        """Return the tenant for use. One that is unknown or removed here may be live elsewhere: the log is asked first.

        Raises what `require_ready` and, for such a tenant, `refresh` raise. May be cancelled.
        """
        self.require_ready()
        known = self._directory.tenant(tenant_id)
        if isinstance(known, Live) or (known and self._standing.phase is Phase.RESTORING):
            return known  # a removal that the log has lost holds all the same
        return await self.refresh(tenant_id)

    async def complete(self) -> None:
        """Wait until the whole fold was in once. May be cancelled."""
        await self._complete.wait()

    def knows(self, tenant_id: str) -> bool:
        """Whether the fold has the tenant, live or not."""
        return self._directory.tenant(tenant_id) is not None

    def twin_of(self, tenant_id: str) -> str | None:
        """Return the id of a tenant in the fold that differs from `tenant_id` in case alone, if there is one."""
        return self._directory.twin_of(tenant_id)

    def tells(self, event: TenantEvent) -> bool:
        """Whether the fold's tenant is what `event` made of it, or a later one."""
        known = self._directory.tenant(event.tenant)
        return known is not None and (known.event_id == event.event_id or known.version > event.version)

    async def refresh(self, tenant_id: str) -> Tenant | None:
        """Fold up to the tenant's head and return the tenant; None if the log never heard of it.

        Raises `RegistryUnavailable` if Redis does not answer, the tail is late or the log is being restored,
        `LogDiverged` and `CorruptEntry` if the log cannot be followed. May be cancelled.
        """
        self._standing.require_following()
        (head,) = await self._log.heads([tenant_id])
        if isinstance(head, Unreadable):
            raise CorruptEntry(head.why)
        if head is not None and not await self._reached_head(head):
            self._standing.require_following()
            raise RegistryUnavailable("This replica is behind the log; try again.", position=str(self.position))
        return self._directory.tenant(tenant_id)

    async def ask(self, tenant_id: str) -> None:
        """Ask the log for a tenant and forget the answer: the way of `refresh` where the log never heard of it.

        Raises `RegistryUnavailable` and `LogDiverged` as that does. May be cancelled.
        """
        self._standing.require_following()
        await self._log.heads([tenant_id])

    async def reached(self, position: Position) -> bool:
        """Wait up to five seconds until the fold includes `position` and everybody was told; return whether it does.

        May be cancelled.
        """
        try:
            async with asyncio.timeout(_CATCH_UP):
                while not self._includes(position) and self._standing.phase not in STUCK:
                    await self._moved.wait()
        except TimeoutError:
            pass
        return self._includes(position)

    def _includes(self, position: Position) -> bool:
        return self._announced.seq >= position.seq

    async def _reached_head(self, head: Head) -> bool:
        if self._directory.as_of.epoch.is_orphan(head):
            return False  # what another log has left of the tenant is still to be said again in this one
        return await self.reached(head.position)

    @property
    def _is_whole(self) -> bool:
        return self._complete.is_set() and self._standing.phase is not Phase.HALTED

    def _too_old(self) -> str | None:
        """Return why what is folded may not be served any more, if it was served before."""
        verdict = self._verdict()
        return refusal(verdict).message if self._is_whole and verdict is not Verdict.FRESH else None

    def _verdict(self) -> Verdict:
        return self._freshness.verdict(boottime(), cut_off=self._standing.phase is Phase.CUT_OFF)

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _enter(self, phase: Phase, reason: str | None = None) -> None:
        self._standing.enter(phase, reason, position=self.position)
        self._wake()
