"""From a command and what is known of the tenant to an event, or to a reason why not.

Rules: pure; time, ids and sealed secrets come in as arguments. A decision is valid for the state it was made on: the
log compares that state's sequence number with the tenant's head before it appends.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from registry.errors import InvalidInput, QuarantinedTenant, RemovedTenant, UnknownTenant, VersionConflict
from registry.events import SealedSecret, TenantConfig, TenantRegistered, TenantRemoved
from registry.state import Live, Quarantined, Removed, Tenant

_MOMENT: Final = timedelta(microseconds=1)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who commands what, when, why, and under which ids; `digest` is of the command's content."""

    actor: str
    reason: str | None
    time: datetime
    event_id: str
    command_id: str
    digest: str


class Unchanged(msgspec.Struct, frozen=True):
    """The tenant is exactly what the command asks for; there is nothing to append."""

    tenant: Live


def check_version(tenant_id: str, tenant: Tenant | None, expected: int | None) -> None:
    """Raise `VersionConflict` if the caller expects another version; a tenant never registered is at version 0."""
    current = tenant.version if tenant else 0
    if expected is not None and expected != current:
        raise VersionConflict(
            f"Tenant {tenant_id!r} is at version {current}, not {expected}; look at it again (get_tenant, "
            "tenant_history) and decide anew.",
            current_version=current,
        )


def check_twin(tenant_id: str, tenant: Tenant | None, twin: str | None) -> None:
    """Raise `InvalidInput` if the tenant would be a second one of its name but for case; one that is there may stay."""
    if twin is not None and not isinstance(tenant, Live | Quarantined):
        raise twin_taken(tenant_id, twin)


def twin_taken(tenant_id: str, twin: str) -> InvalidInput:
    """Return the error for an id that differs from a tenant's in case alone."""
    return InvalidInput(
        f"There is a tenant {twin!r}, and {tenant_id!r} differs from it only in case: use that one, or choose another "
        "tenant_id.",
        field="tenant_id",
        twin=twin,
    )


def is_unchanged(tenant: Tenant | None, config: TenantConfig, *, same_secret: bool) -> bool:
    """Whether registering `config` would state what already holds."""
    return isinstance(tenant, Live) and tenant.config == config and same_secret


def register(
    tenant_id: str, tenant: Tenant | None, config: TenantConfig, secret: SealedSecret | None, origin: Origin
) -> TenantRegistered:
    """Return the event that makes the tenant live with `config`; its version is the one after the tenant's last."""
    return TenantRegistered(
        tenant=tenant_id,
        version=next_version(tenant),
        previous=tenant.position.entry if tenant else None,
        config=config,
        secret=secret,
        **_told(origin, tenant),
    )


def remove(tenant_id: str, tenant: Tenant | None, origin: Origin) -> TenantRemoved:
    """Return the event that ends the tenant; `UnknownTenant` or `RemovedTenant` if there is none to end."""
    present = require_present(tenant_id, tenant)
    return TenantRemoved(
        tenant=tenant_id,
        version=next_version(present),
        previous=present.position.entry,
        **_told(origin, present),
    )


def _told(origin: Origin, tenant: Tenant | None) -> dict[str, Any]:
    """Return what the event says of its origin; its time is always later than that of the tenant's previous event.

    A replica's clock may be behind another's. A registration that seemed no newer than the removal before it would be
    undone by that removal when the log is restored (`registry/restore.py`).
    """
    time = origin.time
    if isinstance(tenant, Live | Removed):
        time = max(time, tenant.changed_at + _MOMENT)
    return {**msgspec.structs.asdict(origin), "time": time}


def next_version(tenant: Tenant | None) -> int:
    """Return the version that the tenant's next event has."""
    return (tenant.version if tenant else 0) + 1


def require_present(tenant_id: str, tenant: Tenant | None) -> Live | Quarantined:
    """Return the tenant if there is one to end, readable or not; `UnknownTenant` or `RemovedTenant` otherwise."""
    return tenant if isinstance(tenant, Quarantined) else require_live(tenant_id, tenant)


def require_live(tenant_id: str, tenant: Tenant | None, *, twin: str | None = None) -> Live:
    """Return the tenant if it may be used; `UnknownTenant`, `RemovedTenant` or `QuarantinedTenant` otherwise.

    `twin`: the id of another tenant that differs in case alone, to be suggested; only one that the caller may see.
    """
    match tenant:
        case Live():
            return tenant
        case Removed():
            raise RemovedTenant(
                f"Tenant {tenant_id!r} was removed at {tenant.changed_at:%Y-%m-%d %H:%M:%S} UTC (version "
                f"{tenant.version}); register it again to use it.",
                version=tenant.version,
            )
        case Quarantined():
            raise QuarantinedTenant(
                f"The last event of tenant {tenant_id!r} cannot be read here ({tenant.reason}); upgrade this "
                "replica if a newer one wrote it, or register the tenant again.",
                version=tenant.version,
            )
        case None:
            raise unknown_tenant(tenant_id, twin)


def unknown_tenant(tenant_id: str, twin: str | None = None) -> UnknownTenant:
    """Return the error for an id that nobody registered; `twin` as for `require_live`."""
    hint = f"; did you mean {twin!r}? Case counts." if twin else ";"
    return UnknownTenant(f"No tenant {tenant_id!r}{hint} list_tenants shows those there are, register_tenant adds one.")
