"""What one event changed, in the words of the audit history; never a password."""

from typing import Any, Final

import msgspec

from registry.chain import Recorded
from registry.events import TenantConfig, TenantEvent, TenantRegistered, TenantRemoved, TenantRestated
from registry.root_ca import digest_of
from server.tenant_messages import Change

_WORDS: Final[dict[type[TenantEvent], str]] = {
    TenantRegistered: "registered",
    TenantRemoved: "removed",
    TenantRestated: "restated",
}


def change_of(recorded: Recorded, before: Recorded | None) -> Change:
    """Return what the event changed; `before` is the tenant's event before it, None if none is known."""
    event = recorded.event
    fields: dict[str, Any] = {}
    password_changed = False
    if not isinstance(event, TenantRemoved) and event.config is not None:
        old = before.event if before and not isinstance(before.event, TenantRemoved) else None
        fields = _difference(event.config, old.config if old else None)
        password_changed = event.secret != (old.secret if old else None)
    return Change(
        version=event.version,
        what=_WORDS[type(event)],
        at=event.time,
        by=event.actor,
        position=str(recorded.position),
        reason=event.reason,
        fields=fields,
        password_changed=password_changed,
        powers=_powers_of(event),
    )


def _powers_of(event: TenantEvent) -> list[str] | None:
    """Return what was recorded of the login; None where nobody looked."""
    if not isinstance(event, TenantRegistered) or isinstance(event.powers, msgspec.UnsetType):
        return None
    return list(event.powers)


def shown(config: TenantConfig) -> dict[str, Any]:
    """Return what a configuration says, field by field, with long texts by their digest."""
    root_ca = {"ssl_root_ca": digest_of(config.root_ca)} if config.root_ca else {}
    return {**msgspec.to_builtins(config), **root_ca}


def _difference(config: TenantConfig, before: TenantConfig | None) -> dict[str, Any]:
    new, old = shown(config), shown(before) if before else {}
    return {field: new.get(field) for field in (*new, *(old.keys() - new)) if old.get(field) != new.get(field)}
