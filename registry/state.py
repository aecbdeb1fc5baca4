"""What one tenant is, and how events change it.

Rules: pure; no clock, no randomness, no log line, no await. The transitions are a table. An event that the table does
not have, or whose version is not the next one, raises and changes nothing: the log is corrupt, and nobody guesses.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from registry.codec import TenantDocument
from registry.errors import UnexpectedEvent
from registry.events import (
    SealedSecret,
    TenantConfig,
    TenantEvent,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
)
from registry.log import Position


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
    def fingerprint(self) -> tuple[str, int, str, str, str, int]:
        """All that a connection depends on: as long as it is equal, open connections may stay."""
        config = self.config
        secret_version = self.secret.version if self.secret else 0
        return (config.host, config.port, config.database, config.user, config.ssl, secret_version)

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

_Transition: TypeAlias = Callable[[Any, Position, datetime | None], Tenant]


def _live(event: TenantRegistered | TenantRestated, position: Position, born: datetime | None) -> Live | Removed:
    if event.config is None:
        return _removed(event, position, None)
    return Live(
        tenant=event.tenant,
        version=event.version,
        position=position,
        event_id=event.event_id,
        command_id=_same(event.command_id, event.event_id),
        digest=event.digest,
        changed_at=event.time,
        changed_by=event.actor,
        born=event.time if born is None else born,
        mac=event.mac or None,
        config=event.config,
        secret=event.secret,
    )


def _removed(event: TenantRemoved | TenantRestated, position: Position, _born: datetime | None) -> Removed:
    return Removed(
        tenant=event.tenant,
        version=event.version,
        position=position,
        event_id=event.event_id,
        command_id=_same(event.command_id, event.event_id),
        digest=event.digest,
        changed_at=event.time,
        changed_by=event.actor,
        mac=event.mac or None,
    )


def _same(text: str, other: str) -> str:
    """Return `other` where it is equal: one text in memory instead of two."""
    return other if text == other else text


TRANSITIONS: Final[dict[tuple[type[Tenant] | None, type[TenantEvent]], _Transition]] = {
    (None, TenantRegistered): _live,
    (Live, TenantRegistered): _live,
    (Removed, TenantRegistered): _live,
    (Quarantined, TenantRegistered): _live,
    (Live, TenantRemoved): _removed,
    (Quarantined, TenantRemoved): _removed,
    (None, TenantRestated): _live,
    (Live, TenantRestated): _live,
    (Removed, TenantRestated): _live,
    (Quarantined, TenantRestated): _live,
}


def evolve(tenant: Tenant | None, event: TenantEvent, position: Position) -> Tenant:
    """Return what the tenant is after `event` at `position`; `UnexpectedEvent` when it may not come now."""
    step = TRANSITIONS.get((type(tenant) if tenant else None, type(event)))
    if step is None:
        raise UnexpectedEvent(
            f"Entry {position.entry} says {type(event).__name__} of tenant {event.tenant!r}, "
            f"which is {type(tenant).__name__ if tenant else 'unknown'} at that point.",
            entry=position.entry,
        )
    expected = (tenant.version if tenant else 0) + 1
    # What a log had lost is said again as of its last version: others may be missing before it.
    late = isinstance(event, TenantRestated) and event.version > expected
    if event.version != expected and not late:
        raise UnexpectedEvent(
            f"Entry {position.entry} is version {event.version} of tenant {event.tenant!r}; {expected} comes next.",
            entry=position.entry,
        )
    return step(event, position, _born(tenant, event))


def stated(event: TenantEvent, position: Position, born: datetime | None) -> Live | Removed:
    """Return what the tenant is after `event`, whatever it was before: each event states the whole tenant.

    All but when its life began: `born`, where that was not by this very event.
    """
    return _removed(event, position, born) if isinstance(event, TenantRemoved) else _live(event, position, born)


def _born(tenant: Tenant | None, event: TenantEvent) -> datetime | None:
    if isinstance(event, TenantRestated):
        return event.born
    return tenant.born if isinstance(tenant, Live) else None
