"""The one loop that replays the log on start and tails it afterwards.

Replay and tail go through the same `Directory.apply`. What does not link is not served and not skipped: the loop says
so, keeps what it holds, and goes on only when the log holds its position again.
"""

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

import msgspec
import structlog

from projections.directory import Directory
from projections.progress import Progress
from registry import codec
from registry.errors import CorruptEntry, LogDiverged, RegistryUnavailable, SecretUnreadable, TenancyError
from registry.events import LogCreated
from registry.log import START, Position, TenantLog
from registry.state import Live, Tenant

_PAGE: Final = 1000
"""Entries a page: 1,000 hold the event loop for 4 ms, 10,000 for 40."""
_WAIT: Final = 1.0
"""Seconds that a read blocks; the log's end is looked at as often when nothing comes."""
_BACKOFF: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_CATCH_UP: Final = 5.0

OnChange: TypeAlias = Callable[[Sequence[Tenant]], Awaitable[None]]
OnCaughtUp: TypeAlias = Callable[[], Awaitable[None]]


_KEEP: Final = "Restore Redis, and do not restart the replicas before: they hold what the log has lost."


class Phase(enum.StrEnum):
    """What the follower is doing."""

    CONNECTING = "connecting"
    REPLAYING = "replaying"
    FOLLOWING = "following"
    CUT_OFF = "cut_off"
    DIVERGED = "diverged"
    HALTED = "halted"


_STUCK: Final = frozenset({Phase.DIVERGED, Phase.HALTED})
"""Phases in which nothing more is folded: there is nothing to wait for."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot for health checks. `ready`: the whole fold was in once, and nothing unreadable stopped it since."""

    phase: Phase
    ready: bool
    position: str
    tenants: int
    reason: str | None = None

    @property
    def stuck(self) -> bool:
        """Whether nothing more is folded until somebody mends something: there is nothing to wait for."""
        return self.phase in _STUCK


class Follower:
    """Keeps a `Directory` equal to the log.

    Args:
        log: What is followed; its blocking reads use a connection of their own.
        directory: What is kept; nobody else may apply to it.
        on_change: Told the tenants that a page of entries changed, after the directory has them; awaited.
        on_caught_up: Called each time the tail is about to begin, after a replay or a lost connection. May raise
            `SecretUnreadable`: then this replica is of no use, and halts.
        now, new_id: The clock and fresh ids, for the log's first entry.
    """

    def __init__(
        self,
        *,
        log: TenantLog,
        directory: Directory,
        on_change: OnChange,
        on_caught_up: OnCaughtUp,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._log = log
        self._directory = directory
        self._on_change = on_change
        self._on_caught_up = on_caught_up
        self._now = now
        self._new_id = new_id
        self._phase = Phase.CONNECTING
        self._reason: str | None = None
        self._complete = asyncio.Event()
        self._moved = asyncio.Event()
        self._announced = 0
        self._untold: dict[str, Tenant] = {}
        self._halted: type[TenancyError] = RegistryUnavailable
        self._logger = structlog.get_logger("follower")

    @property
    def position(self) -> Position:
        """How far the log is folded."""
        return self._directory.position

    @property
    def status(self) -> Status:
        """Return what the follower is doing now."""
        return Status(
            phase=self._phase,
            ready=self._complete.is_set() and self._phase is not Phase.HALTED,
            position=str(self.position),
            tenants=len(self._directory),
            reason=self._reason,
        )

    async def run(self) -> None:
        """Follow until cancelled, or for good until an entry cannot be read. Raises nothing of its own."""
        tries = 0
        while self._phase is not Phase.HALTED:
            try:
                await self._catch_up()
                await self._fold_page(_WAIT)
                tries = 0  # not before the tail's own connection has answered
                await self._tail()
            except RegistryUnavailable as error:
                self._enter(Phase.CUT_OFF if self._complete.is_set() else Phase.CONNECTING, error.message)
            except LogDiverged as error:
                self._enter(Phase.DIVERGED, error.message)
            except (CorruptEntry, SecretUnreadable) as error:
                self._halted = type(error)
                self._enter(Phase.HALTED, error.message)
            except Exception:  # the supervising loop: a replica that stopped following must not look ready
                self._logger.exception("follower broke")
                self._enter(Phase.HALTED, "The follower broke; the log of this replica has the cause. Restart it.")
            await asyncio.sleep(_BACKOFF[min(tries, len(_BACKOFF) - 1)])
            tries += 1

    def require_ready(self) -> None:
        """Raise unless the whole fold was in once: `RegistryUnavailable`, or why the log cannot be read."""
        if self._phase is Phase.HALTED or not self._complete.is_set():
            self._require_following()

    async def tenant(self, tenant_id: str) -> Tenant | None:
        """Return the tenant for use. One that is unknown or removed here may be live elsewhere: the log is asked first.

        Raises what `require_ready` and, for such a tenant, `refresh` raise. May be cancelled.
        """
        self.require_ready()
        known = self._directory.tenant(tenant_id)
        return known if isinstance(known, Live) else await self.refresh(tenant_id)

    async def complete(self) -> None:
        """Wait until the whole fold was in once. May be cancelled."""
        await self._complete.wait()

    def knows(self, tenant_id: str) -> bool:
        """Whether the fold has the tenant, live or not."""
        return self._directory.tenant(tenant_id) is not None

    async def refresh(self, tenant_id: str) -> Tenant | None:
        """Fold up to the tenant's head and return the tenant; None if the log never heard of it.

        Raises `RegistryUnavailable` if Redis does not answer or the tail is late, `LogDiverged` and `CorruptEntry` if
        the log cannot be followed. May be cancelled.
        """
        self._require_following()
        head = await self._log.head(tenant_id)
        if head is not None and not await self.reached(head.position.seq):
            self._require_following()
            raise RegistryUnavailable("This replica is behind the log; try again.", position=str(self.position))
        return self._directory.tenant(tenant_id)

    async def reached(self, seq: int) -> bool:
        """Wait up to five seconds until the fold includes entry `seq` and everybody was told; return whether it does.

        May be cancelled.
        """
        try:
            async with asyncio.timeout(_CATCH_UP):
                while self._announced < seq and self._phase not in _STUCK:
                    await self._moved.wait()
        except TimeoutError:
            pass
        return self._announced >= seq

    async def _catch_up(self) -> None:
        """Fold everything up to an end that is fixed before, so that steady writers do not keep us from being ready."""
        end = await self._find_end()
        if self._phase is Phase.CONNECTING:
            self._enter(Phase.REPLAYING)
        progress = Progress(self._logger, end.seq)
        while self.position.seq < end.seq:
            if not await self._fold_page(0):
                raise LogDiverged(f"The log says it ends at {end}; nothing is to be read after {self.position}.")
            progress.report(self.position.seq)
        await self._announce()
        await self._on_caught_up()
        self._complete.set()
        self._enter(Phase.FOLLOWING)

    async def _find_end(self) -> Position:
        """Return the log's end, making the log if there is none yet; `LogDiverged` if it does not hold our position."""
        if self.position == START:
            first = LogCreated(event_id=self._new_id(), time=self._now(), actor="registry", epoch=self._new_id())
            end = await self._log.create(codec.type_of(first), codec.encode(first))
            if end is not None and end.seq == 1:
                self._logger.warning(
                    "the log is new and empty; if there were tenants, restore Redis and restart this replica alone: "
                    "replicas that still run hold what was lost"
                )
            if end is None:
                raise LogDiverged(
                    "The log is gone and its heads are still there: Redis lost or evicted the stream. Restore Redis "
                    "from a backup; nothing is written until then."
                )
            return end
        end = await self._log.end()
        await self._check_holds(end)
        return end or START

    async def _check_holds(self, end: Position | None) -> None:
        if end is None:
            raise LogDiverged(f"The log is gone; this replica still serves what it read up to {self.position}. {_KEEP}")
        if end.seq < self.position.seq or (end.seq == self.position.seq and end != self.position):
            raise LogDiverged(
                f"The log ends at {end}; this replica has read up to {self.position}: the log lost entries."
            )

    async def _tail(self) -> None:
        while True:
            if await self._fold_page(_WAIT):
                continue
            end = await self._log.end()
            await self._check_holds(end)
            # Between the empty read and the look at the end an entry may have come; one that is still not to be read
            # has an id below our position: another log's.
            if end != self.position and not await self._fold_page(0):
                raise LogDiverged(f"The log ends at {end}; nothing is to be read after {self.position}.")

    async def _fold_page(self, wait: float) -> bool:
        """Fold what comes after the position; return whether anything did."""
        await self._announce()
        entries = await self._log.read(self.position, _PAGE, wait)
        try:
            for entry in entries:
                before = self.position
                tenant = self._directory.apply(entry)
                if tenant is not None:
                    self._untold[tenant.tenant] = tenant
                if self._complete.is_set():
                    self._tell_applied(before, tenant)
        finally:
            await self._announce()
        return bool(entries)

    def _tell_applied(self, before: Position, tenant: Tenant | None) -> None:
        """Say what was folded, one line an entry; of a start's replay, the position that it ends at says it all."""
        if not self._logger.is_enabled_for(logging.DEBUG):  # what makes a line of it costs more than to fold it
            return
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
        self._announced = self.position.seq
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _require_following(self) -> None:
        """Refuse what needs the log while it cannot be followed, with the reason."""
        match self._phase:
            case Phase.FOLLOWING | Phase.CUT_OFF:
                return
            case Phase.DIVERGED:
                raise LogDiverged(self._reason or "The log is not the one this replica has read.")
            case Phase.HALTED:
                raise self._halted(self._reason or "The log has an entry that cannot be read.")
            case Phase.CONNECTING | Phase.REPLAYING:
                raise RegistryUnavailable(
                    f"This replica has not read the whole registry yet. {self._reason or 'Try again.'}"
                )

    def _enter(self, phase: Phase, reason: str | None = None) -> None:
        """Change the phase, and say so once, however often the reason is put anew."""
        entered = (phase, reason is None) != (self._phase, self._reason is None)
        self._phase, self._reason = phase, reason
        self._wake()
        if not entered:
            return
        log = self._logger.error if phase in _STUCK else self._logger.info if reason is None else self._logger.warning
        log("registry " + phase.replace("_", " "), phase=phase, reason=reason, position=str(self.position))
