"""The one loop that reads the log on start and tails it afterwards.

What does not link is not served and not skipped: the loop finds out what has become of the log
(`projections/diagnosis.py`), makes a directory of it as it is (`projections/rebuild.py`), says again what was lost
where that is the policy (`projections/restoration.py`), and only then changes over, all at once. Until then it serves
what it holds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from projections.clock import boottime
from projections.diagnosis import Finding, diagnose
from projections.directory import Directory
from projections.freshness import Freshness
from projections.phase import OnLoss, Phase
from projections.reasons import KEEP, MISFIT, PUT_BACK, reason_of
from projections.rebuild import PAGE, Rebuilder, Rebuilt
from projections.restoration import Restorer
from projections.view import View
from registry.entries import START, Position
from registry.errors import (
    CorruptEntry,
    LogDiverged,
    RegistryUnavailable,
    SecretUnreadable,
    UnexpectedEvent,
    UnsafeRedis,
)
from registry.log import TenantLog
from registry.state import Tenant

_WAIT: Final = 0.8
"""Seconds that a read blocks; the log's end is looked at as often when nothing comes, so that a loss is seen in one."""
_BACKOFF: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_LOOK_AGAIN: Final = 10.0
_SHOWN: Final = 20
"""Ids in a message."""

OnChange: TypeAlias = Callable[[Sequence[Tenant]], Awaitable[None]]
OnCaughtUp: TypeAlias = Callable[[], Awaitable[None]]


class Follower(View):
    """Keeps a `Directory` equal to the log, and lets others see it.

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
        super().__init__(log, directory, freshness)
        self._on_change = on_change
        self._on_caught_up = on_caught_up
        self._rebuilder = rebuilder
        self._restorer = restorer
        self._on_loss = on_loss
        self._restores = on_loss is OnLoss.RESTORE
        self._tries = 0
        self._doubts = False
        self._next_look = 0.0
        self._untold: dict[str, Tenant] = {}

    @property
    def steps(self) -> int:
        """How much was read so far; grows as long as something is."""
        return self._rebuilder.done + self.position.seq

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
        end = await self._log.end()
        if end is None and not self._restores:
            trace = await self._restorer.trace()
            if trace:
                raise LogDiverged(f"There is no log, and {trace} says that there was one: none is begun. {PUT_BACK}")
            if self._on_loss is OnLoss.LOOK_ON:
                return START
        end = end or await self._restorer.begin()
        if end is None:
            reason = reason_of(Finding.LOG_GONE, self.position, None, restores=self._restores)
            await self._resynchronise(Finding.LOG_GONE, reason)
            return self.position
        if end.seq == 1 and not self._tries:
            self._logger.warning(
                "the log is new and empty, as on a first start; if there were tenants before, keep the replicas "
                "running that still know them"
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
        doubts, self._doubts = self._doubts and not finding.is_loss, self._doubts and finding.is_loss
        if finding is Finding.CAUGHT_UP and end is not None and not doubts:
            return end
        reason = MISFIT if doubts else reason_of(finding, self.position, end, restores=self._restores)
        await self._resynchronise(Finding.RESYNCHRONISED if doubts else finding, reason)
        return self.position

    async def _resynchronise(self, finding: Finding, reason: str) -> None:
        """Change over to what the log says now, and before that say again what it has lost."""
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
            raise LogDiverged(f"The log does not say what is known of {len(missing)} tenants ({names}). {KEEP}")
        if missing:
            self._enter(Phase.RESTORING, f"The log does not say what is known of {len(missing)} tenants.")
            live, removed = await self._restorer.restore(held, rebuilt.directory, self._directory, finding)
            epoch = rebuilt.directory.epoch
            self._logger.info(
                "log restored",
                finding=finding,
                tenants=len(rebuilt.directory),
                restated=live,
                restated_removed=removed,
                epoch=epoch.name if epoch else None,
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
