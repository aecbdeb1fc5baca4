"""The tool that writes to a tenant's database."""

from typing import Annotated, Any

import msgspec
from asyncpg import Connection
from msgspec import Meta

from projections.follower import Follower
from registry.errors import QueryRefused, ReadOnlyTenant, TenancyError
from registry.state import Live
from server.audit import Account, Audit
from server.call_progress import followed
from server.confirmation import Policy, question_of, require_confirmed
from server.pools import Pools
from server.rates import CallRates
from server.roles import require_lent
from server.sight import Sight
from server.sql_catalogue import KnownByTenant
from server.sql_writes import Write, judged, too_long
from server.tenant_messages import Role, TenantId
from server.toolbox import Call, Hints, tool
from server.write_step import Step
from server.writes import WriteLimits, Writes, require_allowed, write


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One statement."""

    sql: Annotated[str, Meta(description="One INSERT, UPDATE, DELETE, MERGE, SELECT or TRUNCATE; $1, $2 for params")]
    params: Annotated[list[Any], Meta(description="Values of $1, $2 …")] = msgspec.field(default_factory=list)


class ExecuteWrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `execute_write`."""

    tenant_id: TenantId
    statements: Annotated[list[Statement], Meta(min_length=1, max_length=50, description="Run in this order; up to 50")]
    role: Role | None = None
    dry_run: Annotated[bool, Meta(description="Roll back; what nextval took stays taken")] = False


class WriteTools:
    """Write, where the tenant and the caller may.

    Args:
        follower: Knows whether it may serve.
        sight: What tenants a caller sees.
        pools: Has their connections.
        limits: Bounds of every write.
        rates: How often a tenant may be called.
        audit: Where each write is put down.
        confirm: Whether a user is to confirm each write that is to be committed.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        sight: Sight,
        pools: Pools,
        limits: WriteLimits,
        rates: CallRates,
        audit: Audit,
        confirm: Policy = Policy.NEVER,
    ) -> None:
        self._follower = follower
        self._sight = sight
        self._pools = pools
        self._limits = limits
        self._rates = rates
        self._audit = audit
        self._confirm = confirm
        self._known = KnownByTenant()

    @tool(Hints(read_only=False, destructive=True, idempotent=False), "query:write")
    async def execute_write(self, args: ExecuteWrite, call: Call) -> Writes:
        """Run statements in one transaction: all are committed or, on any error, none.

        For tenants registered with access=read_write. Try with dry_run first. After the error outcome_unknown look at
        the data before writing again.
        """
        tenant = await self._sight.live_tenant(args.tenant_id, call.principal)
        self._rates.count_tenant(args.tenant_id)
        unread = too_long([statement.sql for statement in args.statements])
        writes = [] if unread else [judged(statement.sql, dry_run=args.dry_run) for statement in args.statements]
        lent = args.role if args.role in (tenant.config.roles or ()) else None
        async with self._audit.account(
            writes, tenant=tenant.tenant, actor=call.actor, role=lent, dry_run=args.dry_run
        ) as account:
            require_writable(tenant)
            require_lent(tenant, args.role)
            if unread:
                raise QueryRefused(f"{unread}.")
            return await self._run(args, call, writes, account)

    async def _run(self, args: ExecuteWrite, call: Call, writes: list[Write], account: Account) -> Writes:
        """Run what was looked at. Never twice: a connection that breaks is the caller's to hear of."""
        told = zip(writes, args.statements, strict=True)
        steps = [Step(each, statement.params) for each, statement in told]
        require_allowed(steps)
        if not args.dry_run:
            asked = [(statement.sql, statement.params) for statement in args.statements]
            await require_confirmed(self._confirm, question_of(args.tenant_id, args.role, asked), call.ask)
        await account.intend()

        async def run(connection: Connection) -> Writes:
            self._follower.require_ready()
            # Looked up again: the tenant may have been registered anew while the call waited.
            tenant = await self._sight.live_tenant(args.tenant_id, call.principal)
            require_writable(tenant)
            require_lent(tenant, args.role)
            account.done = await write(
                followed(connection, call.progress),
                steps,
                limits=self._limits,
                known=self._known.of((tenant.fingerprint, args.role)),
                role=args.role,
                dry_run=args.dry_run,
            )
            return account.done

        try:
            return await self._pools.lend(args.tenant_id, run)
        except TenancyError:
            if account.done is None:
                raise
            return account.done  # what becomes of the connection afterwards undoes nothing


def require_writable(tenant: Live) -> None:
    """Raise `ReadOnlyTenant` unless the tenant is registered to be written to."""
    if not tenant.config.writable:
        raise ReadOnlyTenant(
            f"Tenant {tenant.tenant!r} is read_only. Read with execute_query; to write, have it registered again with "
            "access=read_write by somebody who may (tenants:write)."
        )
