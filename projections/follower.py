"""The one loop that reads the log on start and tails it afterwards.

What does not link is not served and not skipped: the loop finds out what has become of the log
(`projections/diagnosis.py`), makes a directory of it as it is (`projections/rebuild.py`), says again what was lost
where that is the policy (`projections/restoration.py`), and only then changes over, all at once. Until then it serves
what it holds.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import structlog

from projections.clock import boottime
from projections.diagnosis import Finding, diagnose
from projections.directory import Directory
from projections.freshness import Freshness, Verdict, refusal
from projections.phase import STUCK, OnLoss, Phase, Status, is_degraded
from projections.rebuild import PAGE, Rebuilder, Rebuilt
from projections.restoration import Restorer
from projections.standing import Standing
from registry.errors import (
    CorruptEntry,
    LogDiverged,
    RegistryUnavailable,
    SecretUnreadable,
    UnexpectedEvent,
    UnsafeRedis,
)
from registry.events import TenantEvent
from registry.log import START, AsOf, Head, Position, TenantLog, Unreadable
from registry.state import Live, Tenant

_WAIT: Final = 0.8
"""Seconds that a read blocks; the log's end is looked at as often when nothing comes, so that a loss is seen in one."""
_BACKOFF: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_CATCH_UP: Final = 5.0
_LOOK_AGAIN: Final = 10.0
_SHOWN: Final = 20
"""Ids in a message."""

OnChange: TypeAlias = Callable[[Sequence[Tenant]], Awaitable[None]]
OnCaughtUp: TypeAlias = Callable[[], Awaitable[None]]

_PUT_BACK: Final = (
    "Put it back from a backup, or let replicas that hold it say it again (mcp-postgres log restore); if it may be "
    "forgotten, empty what is left below the prefix."
)
_KEEP: Final = "Restore Redis, and do not restart the replicas before: they hold what the log has lost."


class Follower:
    """Keeps a `Directory` equal to the log.

    Args:
        log: What is followed; its blocking reads use a connection of their own.
        directory: What is kept; nobody else may apply to it.
        rebuilder: Makes a directory of the log, on start and when it does not link.
        on_change: Told the tenants that a page of entries changed, after the directory has them; awaited.
        on_caught_up: Called each time the tail is about to begin, after a replay or a lost connection. May raise
            `SecretUnreadable` or `UnsafeRedis`: then this replica is of no use, and halts.
        restorer: Begins a log where there is none, knows what one has lost, and says it again.
        on_loss: Whether it may.
        freshness: How old what this replica holds may be; without one, it serves that for ever.
    """

    def __init__(
        self,
        *,
        log: TenantLog,
        directory: Directory,
        rebuilder: Rebuilder,
        restorer: Restorer,
        on_change: OnChange,
        on_caught_up: OnCaughtUp,
        on_loss: OnLoss = OnLoss.RESTORE,
        freshness: Freshness | None = None,
    ) -> None:
        self._log = log
        self._directory = directory
        self._on_change = on_change
        self._on_caught_up = on_caught_up
        self._rebuilder = rebuilder
        self._restorer = restorer
        self._on_loss = on_loss
        self._restores = on_loss is OnLoss.RESTORE
        self._freshness = freshness or Freshness(math.inf, math.inf)
        self._tries = 0
        self._doubts = False
        self._next_look = 0.0
        self._complete = asyncio.Event()
        self._moved = asyncio.Event()
        self._announced = START
        self._untold: dict[str, Tenant] = {}
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
    def steps(self) -> int:
        """How much was read so far; grows as long as something is."""
        return self._rebuilder.done + self.position.seq

    @property
    def status(self) -> Status:
        """Return what the follower is doing now."""
        standing, verdict = self._standing, self._verdict()
        complete = self._complete.is_set() and standing.phase is not Phase.HALTED
        too_old = refusal(verdict).message if complete and verdict is not Verdict.FRESH else None
        return Status(
            phase=standing.phase,
            ready=complete and too_old is None,
            degraded=is_degraded(standing.phase),
            position=str(self.position),
            epoch=self._directory.epoch.name if self._directory.epoch else None,
            tenants=len(self._directory),
            reason=standing.reason or too_old,
            found=standing.found,
            findings=dict(standing.findings),
        )

    async def run(self) -> None:
        """Follow until cancelled. Raises nothing of its own.

        What halts it may be mended meanwhile, by taking a foreign entry out, say: it goes on looking.
        """
        while True:
            try:
                await self._settle()
                await self._tail()
            except RegistryUnavailable as error:
                if self._standing.phase is not Phase.HALTED:
                    self._enter(Phase.CUT_OFF if self._complete.is_set() else Phase.CONNECTING, error.message)
            except LogDiverged as error:
                self._enter(Phase.RESTORING if self._restores else Phase.DIVERGED, error.message)
            except CorruptEntry as error:
                # Heads that somebody edited would tell a start from them what the log does not: then it is replayed.
                # What cannot be read at all is not their doing, and a log that cannot be replayed would be believed.
                misplaced = isinstance(error, UnexpectedEvent)
                self._doubts = misplaced and self._complete.is_set() and self._rebuilder.distrust_heads()
                if not self._doubts:
                    self._standing.halt(error, position=self.position)
                    self._wake()
            except (SecretUnreadable, UnsafeRedis) as error:
                self._standing.halt(error, position=self.position)
                self._wake()
            except Exception:  # the supervising loop: a replica that stopped following must not look ready
                self._logger.exception("follower broke")
                self._enter(Phase.HALTED, "The follower broke; the log of this replica has the cause. Restart it.")
                return
            await asyncio.sleep(_BACKOFF[min(self._tries, len(_BACKOFF) - 1)])
            self._tries += 1

    def require_ready(self) -> None:
        """Raise unless what is folded may be served.

        `RegistryUnavailable`, or why the log cannot be read, before the whole fold was in once; `StaleReplica` while it
        may be too old. To be asked again after each wait: this process may have been frozen in it.
        """
        if self._standing.phase is Phase.HALTED or not self._complete.is_set():
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
        epoch = self._directory.epoch
        if epoch and epoch.is_orphan(head):
            return False  # what another log has left of the tenant is still to be said again in this one
        return await self.reached(head.position)

    async def _settle(self) -> None:
        """Bring the directory up to the log's end, whatever has become of the log, and say so.

        The end is fixed before, so that steady writers do not keep us from being ready.
        """
        if self._on_loss is OnLoss.HALT:
            self._restores = await self._log.may_restore()
        asked = boottime()
        end = await (self._begin() if self.position == START else self._look())
        while self.position.seq < end.seq:
            if not await self._fold_page(0):
                raise LogDiverged(f"The log says it ends at {end}; nothing is to be read after {self.position}.")
        await self._announce()
        await self._on_caught_up()
        self._complete.set()
        self._freshness.heard(asked)
        self._enter(Phase.FOLLOWING)

    async def _begin(self) -> Position:
        """Read the log for the first time, making it if there is none and there never was; return where it ends."""
        if not self._restores and await self._log.end() is None:
            trace = await self._restorer.trace()
            if trace:
                raise LogDiverged(f"There is no log, and {trace} says that there was one: none is begun. {_PUT_BACK}")
            if self._on_loss is OnLoss.LOOK_ON:
                return START
        end = await self._restorer.begin()
        if end is None:
            await self._resynchronise(Finding.LOG_GONE)
            return self.position
        if end.seq == 1 and not self._tries:
            self._logger.warning(
                "the log is new and empty; if there were tenants, keep the replicas running that still know them"
            )
        if self._standing.phase is Phase.CONNECTING:
            self._enter(Phase.REPLAYING)
        rebuilt = await self._rebuilder.rebuild(self._directory)
        if rebuilt.hole:
            self._standing.finds(Finding.RESYNCHRONISED, rebuilt.hole, position=self.position)
        await self._restore(rebuilt, Finding.LOG_REPLACED)
        await self._become(rebuilt.directory)
        return self.position

    async def _look(self) -> Position:
        """See what has become of the log; return where it ends once this replica can go on."""
        finding, end = await diagnose(self._log, self._directory)
        if self._doubts and not finding.is_loss:
            finding, self._doubts = Finding.RESYNCHRONISED, False
        if finding is Finding.CAUGHT_UP and end is not None:
            return end
        await self._resynchronise(finding, end)
        return self.position

    async def _resynchronise(self, finding: Finding, end: Position | None = None) -> None:
        """Change over to what the log says now, and before that say again what it has lost."""
        reason = _told(finding, self.position, end, restores=self._restores)
        self._standing.finds(finding, reason, position=self.position)
        if finding.is_loss:
            if not self._restores:
                raise LogDiverged(reason)
            self._enter(Phase.RESTORING, reason)
        if finding is Finding.LOG_GONE:
            await self._restorer.begin(anew=True)
        rebuilt = await self._rebuilder.rebuild(self._directory)
        await self._restore(rebuilt, finding)
        await self._become(rebuilt.directory)

    async def _restore(self, rebuilt: Rebuilt, finding: Finding) -> None:
        """Say again what this replica, and what an earlier log has left, know and the log does not."""
        held = self._restorer.together(self._directory.all(), rebuilt.orphans.values())
        missing = self._restorer.missing(held, rebuilt.directory)
        if missing and not self._restores:
            names = ", ".join(sorted(tenant.tenant for tenant in missing)[:_SHOWN])
            raise LogDiverged(f"The log does not say what is known of {len(missing)} tenants ({names}). {_KEEP}")
        if missing:
            self._enter(Phase.RESTORING, f"The log does not say what is known of {len(missing)} tenants.")
            live, removed = await self._restorer.restore(held, rebuilt.directory, self._directory, finding)
            epoch = rebuilt.directory.epoch
            self._logger.info(
                "log restored", finding=finding, live=live, removed=removed, epoch=epoch.name if epoch else None
            )

    async def _become(self, directory: Directory) -> None:
        for tenant in self._directory.become(directory):
            self._untold[tenant.tenant] = tenant
        self._standing.got_over()
        await self._announce()

    async def _tail(self) -> None:
        """Fold what comes, until the log does not link any more."""
        while True:
            try:
                if await self._fold_page(_WAIT):
                    continue
                self._tries = 0
                await self._look_again()
                asked = boottime()
                finding, end = await diagnose(self._log, self._directory)
                # Between the empty read and the look at the end an entry may have come.
                if finding is not Finding.CAUGHT_UP or (end != self.position and not await self._fold_page(0)):
                    return
                if end == self.position:
                    self._freshness.heard(asked)
            except LogDiverged:
                return  # a closer look tells what that means

    async def _look_again(self) -> None:
        """See now and then what could not be known before: tenants, if a key was put back, and which log this is."""
        aside, as_of = self._directory.quarantined(), self._directory.as_of
        now = asyncio.get_running_loop().time()
        if (not aside and as_of.epoch.is_known) or now < self._next_look:
            return
        self._next_look = now + _LOOK_AGAIN
        if not as_of.epoch.is_known:
            self._directory.learn(await self._log.epoch())
        for tenant in await self._rebuilder.reread(aside):
            if self._directory.settle(tenant):
                self._untold[tenant.tenant] = tenant
                self._logger.info("tenant can be read again", tenant=tenant.tenant, position=str(tenant.position))

    async def _fold_page(self, wait: float) -> bool:
        """Fold what comes after the position; return whether anything did."""
        await self._announce()
        asked = boottime()
        entries = await self._log.read(self.position, PAGE, wait)
        try:
            for entry in entries:
                before = self.position
                tenant = self._directory.apply(entry)
                self._tell_applied(before, tenant)
                if tenant is not None:
                    self._untold[tenant.tenant] = tenant
        finally:
            await self._announce()
        if 0 < len(entries) < PAGE:  # nothing read is no news: a log that was emptied reads the same
            self._freshness.heard(asked)
        return bool(entries)

    def _verdict(self) -> Verdict:
        return self._freshness.verdict(boottime(), cut_off=self._standing.phase is Phase.CUT_OFF)

    def _tell_applied(self, before: Position, tenant: Tenant | None) -> None:
        if not self._logger.is_enabled_for(logging.DEBUG):
            return  # what it would say costs more than to apply the entry
        self._logger.debug(
            "applied",
            position=str(self.position),
            prev=str(before),
            tenant=tenant.tenant if tenant else None,
            version=tenant.version if tenant else None,
            state=type(tenant).__name__.lower() if tenant else None,
        )

    async def _announce(self) -> None:
        """Tell who keeps something of the changed tenants, then who waits for the position: all is up to date then.

        Invariant: who was not told stays to be told, however often telling fails.
        """
        if self._untold:
            told = dict(self._untold)
            await self._on_change(list(told.values()))
            self._untold = {name: tenant for name, tenant in self._untold.items() if told.get(name) is not tenant}
        self._announced = self.position
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _enter(self, phase: Phase, reason: str | None = None) -> None:
        self._standing.enter(phase, reason, position=self.position)
        self._wake()


def _told(finding: Finding, position: Position, end: Position | None, *, restores: bool) -> str:
    """Say what was found, and what comes of it."""
    held = "nothing" if position == START else f"what it read up to {position}"
    then = "It restores the log from what it holds." if restores else _KEEP
    match finding:
        case Finding.LOG_GONE:
            return f"The log is gone; this replica still serves {held}. {then}"
        case Finding.LOG_REPLACED:
            return f"The log is another one, which ends at {end}; this replica still serves {held}. {then}"
        case Finding.LOG_SHORTENED:
            return f"The log ends at {end} and has lost entries; this replica still serves {held}. {then}"
        case Finding.RESYNCHRONISED | Finding.CAUGHT_UP:
            return f"Entries after {position} are in the log no more; heads and keys tell what they said."
