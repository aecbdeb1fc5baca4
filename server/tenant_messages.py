"""What the tenant tools take and give. Clients are shown what they take; what they give is told in docs/tools.md."""

from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from registry.events import Access, SslMode
from registry.planner import Status
from registry.secrets import Secret
from server.connect import Login

TenantId: TypeAlias = Annotated[
    str, Meta(description="Tenant, as list_tenants shows it", extra_json_schema={"x-mcp-header": "Tenant-Id"})
]
NAME: Final = 255
"""Characters of a schema's and a table's name together, and more: each has 63 bytes at most. What is longer would be
looked for in many ways, and told again in errors."""
_NEXT: Final = 1024
"""Characters of a `next`: two names, each byte encoded, take less."""
After: TypeAlias = Annotated[str, Meta(max_length=_NEXT, description="Go on behind the answer before: its `next`")]
Role: TypeAlias = Annotated[str, Meta(description="Role to run as, one of the tenant's `roles`")]
Reason: TypeAlias = Annotated[str, Meta(max_length=500, description="Why, for the audit history")]
ExpectedVersion: TypeAlias = Annotated[
    int, Meta(ge=0, description="Refuse unless the tenant is at this version; 0: new")
]

CommandId: TypeAlias = Annotated[
    str, Meta(description="Any unique id; a retry with the same one changes nothing twice")
]


class RegisterTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `register_tenant`."""

    tenant_id: Annotated[
        str,
        Meta(
            description="1-63 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
            extra_json_schema={"x-mcp-header": "Tenant-Id"},
        ),
    ]
    dsn: (
        Annotated[Secret, Meta(description="postgresql://user:password@host:port/database, instead of fields")] | None
    ) = None
    host: str | None = None
    port: Annotated[int, Meta(description="Default 5432")] | None = None
    database: str | None = None
    user: str | None = None
    password: Annotated[Secret, Meta(description="Any characters, nothing encoded")] | None = None
    password_ref: (
        Annotated[str, Meta(description="Instead of password: file:NAME or env:NAME, where the server has it")] | None
    ) = None
    ssl: Annotated[bool | SslMode, Meta(description="A libpq sslmode; true: require, false: disable")] | None = None
    ssl_root_ca: (
        Annotated[str, Meta(description="PEM of the authorities that verify-ca and verify-full believe")] | None
    ) = None
    min_pool_size: Annotated[int, Meta(description="Connections that a replica keeps open")] = 0
    max_pool_size: Annotated[int, Meta(description="Connections that a replica opens at most")] = 10
    max_concurrent_requests: Annotated[int, Meta(description="Calls running and waiting")] = 20
    access: Annotated[Access, Meta(description="read_write lets execute_write write")] = "read_only"
    roles: Annotated[tuple[str, ...], Meta(description="Postgres roles that a call may take on")] = ()
    verify: Annotated[bool, Meta(description="Log in first; false registers unseen")] = True
    expected_version: ExpectedVersion | None = None
    reason: Reason | None = None
    command_id: CommandId | None = None


class Registered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a registration or removal led to.

    Attributes:
        position: Where in the log.
        served: Whether this replica serves it; one that is late does in a moment.
    """

    tenant_id: str
    status: Status
    version: int
    position: str
    served: bool = True
    login: Login | None = None


class RemoveTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `remove_tenant`."""

    tenant_id: TenantId
    expected_version: ExpectedVersion | None = None
    reason: Reason | None = None
    command_id: CommandId | None = None
    wait_seconds: (
        Annotated[float, Meta(ge=0, le=60, description="Longest wait for all replicas to apply it")] | None
    ) = None


class PendingReplica(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that has not said that it applied a removal.

    Attributes:
        position: Up to where it has.
        last_seen: Seconds ago; negative: Redis's clock went back.
    """

    replica: str
    position: str
    last_seen: float


class Removal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a removal led to, and where it is in force.

    Attributes:
        position: Where in the log.
        served: Whether this replica has stopped serving it; one that is late does in a moment.
        confirmed: Replicas that no longer serve the tenant.
        pending: Replicas that may still serve it; empty: none does.
        unconfirmed: Why it is not known which replicas may still serve it.
    """

    tenant_id: str
    status: Status
    version: int
    position: str
    served: bool = True
    confirmed: list[str]
    pending: list[PendingReplica]
    unconfirmed: str | None = None


class ListTenants(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `list_tenants`."""

    after: After | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class TenantLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tenant in a list.

    Attributes:
        error: Why the last login failed.
    """

    tenant_id: str
    host: str
    port: int
    database: str
    version: int
    error: str | None = None


class Tenants(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of tenants, by id."""

    tenants: list[TenantLine]
    total: int
    next: str | None = None


class GetTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `get_tenant`."""

    tenant_id: TenantId


class TenantDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tenant, without its password.

    Attributes:
        ssl_root_ca: Digest of the tenant's own authorities.
    """

    tenant_id: str
    version: int
    position: str
    host: str
    port: int
    database: str
    user: str
    ssl: str
    ssl_root_ca: str | None = None
    has_password: bool
    password_ref: str | None = None
    min_pool_size: int
    max_pool_size: int
    max_concurrent_requests: int
    access: Access = "read_only"
    roles: tuple[str, ...] = ()
    changed_at: datetime
    changed_by: str
    error: str | None = None


class TenantHistory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `tenant_history`."""

    tenant_id: TenantId
    limit: Annotated[int, Meta(ge=1, le=500)] = 20
    after: After | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of a tenant's history.

    Attributes:
        fields: New values of what changed.
        powers: What the login could do beyond its tables.
    """

    version: int
    what: str
    at: datetime
    by: str
    position: str
    reason: str | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    password_changed: bool = False
    powers: list[str] | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's history, newest first.

    Attributes:
        complete: Whether the log has all of it; one that was compacted does not tell what was before.
    """

    tenant_id: str
    changes: list[Change]
    complete: bool = True
    next: str | msgspec.UnsetType = msgspec.UNSET
