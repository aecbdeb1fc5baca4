"""What a replica that holds more than the log has to say again, so that nothing acknowledged is forgotten.

Rules: pure. A tenant is compared as the replica holds it and as the log has it now. Of the two the one that was changed
later holds, but a removal ends every life of the tenant that began before it, whoever went on changing it without
knowing. A version never goes back, and one that a tenant had on either way is not used for another event.
"""

import msgspec

from registry.events import TenantEvent, TenantRestated
from registry.log import START
from registry.state import Live, Quarantined, Removed, Tenant


def newest(one: Tenant | None, other: Tenant | None) -> Tenant | None:
    """Return the one of two states of a tenant that holds; what cannot be read gives way."""
    if one is None or other is None:
        return one or other
    if isinstance(one, Quarantined) or isinstance(other, Quarantined):
        return other if isinstance(one, Quarantined) else one
    return one if _overrules(one, other) else other


def restated(held: Tenant, current: Tenant | None, new_id: str) -> Live | Removed | None:
    """Return what is to be said of the tenant, or None if the log says it already.

    Args:
        held: The tenant as the replica holds it.
        current: As the log has it now.
        new_id: The event's id, where what is to be said is no event of before.
    """
    if isinstance(held, Quarantined) or isinstance(current, Quarantined):
        return None  # what cannot be read here is not this replica's to say, nor to say otherwise
    if current is None:
        return msgspec.structs.replace(held, position=START)
    if held.event_id == current.event_id:
        return None
    holds, gives_way = (held, current) if _overrules(held, current) else (current, held)
    if holds.version > gives_way.version:
        return msgspec.structs.replace(holds, position=START) if holds is held else None
    return msgspec.structs.replace(
        holds,
        position=START,
        version=gives_way.version + 1,
        event_id=new_id,
        command_id=new_id,
    )


def event_of(said: Live | Removed, current: Tenant | None) -> TenantRestated:
    """Return the event that says it; its tenant's history goes on behind `current`."""
    live = said if isinstance(said, Live) else None
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
        born=live.born if live else None,
        config=live.config if live else None,
        secret=live.secret if live else None,
    )


def with_mac(said: Live | Removed, event: TenantEvent) -> Live | Removed:
    """Return the tenant as the signed event leaves it."""
    return msgspec.structs.replace(said, mac=event.mac or None)


def _overrules(one: Live | Removed, other: Live | Removed) -> bool:
    """Whether `one` holds and `other` gives way."""
    match one, other:
        case Removed(), Live():
            # Invariant: a removal keeps its time when it is said anew, or it would end lives that began after it.
            return one.changed_at >= other.born
        case Live(), Removed():
            return one.born > other.changed_at
        case _:
            # What is said anew of a state has its time and a higher version, so that it is not said once more.
            return (one.changed_at, one.version, one.event_id) > (other.changed_at, other.version, other.event_id)
