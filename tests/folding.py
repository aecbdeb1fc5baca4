"""Tenants' events in a log in memory, written as the service writes them, and the keys beside it."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from projections.directory import Directory
from registry import codec
from registry.entries import START, Entry, Foreign, Position
from registry.events import SealedSecret, TenantConfig, TenantEvent, TenantRegistered, TenantRemoved
from registry.log import Appended, KeepKey, Proposal
from registry.memory_log import MemoryLog
from registry.state import Live, Quarantined, Tenant, evolve
from registry.stored import document_of, proposed_head
from tests.logs import append_one

NOON: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class World:
    """One log, the documents under the tenants' keys, and what all of it should be folded into."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.keys: dict[str, bytes] = {}
        self.directory = Directory()
        self._ticks = itertools.count(1)

    def it_is(self, tick: int) -> None:
        """Set the clock, so many seconds after noon; each event takes one."""
        self._ticks = itertools.count(tick)

    async def documents(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """Return what stands under the tenants' keys, as `Documents` promises."""
        return [self.keys.get(tenant) for tenant in tenants]

    async def begin(self, *, anew: bool = False) -> None:
        """Make the log's first entry."""
        name = f"epoch-{next(self._ticks)}"
        body = b'{"type":"log_created.v1","event_id":"%s","time":"2026-11-22T10:00:00Z","actor":"a","epoch":"%s"}'
        await self.log.create("log_created.v1", body % (name.encode(), name.encode()), name, anew=anew)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Fold what the log has and the directory has not."""
        for entry in await self.log.read(self.directory.position, 10_000):
            self.directory.apply(entry)

    async def register(
        self,
        tenant: str = "acme",
        *,
        host: str = "db",
        secret: SealedSecret | None = None,
        password_ref: str | msgspec.UnsetType = msgspec.UNSET,
    ) -> Live:
        """Register, and write the key."""
        before = self.directory.tenant(tenant)
        event = TenantRegistered(
            **_told(tenant, before, next(self._ticks)),
            config=TenantConfig(host=host, database="app", user="reader", password_ref=password_ref),
            secret=secret,
        )
        after = await self._append(before, event)
        assert isinstance(after, Live)
        self.keys[tenant] = document_of(after)
        return after

    async def remove(self, tenant: str = "acme") -> Tenant:
        """Remove, and delete the key."""
        before = self.directory.tenant(tenant)
        self.keys.pop(tenant, None)
        return await self._append(before, TenantRemoved(**_told(tenant, before, next(self._ticks))))

    async def garble(self, tenant: str = "acme") -> Tenant:
        """Append an event of the tenant whose body a replica of today cannot read; the key stays."""
        before = self.directory.tenant(tenant)
        told = _told(tenant, before, next(self._ticks))
        event = TenantRegistered(**told, config=TenantConfig(host="unreadable", database="app", user="reader"))
        body = msgspec.json.encode({"tenant": tenant, "version": event.version, "event_id": event.event_id})
        return await self._append(before, event, body)

    def survivor(self) -> Directory:
        """Return what a replica holds that has read everything so far."""
        held = Directory()
        held.become(self.directory)
        return held

    def lose_stream(self) -> None:
        """Delete the entries; heads and keys stay."""
        self.log._entries.clear()
        self.log._end = None
        self.directory = Directory()

    def lose_everything(self) -> None:
        """Flush."""
        self.lose_stream()
        self.log._epoch = None
        self.log._heads.clear()
        self.log._keys.clear()
        self.keys.clear()

    def take_out(self, *seqs: int) -> None:
        """Delete entries by their numbers."""
        self.log._entries = [entry for entry in self.log._entries if _seq(entry) not in seqs]

    async def _append(self, before: Tenant | None, event: TenantEvent, data: bytes | None = None) -> Tenant:
        after = evolve(before, event, START)
        assert not isinstance(after, Quarantined)
        proposal = Proposal(
            tenant=event.tenant,
            expected=before.position.seq if before else 0,
            after=self.directory.position,
            type=codec.type_of(event),
            data=data or codec.encode(event),
            head=proposed_head(after),
            key=KeepKey(),
        )
        outcome = await append_one(self.log, proposal)
        assert isinstance(outcome, Appended)
        await self.catch_up()
        known = self.directory.tenant(event.tenant)
        assert known is not None
        return known


def facts_of(directory: Directory) -> tuple[Position, object, dict[str, Tenant]]:
    """Return all that a directory says, to be compared."""
    return directory.position, directory.epoch, {tenant.tenant: tenant for tenant in directory.all()}


def _told(tenant: str, before: Tenant | None, tick: int) -> dict[str, Any]:
    return {
        "event_id": f"event-{tick}",
        "time": NOON + timedelta(seconds=tick),
        "actor": "ann",
        "tenant": tenant,
        "version": before.version + 1 if before else 1,
        "command_id": f"command-{tick}",
        "digest": "one:0d",
        "previous": before.position.entry if before else None,
    }


def _seq(entry: Entry | Foreign) -> int:
    return 0 if isinstance(entry, Foreign) else entry.position.seq


def entry_of(raw: bytes, fields: dict[bytes, bytes]) -> Entry | Foreign:
    """Read an entry in the library's own shape."""
    return codec.read_envelope(raw, [word for field in fields.items() for word in field])
