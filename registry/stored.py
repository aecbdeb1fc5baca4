"""What is kept of a tenant beside the log: its head, and the document under its key. Together they are the tenant.

Rules: pure. What is read back is believed only as far as it fits: the document to the head's sum, both to one event.
"""

from sys import intern
from typing import Final

import msgspec

from registry.codec import TenantDocument, sum_of
from registry.entries import START, Head, Unreadable
from registry.state import Live, Removed

_DOCUMENT: Final = msgspec.json.Decoder(TenantDocument)


def document_of(tenant: Live) -> bytes:
    """Return what stands under the tenant's key. Equal states give equal bytes."""
    return msgspec.json.encode(tenant.document)


def head_of(tenant: Live | Removed) -> Head:
    """Return the tenant's head, as the append script writes it with the event that made the tenant so."""
    return Head(
        position=tenant.position,
        version=tenant.version,
        alive=isinstance(tenant, Live),
        event_id=tenant.event_id,
        command_id=tenant.command_id,
        digest=tenant.digest,
        changed_at=tenant.changed_at,
        changed_by=tenant.changed_by,
        born=tenant.born if isinstance(tenant, Live) else None,
        mac=tenant.mac,
        sum=sum_of(document_of(tenant)) if isinstance(tenant, Live) else None,
    )


def is_head_of(tenant: Live | Removed, found: Head | Unreadable | None, *, any_birth: bool = False) -> bool:
    """Whether `found`, what is kept as the tenant's head, is its head. The one rule for a head that is wrong.

    Args:
        tenant: As it was folded. That the log has gone on since is for the caller to see.
        found: None if nothing is kept.
        any_birth: Let the head say another moment at which the tenant's life began. For replicas: one that could not
            read some of the tenant's events takes a later moment for it than one that could, and they would overwrite
            each other's heads for ever. Who has read the whole log knows the moment.
    """
    expected = head_of(tenant)
    if any_birth and isinstance(found, Head):
        expected = msgspec.structs.replace(expected, born=found.born)
    return found == expected


def proposed_head(tenant: Live | Removed) -> Head:
    """Return the head of a tenant whose event is not appended yet: the log fills in the position."""
    return msgspec.structs.replace(head_of(tenant), position=START)


def tenant_of(tenant: str, head: Head, document: bytes | None) -> Live | Removed | None:
    """Return what head and document tell of the tenant; None if not all of it, or not of the same event."""
    if head.changed_at is None:
        return None
    command_id = head.event_id if head.command_id == head.event_id else head.command_id
    if not head.alive:
        return Removed(
            tenant=tenant,
            version=head.version,
            position=head.position,
            event_id=head.event_id,
            command_id=command_id,
            digest=head.digest,
            changed_at=head.changed_at,
            changed_by=intern(head.changed_by),
            mac=head.mac,
        )
    said = _read(document, head)
    if said is None or said.tenant_id != tenant or head.born is None:
        return None
    return Live(
        tenant=tenant,
        version=head.version,
        position=head.position,
        event_id=head.event_id,
        command_id=command_id,
        digest=head.digest,
        changed_at=head.changed_at,
        changed_by=intern(head.changed_by),
        born=head.born,
        mac=head.mac,
        config=said.config,
        secret=said.secret,  # its key is its own: there is nobody to share the name with
    )


def _read(document: bytes | None, head: Head) -> TenantDocument | None:
    if document is None or head.sum is None or sum_of(document) != head.sum:
        return None
    try:
        return _DOCUMENT.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
