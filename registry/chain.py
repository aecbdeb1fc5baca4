"""One tenant's events, from the last one back: each names the entry of the one before it.

Costs as many look-ups as there are events, however long the log is.
"""

from collections.abc import AsyncIterator

import msgspec

from registry import codec
from registry.entries import Entry, Position
from registry.errors import CompactedAway, CorruptEntry
from registry.events import TenantEvent, TenantRegistered, TenantRemoved, TenantRestated
from registry.log import TenantLog


class Recorded(msgspec.Struct, frozen=True):
    """An event and where it stands."""

    position: Position
    event: TenantEvent


async def events_back(log: TenantLog, last: str) -> AsyncIterator[Recorded]:
    """Yield a tenant's events from the entry `last` back to its first.

    Raises `RegistryUnavailable`, and `CorruptEntry`: `CompactedAway` where the log begins behind the next one.
    """
    at: str | None = last
    while at is not None:
        recorded = await _recorded(log, at)
        yield recorded
        at = recorded.event.previous


async def _recorded(log: TenantLog, at: str) -> Recorded:
    (entry,) = await log.entries([at])
    if entry is None and await log.before(at) is None:
        raise CompactedAway(f"Entry {at} was before the oldest one that the log still has.", entry=at)
    if not isinstance(entry, Entry):
        raise CorruptEntry(f"Entry {at} is missing from the log or is not this system's.", entry=at)
    event = codec.decode(entry)
    if not isinstance(event, TenantRegistered | TenantRemoved | TenantRestated):
        raise CorruptEntry(f"Entry {at} is no tenant's.", entry=at)
    return Recorded(entry.position, event)
