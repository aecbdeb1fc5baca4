"""What one tenant is, and how events change it.

Rules: pure; no clock, no randomness, no log line, no await. The transitions are a table. An event that the table does
not have, or whose version is not the next one, raises and changes nothing: the log is corrupt, and nobody guesses.
"""

from datetime import datetime
from sys import intern
from typing import Final, TypeAlias

import msgspec

from registry.codec import Named, TenantDocument
from registry.entries import Position
from registry.errors import UnexpectedEvent
from registry.events import (
    SealedSecret,
    TenantConfig,
    TenantEvent,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
    is_removal,
)


class Live(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tenant that may be used."""

    tenant: str
    version: int
    position: Position
    event_id: str
    command_id: str
    digest: str
    changed_at: datetime
    changed_by: str
    born: datetime
    """When its present life began: by the registration that found no live tenant."""
    mac: str | None = None
    config: TenantConfig
    secret: SealedSecret | None

    @property
    def fingerprint(self) -> tuple[str | int | None, ...]:
        """All that a connection depends on: as long as it is equal, open connections may stay."""
        return (*self.config.login, self.secret.version if self.secret else 0, self.config.password_ref or None)

    @property
    def document(self) -> TenantDocument:
        """What stands under the tenant's key."""
        return TenantDocument(
            tenant_id=self.tenant,
            version=self.version,
            seq=self.position.seq,
            entry=self.position.entry,
            event_id=self.event_id,
            changed_at=self.changed_at.isoformat(),
            changed_by=self.changed_by,
            secret=self.secret,
            **msgspec.structs.asdict(self.config),
        )


class Removed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tenant that was, and may not be used. Its version goes on if it is registered again."""

    tenant: str
    version: int
    position: Position
    event_id: str
    command_id: str
    digest: str
    changed_at: datetime
    changed_by: str
    mac: str | None = None


class Quarantined(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tenant whose last event this replica cannot read, so that it does not know what the tenant is now.

    It is not used until an event that can be read states it anew.
    """

    tenant: str
    version: int
    position: Position
    event_id: str = ""
    mac: str | None = None
    reason: str


Tenant: TypeAlias = Live | Removed | Quarantined


Known: TypeAlias = tuple[type[Tenant] | None, int, datetime | None]
"""As much of a tenant as tells which event may come next: its kind, its version, and since when it lives."""

TRANSITIONS: Final[frozenset[tuple[type[Tenant] | None, type[TenantEvent]]]] = frozenset(
    {
        (None, TenantRegistered),
        (Live, TenantRegistered),
        (Removed, TenantRegistered),
        (Quarantined, TenantRegistered),
        (Live, TenantRemoved),
        (Quarantined, TenantRemoved),
        (None, TenantRestated),
        (Live, TenantRestated),
        (Removed, TenantRestated),
        (Quarantined, TenantRestated),
    }
)
"""Which events may follow in which state; None is a tenant that the log has not told of. The event alone says what the
tenant is then."""


def quarantined(named: Named, position: Position, reason: str) -> Quarantined:
    """Return what a tenant is after an event of which no more can be read than `named`, at `position`."""
    return Quarantined(
        tenant=named.tenant,
        version=named.version,
        position=position,
        event_id=named.event_id,
        mac=named.mac or None,
        reason=reason,
    )


def evolve(tenant: Tenant | None, event: TenantEvent, position: Position) -> Tenant:
    """Return what the tenant is after `event`, which stands at `position`; `UnexpectedEvent` if it may not come now."""
    return stated(event, position, follow(known(tenant), event, position))


def known(tenant: Tenant | None) -> Known:
    """Return what is known of the tenant; None is one that the log has not told of."""
    if tenant is None:
        return None, 0, None
    return type(tenant), tenant.version, tenant.born if isinstance(tenant, Live) else None


def follow(before: Known, event: TenantEvent, position: Position) -> datetime | None:
    """Return what `since` does; `UnexpectedEvent` if the event may not come now."""
    kind, version, born = before
    if (kind, type(event)) not in TRANSITIONS:
        raise UnexpectedEvent(
            f"Entry {position.entry} says {type(event).__name__} of tenant {event.tenant!r}, "
            f"which is {kind.__name__ if kind else 'unknown'} at that point.",
            entry=position.entry,
        )
    if not may_follow(event.version, version, restated=isinstance(event, TenantRestated)):
        raise UnexpectedEvent(
            f"Entry {position.entry} is version {event.version} of tenant {event.tenant!r}; {version + 1} comes next.",
            entry=position.entry,
        )
    return since(event, born)


def may_follow(version: int, before: int, *, restated: bool) -> bool:
    """Whether an event of `version` may come after `before`, the tenant's last version or 0.

    What a log had lost is said again as of its last version: others may be missing before it.
    """
    return version == before + 1 or (restated and version > before)


def since(event: TenantEvent, born: datetime | None) -> datetime | None:
    """Return when the tenant's life began, as of `event`; None if that removes it. `born`: the same, before."""
    if is_removal(event):
        return None
    return (event.born if isinstance(event, TenantRestated) else born) or event.time


def stated(event: TenantEvent, position: Position, born: datetime | None) -> Live | Removed:
    """Return what the tenant is after `event`, whatever it was before: each event states the whole tenant.

    All but when its life began: `born`, where that was not by this very event.
    """
    # One text in memory instead of two, and instead of one for each tenant.
    command_id = event.event_id if event.command_id == event.event_id else event.command_id
    changed_by = intern(event.actor)
    if isinstance(event, TenantRemoved) or event.config is None:
        return Removed(
            tenant=event.tenant,
            version=event.version,
            position=position,
            event_id=event.event_id,
            command_id=command_id,
            digest=event.digest,
            changed_at=event.time,
            changed_by=changed_by,
            mac=event.mac or None,
        )
    return Live(
        tenant=event.tenant,
        version=event.version,
        position=position,
        event_id=event.event_id,
        command_id=command_id,
        digest=event.digest,
        changed_at=event.time,
        changed_by=changed_by,
        born=born or event.time,
        mac=event.mac or None,
        config=event.config.interned(),
        secret=event.secret.interned() if event.secret else None,
    )
