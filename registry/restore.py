"""What a replica that holds more than the log has to say again, so that nothing acknowledged is forgotten.

Rules: pure. A tenant is compared as the replica holds it and as the log has it now. A removal ends every life of the
tenant that began before it, whoever went on changing it without knowing; of two lives the one that began later holds,
and of one life the later change. A version never goes back, and one that a tenant had on either way is not used for
another event.
"""

from datetime import datetime

import msgspec

from registry.entries import START
from registry.events import TenantEvent, TenantRestated
from registry.state import Live, Quarantined, Removed, Tenant


def newest(one: Tenant, other: Tenant, new_id: str) -> Tenant:
    """Return the state of a tenant that prevails, as `restated` says it; one that cannot be read gives way."""
    if isinstance(one, Quarantined) or isinstance(other, Quarantined):
        return other if isinstance(one, Quarantined) else one
    return one if one.event_id == other.event_id else _prevailing(one, other, new_id)


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
    holds = _prevailing(held, current, new_id)
    return None if holds is current else msgspec.structs.replace(holds, position=START)


def _prevailing(one: Live | Removed, other: Live | Removed, new_id: str) -> Live | Removed:
    """Return the one that holds; under a version that neither had, and so as an event of its own, if that is lower."""
    holds, gives_way = (one, other) if _overrules(one, other) else (other, one)
    if holds.version > gives_way.version:
        return holds
    return msgspec.structs.replace(
        holds, position=START, version=gives_way.version + 1, event_id=new_id, command_id=new_id
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
    return _order(one) > _order(other)


def _order(tenant: Live | Removed) -> tuple[datetime, bool, datetime, int, str]:
    """Return the key by which the greater of two states prevails: a total order, so all replicas agree.

    A removal comes after every life that began before it, and a life that began later after the removal. What is said
    anew of a state has its times and a higher version, so that it is not said once more.
    """
    removed = isinstance(tenant, Removed)
    since = tenant.changed_at if isinstance(tenant, Removed) else tenant.born
    return since, removed, tenant.changed_at, tenant.version, tenant.event_id
