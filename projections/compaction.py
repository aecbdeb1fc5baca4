"""Entries before a place taken out of a log, once heads and keys say all that they did of the present.

The log notes the compaction before it happens, so that what is missing then is no loss to anybody who reads it. What
the entries said of the past is gone: a tenant's history begins with the oldest entry that is kept.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Protocol

import msgspec

from projections.heartbeats import heartbeats
from projections.inspection import Inspected
from registry import codec
from registry.archive import Archive
from registry.entries import Entry, Epoch, Position, entry_order
from registry.errors import LogDiverged, RegistryUnavailable
from registry.events import LogCompacted
from registry.log import TenantLog
from registry.names import Names
from registry.redis_client import RedisClient
from registry.signing import Signer

_ROUNDS: Final = 16
_PAUSES: Final = (0.0, 0.1, 0.4, 1.0)
"""Seconds before each look at the replicas: they tell of what they have applied a moment later."""


class Replicas(Protocol):
    """Knows how far each live replica has applied the log."""

    async def applied(self) -> Mapping[str, Position | None]:
        """Return each live replica's position, by name; None for one that does not follow the log as it is.

        Raises `RegistryUnavailable`.
        """


class PublishedReplicas:
    """Reads what the replicas tell of themselves in Redis."""

    def __init__(self, redis: RedisClient, names: Names) -> None:
        self._redis = redis
        self._names = names

    async def applied(self) -> Mapping[str, Position | None]:
        """See `Replicas.applied`."""
        return {
            each.name.decode(errors="replace"): state.whereabouts.position if state.whereabouts.linked else None
            for each in await heartbeats(self._redis, self._names)
            if (state := each.state) and state.live  # one that comes back later reads heads and keys
        }


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction would do: take out `entries` entries, so that `first` is the first one left.

    `end` is where the log ended when it was found that heads and keys cover it.
    """

    first: Position
    end: Position
    entries: int
    tenants: int
    epoch: Epoch | None


class Compactor:
    """Compacts one log.

    Args:
        log, archive: What is compacted.
        replicas: How far others are.
        signer: Signs what is noted, if events are signed here.
        actor: Who does it, for the log.
        now, new_id: The clock and fresh ids.
    """

    def __init__(
        self,
        log: TenantLog,
        archive: Archive,
        replicas: Replicas,
        signer: Signer,
        *,
        actor: str,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._log = log
        self._archive = archive
        self._replicas = replicas
        self._signer = signer
        self._actor = actor
        self._now = now
        self._new_id = new_id

    async def plan(self, inspected: Inspected, before: int | Position) -> Plan | None:
        """Return what there is to take out before a place, or a moment in milliseconds of Redis's clock; None: nothing.

        Raises `LogDiverged` if the log has no such place, or something would be lost, and `RegistryUnavailable`.
        """
        if inspected.count:
            raise LogDiverged(
                f"Nothing was taken out: {inspected.count} thing(s) are wrong with the log or what is kept beside it, "
                f"the first: {inspected.findings[0]}. Put that right first (log verify tells all)."
            )
        first = await self._first(inspected, before)
        oldest = inspected.verifier.first
        if oldest is None or first.seq <= oldest.seq:
            return None
        await self._require_applied(first)
        missing = sum(
            gap.before.seq - gap.after.seq - 1 for gap in inspected.verifier.gaps if gap.before.seq <= first.seq
        )
        taken = first.seq - 1 - missing
        snapshot = inspected.snapshot
        return Plan(first=first, end=snapshot.end, entries=taken, tenants=len(snapshot.heads), epoch=snapshot.epoch)

    async def compact(self, plan: Plan) -> int:
        """Note the compaction in the log and take the entries out; return how many. Raises as `plan` does."""
        await self._require_applied(plan.first)
        await self._archive.require_trim()  # before the log says what then does not happen
        event = LogCompacted(
            event_id=self._new_id(),
            time=self._now(),
            actor=self._actor,
            before=str(plan.first),
            tenants=plan.tenants,
            epoch=str(plan.epoch) if plan.epoch else msgspec.UNSET,
        )
        await self._note(self._signer.sign(event))
        taken = await self._archive.trim(plan.first, plan.end)
        if taken is None:
            raise LogDiverged(
                f"The log does not hold {plan.first} and {plan.end} any more: it has lost entries since it was looked "
                "at. Nothing was taken out."
            )
        return taken

    async def _note(self, event: LogCompacted) -> None:
        for _ in range(_ROUNDS):
            end = await self._log.end()
            if end is None:
                raise LogDiverged("The log is gone; nothing was taken out.")
            if await self._log.note(end, codec.type_of(event), codec.encode(event)):
                return
        raise RegistryUnavailable("Others keep appending to the log; nothing was taken out. Try again.")

    async def _first(self, inspected: Inspected, before: int | Position) -> Position:
        """Return the first entry to keep."""
        if isinstance(before, Position):
            (entry,) = await self._log.entries([before.entry])
            if not isinstance(entry, Entry) or entry.position != before:
                raise LogDiverged(f"The log has no entry {before}; log tail shows those there are.")
            return before
        end = inspected.snapshot.end
        if before > entry_order(end.entry)[0]:
            return end  # the last one always stays
        last_of_before = f"{before - 1}-{(1 << 64) - 1}"
        found = await self._log.read(Position(0, last_of_before), 1)
        return found[0].position if found and isinstance(found[0], Entry) else end

    async def _require_applied(self, first: Position) -> None:
        behind: list[str] = []
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            behind = _behind(await self._replicas.applied(), first)
            if not behind:
                return
        raise LogDiverged(
            f"Nothing was taken out: these replicas have not applied the log up to {first}: {', '.join(behind)}. "
            "Wait for them, or stop them."
        )


def _behind(applied: Mapping[str, Position | None], first: Position) -> list[str]:
    return [
        f"{name} ({at or 'not following it'})"
        for name, at in sorted(applied.items())
        if at is None or at.seq < first.seq or entry_order(at.entry) < entry_order(first.entry)
    ]
