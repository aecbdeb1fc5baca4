"""What a replica that holds more than the log has to say again, so that nothing acknowledged is forgotten.

Rules: pure. A tenant is compared as the replica holds it and as the log has it now; of the two the one that was changed
later holds, with one exception: a removal is not undone by who did not know of it. A version never goes back, and one
that a tenant had on either way is not used for another event.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto

import msgspec

from registry.events import TenantEvent, TenantRegistered, TenantRemoved, TenantRestated
from registry.log import START
from registry.state import Live, Quarantined, Removed, Tenant


class Lineage(Enum):
    """How the log's present state of a tenant came about, seen from a removal that a replica holds."""

    INCLUDED = auto()
    """The removal is among the tenant's events."""
    ANEW = auto()
    """It is not, but the tenant was registered anew since: somebody wanted it, whatever had been."""
    UNAWARE = auto()
    """The tenant was never anything but live to who changed it: they would have it back by mistake."""


def newest(one: Tenant | None, other: Tenant | None) -> Tenant | None:
    """Return the one of two states of a tenant that was changed later; what cannot be read gives way."""
    if one is None or other is None:
        return one or other
    if isinstance(one, Quarantined) or isinstance(other, Quarantined):
        return other if isinstance(one, Quarantined) else one
    return max(one, other, key=_order)


def _order(known: Live | Removed) -> tuple[datetime, int, str]:
    """Return what of two states the later one has more of.

    Invariant: what is said anew of a state has its time and a higher version, so that it is not said once more.
    """
    return known.changed_at, known.version, known.event_id


def depends_on_lineage(held: Tenant, current: Tenant | None) -> bool:
    """Whether `restated` needs the lineage of `current`: it is live, and newer than the removal that is held."""
    return (
        isinstance(held, Removed)
        and isinstance(current, Live)
        and held.event_id != current.event_id
        and current.changed_at > held.changed_at
    )


def lineage_of(removal: Removed, events_back: Sequence[TenantEvent]) -> Lineage:
    """Return how a live tenant came about; `events_back` are its events in the log, the last first, as far as known."""
    for event in events_back:
        if event.event_id == removal.event_id:
            return Lineage.INCLUDED
        if event.time <= removal.changed_at:
            break
        if isinstance(event, TenantRemoved) or (isinstance(event, TenantRegistered) and event.previous is None):
            return Lineage.ANEW
        if isinstance(event, TenantRestated) and event.version > removal.version:
            return Lineage.ANEW  # said by who had read on in the lost log, behind the removal
    return Lineage.UNAWARE


def restated(held: Tenant, current: Tenant | None, lineage: Lineage, new_id: str) -> Live | Removed | None:
    """Return what is to be said of the tenant, or None if the log says it already.

    Args:
        held: The tenant as the replica holds it.
        current: As the log has it now.
        lineage: Of `current`; matters only where `depends_on_lineage` says so.
        new_id: The event's id, where what is to be said is no event of before.
    """
    if isinstance(held, Quarantined) or isinstance(current, Quarantined):
        return None  # what cannot be read here is not this replica's to say, nor to say otherwise
    if current is None:
        return msgspec.structs.replace(held, position=START)
    if held.event_id == current.event_id:
        return None
    overrules = _order(held) > _order(current)
    if depends_on_lineage(held, current):
        overrules = lineage is Lineage.UNAWARE
        if lineage is Lineage.INCLUDED:
            return None
    chosen = held if overrules else current
    if chosen.version > (current if overrules else held).version:
        return msgspec.structs.replace(chosen, position=START) if overrules else None
    return msgspec.structs.replace(
        chosen,
        position=START,
        version=max(held.version, current.version) + 1,
        event_id=new_id,
        command_id=new_id,
        changed_at=max(held.changed_at, current.changed_at),
    )


def event_of(said: Live | Removed, current: Tenant | None) -> TenantRestated:
    """Return the event that says it; its tenant's history goes on behind `current`."""
    return TenantRestated(
        event_id=said.event_id,
        time=said.changed_at,
        actor=said.changed_by,
        tenant=said.tenant,
        version=said.version,
        command_id=said.command_id,
        digest=said.digest,
        previous=current.position.entry if current else None,
        reason="said again after the log had lost it",
        config=said.config if isinstance(said, Live) else None,
        secret=said.secret if isinstance(said, Live) else None,
    )


def with_mac(said: Live | Removed, event: TenantEvent) -> Live | Removed:
    """Return the tenant as the signed event leaves it."""
    return msgspec.structs.replace(said, mac=event.mac or None)
