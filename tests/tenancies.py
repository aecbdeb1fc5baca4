"""A replica's pools over a real Postgres, with tenants of a test's own, and a port that misbehaves in front of it."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

import asyncpg

from projections.directory import Directory
from registry.decide import require_live
from registry.entries import Position
from registry.errors import (
    TenancyError,
)
from registry.events import SealedSecret, TenantConfig
from registry.secrets import Secret
from registry.state import Live, Removed, Tenant
from server.connect import Dialler
from server.database_tools import DatabaseTools
from server.embedded.postgres import EmbeddedPostgres
from server.pools import Pools
from server.principal import Principal
from server.reads import ReadLimits, prepare_connection, read
from server.sight import Sight
from server.sql_guard import Guard
from server.toolbox import Call, Toolbox
from tests.rates import unlimited

PASSWORD: Final = "canary-s3cr3t"
ANYBODY: Final = Call(principal=Principal("anonymous"))
LIMITS: Final = ReadLimits(max_rows=100, max_bytes=1 << 20, statement_timeout=60, lock_timeout=5)
LONG: Final = "SELECT pg_sleep(50)"
WITHIN: Final = 15.0
"""Seconds after which a test says that something never happens."""
EPOCH: Final = datetime(2026, 11, 23, tzinfo=UTC)

Count: TypeAlias = Callable[[], Awaitable[int]]


class Tenancy:
    """The tenants of one test, all with a role of this test's own, and the pools of one replica over them."""

    def __init__(self, postgres: EmbeddedPostgres, admin: asyncpg.Connection, **bounds: float) -> None:
        self.postgres = postgres
        self.admin = admin
        self.role = f"pools_{uuid.uuid4().hex[:12]}"
        self._tenants: dict[str, Tenant] = {}
        self._passwords: dict[int, str | None] = {}
        self._version = 0
        dialler = Dialler(bounds.pop("connect_timeout", 5.0))
        settings: dict[str, Any] = {
            "drain_seconds": 10.0,
            "max_pools": 50,
            "max_connections": 50,
            **bounds,
        }
        self.pools = Pools(
            lookup=lambda tenant: require_live(tenant, self._tenants.get(tenant)),
            dialler=dialler,
            password=self._password,
            prepare=prepare_connection,
            **settings,
        )
        self.toolbox = Toolbox.of(
            DatabaseTools(
                follower=cast("Any", self),
                sight=Sight(cast("Any", self), Directory()),
                pools=self.pools,
                limits=LIMITS,
                guard=Guard(),
                rates=unlimited(),
            )
        )

    async def tenant(self, tenant: str) -> Tenant | None:
        """Know a tenant, as the follower does."""
        return self._tenants.get(tenant)

    def require_ready(self) -> None:
        """Be ready, as a follower that follows is."""

    def register(self, tenant: str = "acme", *, password: str | None = PASSWORD, **config: object) -> None:
        """Register anew; a password that is the same keeps its version."""
        before = self._tenants.get(tenant)
        self._version += 1
        secret = None
        if password is not None:
            kept = before.secret if isinstance(before, Live) else None
            same = kept is not None and self._passwords.get(kept.version) == password
            version = kept.version if kept is not None and same else self._version
            self._passwords[version] = password
            secret = SealedSecret(key="k", version=version, sealed="")
        reached: dict[str, Any] = {
            "host": self.postgres.host,
            "port": self.postgres.port,
            "database": "postgres",
            "user": self.role,
            "ssl": "disable",
            **config,
        }
        self._change(
            Live(
                tenant=tenant,
                version=self._version,
                position=Position(self._version, f"{self._version}-0"),
                event_id="event",
                command_id="command",
                digest="one:0d",
                changed_at=EPOCH,
                changed_by="ann",
                born=EPOCH,
                config=TenantConfig(**reached),
                secret=secret,
            )
        )

    def remove(self, tenant: str = "acme") -> None:
        self._version += 1
        position = Position(self._version, f"{self._version}-0")
        self._change(
            Removed(
                tenant=tenant,
                version=self._version,
                position=position,
                event_id="event",
                command_id="command",
                digest="one:0d",
                changed_at=EPOCH,
                changed_by="ben",
            )
        )

    async def ask(self, query: str = "SELECT 1", tenant: str = "acme", *, shared: bool = False) -> object:
        """Run one read as a tool does, or one for all who ask the same; return the first row's first cell."""
        question = query if shared else None
        rows = await self.pools.lend(tenant, lambda connection: read(connection, query, limits=LIMITS), question)
        return rows.rows[0][0]

    async def call(self, query: str | None = "SELECT 1", tenant: str = "acme") -> dict[str, Any]:
        """Call `execute_query`, or `list_schemas` where there is no query; return its answer, or the error it told."""
        asked = {"tenant_id": tenant} if query is None else {"tenant_id": tenant, "query": query}
        answer = await self.toolbox.call("list_schemas" if query is None else "execute_query", asked, ANYBODY)
        told = json.loads(answer.payload)
        error_or_rows: dict[str, Any] = told["error"] if answer.is_error else told
        return error_or_rows

    async def backend(self, tenant: str = "acme") -> int:
        return cast("int", await self.ask("SELECT pg_backend_pid()", tenant))

    async def connections(self) -> int:
        return int(await self.admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", self.role))

    async def running(self) -> int:
        return int(
            await self.admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state = 'active'", self.role
            )
        )

    async def kill(self) -> None:
        """End every backend of these tenants."""
        await self.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", self.role)

    def start(self, query: str = LONG, tenant: str = "acme") -> "asyncio.Task[object]":
        return asyncio.create_task(self.ask(query, tenant))

    def _change(self, tenant: Tenant) -> None:
        self._tenants[tenant.tenant] = tenant
        self.pools.react([tenant])

    async def _password(self, tenant: Live) -> Secret | None:
        text = self._passwords[tenant.secret.version] if tenant.secret else None
        return None if text is None else Secret(text)


class Door:
    """A TCP port in front of Postgres, which counts who knocks and behaves as the test likes."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.behaviour = "forward"
        self.knocks = 0
        self.knocked = asyncio.Event()
        self.let_in = asyncio.Event()
        self._postgres = postgres
        self._held = AsyncExitStack()

    async def open(self) -> int:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._held.callback(server.close)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        await self._held.aclose()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        self.knocked.set()
        match self.behaviour:
            case "silent":
                self._held.callback(writer.close)
            case "hang up":
                writer.close()
            case "other":
                await reader.read(1)
                writer.write(b"-ERR unknown command\r\n" * 50)
                writer.close()
            case _:
                if self.behaviour == "late":
                    await self.let_in.wait()
                there, onwards = await asyncio.open_connection(self._postgres.host, self._postgres.port)
                await asyncio.gather(_pump(reader, onwards), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


MakeTenancy: TypeAlias = Callable[..., Awaitable[Tenancy]]
"""Makes a tenancy whose pools have bounds of the test's choice."""


async def until(count: Count, expected: int) -> None:
    """Wait until a count is what it should be; fail if it never is."""
    seen = -1
    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            while (seen := await count()) != expected:  # noqa: ASYNC110 - Postgres has no event to wait for
                await asyncio.sleep(0.01)
    assert seen == expected


async def error_of(call: Awaitable[object]) -> TenancyError:
    try:
        async with asyncio.timeout(WITHIN):
            told = await call
    except TenancyError as error:
        return error
    raise AssertionError(f"it succeeded: {told}")


async def give_up(calls: "list[asyncio.Task[object]]") -> None:
    """Cancel calls, and wait until they are gone."""
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
