"""The tools that look into a tenant's database."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from asyncpg import Connection
from msgspec import Meta

from projections.follower import Follower
from registry.errors import ConnectionLost
from server import catalogue
from server.call_progress import followed
from server.pools import Pools
from server.rates import CallRates
from server.reads import ReadLimits, Rows, read
from server.roles import require_lent
from server.sight import Sight
from server.sql_catalogue import KnownByTenant
from server.sql_guard import Guard
from server.tenant_messages import NAME, After, Role, TenantId
from server.toolbox import Call, Hints, tool

T = TypeVar("T")


class ListSchemas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `list_schemas`."""

    tenant_id: TenantId
    after: After | None = None


class ListTables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `list_tables`."""

    tenant_id: TenantId
    schema: Annotated[str, Meta(max_length=NAME, description="Default: all but the system's")] | None = None
    after: After | None = None


class DescribeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `describe_table`."""

    tenant_id: TenantId
    table: Annotated[str, Meta(max_length=NAME, description="Exact name, unquoted, or schema.name")]
    schema: Annotated[str, Meta(max_length=NAME, description="Needed if several schemas have the table")] | None = None


_Looking: TypeAlias = ListSchemas | ListTables | DescribeTable


class ExecuteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `execute_query`."""

    tenant_id: TenantId
    query: Annotated[str, Meta(description="One SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN; $1, $2 for params")]
    params: Annotated[list[Any], Meta(description="Values of $1, $2 …; no need to quote")] = msgspec.field(
        default_factory=list
    )
    limit: Annotated[int, Meta(ge=1, description="Rows at most; the server has a bound of its own")] | None = None
    role: Role | None = None


class DatabaseTools:
    """Look at schemas and tables, and read.

    Args:
        follower: Knows whether it may serve.
        sight: What tenants a caller sees.
        pools: Has their connections.
        limits: Bounds of every read.
        guard: Looks at what callers want to run.
        rates: How often a tenant may be called.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        sight: Sight,
        pools: Pools,
        limits: ReadLimits,
        guard: Guard,
        rates: CallRates,
    ) -> None:
        self._follower = follower
        self._sight = sight
        self._pools = pools
        self._limits = limits
        self._guard = guard
        self._rates = rates
        self._known = KnownByTenant()

    @tool(Hints(read_only=True), "query:read")
    async def list_schemas(self, args: ListSchemas, call: Call) -> catalogue.Schemas:
        """List the schemas of a tenant's database, with how many tables each has."""
        return await self._looked_up(
            args, call, lambda connection: catalogue.list_schemas(connection, args.after, limits=self._limits)
        )

    @tool(Hints(read_only=True), "query:read")
    async def list_tables(self, args: ListTables, call: Call) -> catalogue.Tables:
        """List tables and views of a tenant's database, a row each in the order of `columns`.

        Rows and sizes (without indexes) are estimates. Give a schema where there are many.
        """
        return await self._looked_up(
            args,
            call,
            lambda connection: catalogue.list_tables(connection, args.schema, args.after, limits=self._limits),
        )

    @tool(Hints(read_only=True), "query:read")
    async def describe_table(self, args: DescribeTable, call: Call) -> catalogue.TableDescription:
        """Show a table's or view's columns, keys, references, indexes, checks and comments."""
        return await self._looked_up(
            args,
            call,
            lambda connection: catalogue.describe_table(connection, args.table, args.schema, limits=self._limits),
        )

    @tool(Hints(read_only=True), "query:read")
    async def execute_query(self, args: ExecuteQuery, call: Call) -> Rows:
        """Run one SQL statement that reads, in a read-only transaction; describe the tables first.

        Rows are lists in the order of `columns`; numeric and large integers are strings, so that no digit is lost. A
        result that was cut says so, and how to go on.
        """
        limits = self._limits
        if args.limit is not None and args.limit < limits.max_rows:
            limits = msgspec.structs.replace(limits, max_rows=args.limit)
        tenant = await self._sight.live_tenant(args.tenant_id, call.principal)
        require_lent(tenant, args.role)
        statement, known = self._guard.vet(args.query), self._known.of((tenant.fingerprint, args.role))
        return await self._lent_twice(
            args.tenant_id,
            lambda connection: read(
                followed(connection, call.progress),
                statement,
                args.params,
                limits=limits,
                known=known,
                role=args.role,
            ),
        )

    async def _looked_up(self, args: _Looking, call: Call, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Look into a tenant's catalogue, if the caller may see the tenant; once for all who ask the same just now."""
        await self._sight.live_tenant(args.tenant_id, call.principal)
        return await self._lent_twice(args.tenant_id, work, question=args)

    async def _lent_twice(
        self, tenant_id: str, work: Callable[[Connection], Awaitable[T]], question: Hashable | None = None
    ) -> T:
        """Run `work` on one of the tenant's connections; once more on another one when that breaks under it.

        Only reads come here, so running one twice does no harm.
        """
        self._rates.count_tenant(tenant_id)

        def begin(connection: Connection) -> Awaitable[T]:
            self._follower.require_ready()  # the wait for the connection may have been this process's sleep
            return work(connection)

        try:
            return await self._pools.lend(tenant_id, begin, question)
        except ConnectionLost:
            return await self._pools.lend(tenant_id, begin, question)
