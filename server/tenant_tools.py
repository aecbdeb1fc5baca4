"""The tools that manage tenants."""

from typing import Any, Protocol

import msgspec

from projections.history import history_of, is_cut, is_entry_of
from projections.replicas import Confirmation
from registry.answers import Result
from registry.decide import unknown_tenant
from registry.entries import Position
from registry.errors import InvalidInput, UnknownTenant
from registry.inputs import Allowed, Limits, Registration, from_dsn, from_fields
from registry.log import TenantLog
from registry.names import check_command_id, check_tenant_id
from registry.planner import Caller
from registry.service import TenantRegistry
from registry.state import Live
from server.changes import change_of, shown
from server.connect import Dialler, Login
from server.pools import Pools
from server.principal import Principal
from server.secret_files import SecretFiles
from server.sight import Sight, page_of
from server.tenant_messages import (
    GetTenant,
    History,
    ListTenants,
    PendingReplica,
    Registered,
    RegisterTenant,
    Removal,
    RemoveTenant,
    TenantDetails,
    TenantHistory,
    TenantLine,
    Tenants,
)
from server.toolbox import Call, Hints, tool

_FIELDS = ("host", "port", "database", "user", "password")


class Confirmer(Protocol):
    """Knows which replicas have applied a position."""

    async def confirm(self, position: Position, within: float) -> Confirmation:
        """Wait up to `within` seconds for every live replica; say who has and who may not have. Raises nothing."""


class TenantTools:
    """Register, remove, and look at tenants.

    Args:
        registry: The write side.
        sight: The tenants as each caller sees them.
        log: For their histories.
        pools: For the state of logins.
        secret_files: For what a `password_ref` names.
        dialler: For test logins.
        confirmer: For whether a removal is in force everywhere.
        removal_wait: Seconds to wait for that, unless a call says otherwise.
    """

    def __init__(
        self,
        *,
        registry: TenantRegistry,
        sight: Sight,
        log: TenantLog,
        pools: Pools,
        secret_files: SecretFiles,
        dialler: Dialler,
        confirmer: Confirmer,
        removal_wait: float,
    ) -> None:
        self._registry = registry
        self._sight = sight
        self._log = log
        self._pools = pools
        self._secret_files = secret_files
        self._dialler = dialler
        self._confirmer = confirmer
        self._removal_wait = removal_wait

    @tool(Hints(read_only=False, destructive=True, open_world=True), "tenants:write")
    async def register_tenant(self, args: RegisterTenant, call: Call) -> Registered:
        """Add a tenant's Postgres database, or replace how it is reached; give a dsn or the fields.

        Logs in first and reports what it found. The same registration again changes nothing.
        """
        check_tenant_id(args.tenant_id)
        call.principal.require_touch(args.tenant_id)
        if args.command_id is not None:
            check_command_id(args.command_id)
        registration = registration_of(args)
        await self._dialler.check(args.tenant_id, registration.config, verify=args.verify)
        if registration.config.password_ref:
            self._secret_files.check(args.tenant_id, registration.config.password_ref)
        login = await self._try_login(args.tenant_id, registration) if args.verify else None
        if login is not None:
            registration = msgspec.structs.replace(registration, powers=login.powers)
        caller = Caller(actor=call.actor, reason=args.reason, command_id=args.command_id)
        try:
            result = await self._registry.register(
                args.tenant_id, registration, caller, expected_version=args.expected_version
            )
        except InvalidInput as error:
            raise _without_what_is_hidden(error, call.principal) from None
        return _registered(args.tenant_id, result, login)

    @tool(Hints(read_only=False, destructive=True), "tenants:write")
    async def remove_tenant(self, args: RemoveTenant, call: Call) -> Removal:
        """End a tenant: its queries are drained, its password destroyed; its history stays. Waits for all replicas."""
        check_tenant_id(args.tenant_id)
        if args.command_id is not None:
            check_command_id(args.command_id)
        if not call.principal.touches(args.tenant_id):
            await self._sight.pass_by(args.tenant_id)
            raise unknown_tenant(args.tenant_id, self._sight.twin(args.tenant_id, call.principal))
        caller = Caller(actor=call.actor, reason=args.reason, command_id=args.command_id)
        try:
            result = await self._registry.remove(args.tenant_id, caller, expected_version=args.expected_version)
        except UnknownTenant:
            raise unknown_tenant(args.tenant_id, self._sight.twin(args.tenant_id, call.principal)) from None
        wait = self._removal_wait if args.wait_seconds is None else args.wait_seconds
        return _removal(args.tenant_id, result, await self._confirmer.confirm(result.position, wait))

    @tool(Hints(read_only=True), "tenants:read")
    async def list_tenants(self, args: ListTenants, call: Call) -> Tenants:
        """List the registered tenants, by the id that every database tool takes. With a `next` there are more."""
        ids = self._sight.ids(call.principal)
        page, more = page_of(ids, args.after, args.limit)
        return Tenants(
            tenants=[self._line(tenant) for tenant in self._sight.live(page)],
            total=len(ids),
            next=page[-1] if more else None,
        )

    @tool(Hints(read_only=True), "tenants:read")
    async def get_tenant(self, args: GetTenant, call: Call) -> TenantDetails:
        """Show how a tenant is registered; never its password."""
        tenant = await self._sight.live_tenant(args.tenant_id, call.principal)
        return TenantDetails(
            tenant_id=tenant.tenant,
            version=tenant.version,
            position=str(tenant.position),
            has_password=tenant.secret is not None or bool(tenant.config.password_ref),
            changed_at=tenant.changed_at,
            changed_by=tenant.changed_by,
            error=self._pools.error_of(tenant.tenant),
            **shown(tenant.config),
        )

    @tool(Hints(read_only=True), "audit:read")
    async def tenant_history(self, args: TenantHistory, call: Call) -> History:
        """Tell who changed a tenant, when, why and what, newest first; removed tenants too."""
        tenant = await self._sight.tenant(args.tenant_id, call.principal)
        if tenant is None:
            raise unknown_tenant(args.tenant_id, self._sight.twin(args.tenant_id, call.principal))
        if args.after is not None and not await is_entry_of(self._log, tenant.tenant, args.after):
            raise InvalidInput("after must be the `next` of an answer about this tenant.", field="after")
        # One more than asked for: each registration is told as a difference from the event before it.
        told = await history_of(self._log, args.after or tenant.position.entry, args.limit + 1)
        befores = [*told[1:], None][: len(told)]
        changes = [change_of(recorded, before) for recorded, before in zip(told, befores, strict=True)]
        return History(
            tenant_id=args.tenant_id,
            changes=changes[: args.limit],
            complete=not is_cut(told, args.limit + 1),
            next=told[-1].position.entry if len(told) > args.limit else msgspec.UNSET,
        )

    async def _try_login(self, tenant_id: str, registration: Registration) -> Login:
        config, password = registration.config, registration.password
        if config.password_ref:
            password = await self._secret_files.password(tenant_id, config.password_ref)
        return await self._dialler.try_login(tenant_id, config, password)

    def _line(self, tenant: Live) -> TenantLine:
        config = tenant.config
        return TenantLine(
            tenant_id=tenant.tenant,
            host=config.host,
            port=config.port,
            database=config.database,
            version=tenant.version,
            error=self._pools.error_of(tenant.tenant),
        )


def registration_of(args: RegisterTenant) -> Registration:
    """Return the checked registration; `InvalidInput` if both a dsn and fields are given, or either is wrong."""
    limits = Limits(
        min_pool_size=args.min_pool_size,
        max_pool_size=args.max_pool_size,
        max_concurrent_requests=args.max_concurrent_requests,
    )
    allowed = Allowed(access=args.access, roles=args.roles)
    reaching: dict[str, Any] = {"ssl": args.ssl, "ssl_root_ca": args.ssl_root_ca, "password_ref": args.password_ref}
    if args.dsn is None:
        fields = {field: getattr(args, field) for field in _FIELDS}
        return from_fields(**fields, **reaching, limits=limits, allowed=allowed)
    both = [field for field in _FIELDS if getattr(args, field) is not None]
    if both:
        raise InvalidInput(f"Both dsn and {', '.join(both)} are given; give one dsn, or the fields.", field="dsn")
    return from_dsn(args.dsn, **reaching, limits=limits, allowed=allowed)


def _without_what_is_hidden(error: InvalidInput, principal: Principal) -> InvalidInput:
    """Return the error without the name of a twin that is not the caller's."""
    twin = error.facts.get("twin")
    if twin is None or principal.touches(str(twin)):
        return error
    return InvalidInput(
        "An id that differs from this tenant_id only in case is taken; choose another.", field="tenant_id"
    )


def _registered(tenant_id: str, result: Result, login: Login | None) -> Registered:
    return Registered(
        tenant_id=tenant_id,
        status=result.status,
        version=result.version,
        position=str(result.position),
        served=result.served,
        login=login,
    )


def _removal(tenant_id: str, result: Result, told: Confirmation) -> Removal:
    return Removal(
        tenant_id=tenant_id,
        status=result.status,
        version=result.version,
        position=str(result.position),
        served=result.served,
        confirmed=told.confirmed,
        pending=[
            PendingReplica(replica=each.name, position=str(each.position), last_seen=round(each.last_seen, 1))
            for each in told.pending
        ],
        unconfirmed=told.unknown,
    )
