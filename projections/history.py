"""The audit history: what happened to one tenant, read from the log itself.

Each event names the entry of the tenant's event before it, so a history costs as many look-ups as it has events,
however long the log is.
"""

import msgspec

from registry import codec
from registry.errors import CorruptEntry
from registry.events import TenantEvent, TenantRegistered, TenantRemoved
from registry.log import Entry, Position, TenantLog
from registry.state import Tenant


class Recorded(msgspec.Struct, frozen=True):
    """An event and where it stands."""

    position: Position
    event: TenantEvent


async def history_of(log: TenantLog, tenant: Tenant, limit: int) -> list[Recorded]:
    """Return the tenant's last `limit` events, newest first. Raises `RegistryUnavailable` and `CorruptEntry`."""
    told: list[Recorded] = []
    at: str | None = tenant.position.entry
    while at is not None and len(told) < limit:
        recorded = await _recorded(log, at)
        told.append(recorded)
        at = recorded.event.previous
    return told


async def _recorded(log: TenantLog, at: str) -> Recorded:
    entry = await log.entry(at)
    if not isinstance(entry, Entry):
        raise CorruptEntry(f"Entry {at} is missing from the log or is not this system's.", entry=at)
    event = codec.decode(entry)
    if not isinstance(event, TenantRegistered | TenantRemoved):
        raise CorruptEntry(f"Entry {at} is no tenant's.", entry=at)
    return Recorded(entry.position, event)
