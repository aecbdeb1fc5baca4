"""Pools over a real Postgres: what one tenant's trouble costs that tenant, and what it must not cost the others."""

import asyncio
import gc
import json
import os
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import asyncpg
import pytest

from projections.directory import Directory
from registry.decide import require_live
from registry.entries import Position
from registry.errors import (
    LoginRefused,
    RemovedTenant,
    TenancyError,
    TenantBusy,
    TenantChanged,
    TenantUnreachable,
    UnknownTenant,
)
from registry.events import SealedSecret, TenantConfig
from registry.secrets import Secret
from registry.state import Live, Removed, Tenant
from server import pools
from server.connect import Dialler, forget_libpq_environment
from server.database_tools import DatabaseTools
from server.embedded.postgres import EmbeddedPostgres
from server.pools import Pools
from server.principal import Principal
from server.reads import ReadLimits, prepare_connection, read
from server.shared_reads import AT_ONCE
from server.shelf import Shelf
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


class Town:
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
        """End every backend of this town."""
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


@pytest.fixture
async def admin(postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    yield connection
    await connection.close()


MakeTown: TypeAlias = Callable[..., Awaitable[Town]]


@pytest.fixture
async def make_town(postgres: EmbeddedPostgres, admin: asyncpg.Connection) -> AsyncIterator[MakeTown]:
    """What makes a town with bounds of the test's choice, its tenant acme registered."""
    towns: list[Town] = []

    async def make(**bounds: float) -> Town:
        town = Town(postgres, admin, **bounds)
        await admin.execute(f"CREATE ROLE {town.role} LOGIN PASSWORD '{PASSWORD}'")
        town.register()
        towns.append(town)
        return town

    yield make
    for town in towns:
        await town.pools.close()
        await town.kill()
        await admin.execute(f"DROP ROLE {town.role}")


@pytest.fixture
async def town(make_town: MakeTown) -> Town:
    return await make_town()


@pytest.fixture
async def door(postgres: EmbeddedPostgres) -> AsyncIterator[Door]:
    door = Door(postgres)
    yield door
    await door.close()


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


# --- opened late, and only so many


async def test_a_registered_tenant_costs_no_connection_until_its_first_call(town: Town) -> None:
    town.register("other")
    assert await town.connections() == 0
    assert await town.ask() == 1
    assert await town.connections() == 1


async def test_calls_one_after_another_share_a_connection(town: Town) -> None:
    assert len({await town.backend() for _ in range(5)}) == 1


async def test_a_tenant_that_wants_connections_kept_has_them_after_its_first_call(town: Town) -> None:
    town.register(min_pool_size=3)
    assert await town.connections() == 0
    await town.ask()
    assert await town.connections() == 3


async def test_no_more_than_max_pool_size_run_at_once_and_no_more_than_max_concurrent_requests_are_let_in(
    town: Town,
) -> None:
    town.register(max_pool_size=2, max_concurrent_requests=4)
    calls = [town.start() for _ in range(4)]
    await until(town.running, 2)
    refused = await error_of(town.ask())
    assert isinstance(refused, TenantBusy)
    assert refused.retryable
    assert "'acme'" in refused.message
    assert await town.connections() == 2
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert await town.ask() == 1


async def test_a_tenant_whose_share_is_used_up_takes_nothing_from_another(town: Town) -> None:
    town.register(max_pool_size=1, max_concurrent_requests=1)
    town.register("other")
    busy = town.start()
    await until(town.running, 1)
    assert isinstance(await error_of(town.ask()), TenantBusy)
    assert await town.ask(tenant="other") == 1
    busy.cancel()


async def test_the_least_recently_used_pool_goes_when_there_are_too_many(make_town: MakeTown) -> None:
    town = await make_town(max_pools=2)
    town.register("b")
    town.register("c")
    first = await town.backend("acme")
    await town.ask(tenant="b")
    assert await town.backend("acme") == first
    await town.ask(tenant="c")
    assert len(town.pools) == 2
    await until(town.connections, 2)
    assert await town.backend("acme") == first, "b was used less recently"


async def test_a_pool_in_use_is_not_closed_for_another_tenant_which_may_come_again(make_town: MakeTown) -> None:
    town = await make_town(max_pools=1)
    town.register("b")
    call = town.start("SELECT pg_sleep(0.5)::text")
    await until(town.running, 1)
    refused = await error_of(town.ask(tenant="b"))
    assert isinstance(refused, TenantBusy)
    assert refused.retryable
    assert await call == ""
    assert await town.ask(tenant="b") == 1


async def test_idle_connections_of_others_are_closed_before_a_replica_opens_too_many(make_town: MakeTown) -> None:
    town = await make_town(max_connections=3)
    for tenant in "abcdef":
        town.register(tenant)
        await town.ask(tenant=tenant)
        await until(town.connections, min(3, "abcdef".index(tenant) + 1))


async def test_idle_connections_of_a_tenant_in_use_are_closed_too_when_another_one_needs_room(
    make_town: MakeTown,
) -> None:
    town = await make_town(max_connections=3)
    busy = await _three_connections_of_which_acme_can_spare_one(town)
    assert await town.ask(tenant="late") == 1
    await until(town.connections, 3)
    assert not any(call.done() for call in busy)
    await _end(busy)


async def _three_connections_of_which_acme_can_spare_one(town: Town) -> "list[asyncio.Task[object]]":
    town.register("other")
    town.register("late")
    await asyncio.gather(*(town.start("SELECT pg_sleep(0.2)::text") for _ in range(2)))
    busy = [town.start(), town.start(tenant="other")]
    await until(town.running, 2)
    assert await town.connections() == 3
    return busy


async def _end(calls: "list[asyncio.Task[object]]") -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_idle_connections_of_a_pool_that_drains_are_closed_when_somebody_needs_room(make_town: MakeTown) -> None:
    town = await make_town(max_connections=3)
    busy = await _three_connections_of_which_acme_can_spare_one(town)
    town.remove()
    assert await town.connections() == 3
    assert await town.ask(tenant="late") == 1
    await until(town.connections, 3)
    await _end(busy)


async def test_a_tenant_that_wants_connections_kept_makes_way_when_it_is_idle(make_town: MakeTown) -> None:
    town = await make_town(max_connections=3)
    town.register(min_pool_size=3)
    town.register("other", min_pool_size=2)
    await town.ask()
    assert await town.ask(tenant="other") == 1
    await until(town.connections, 2)


async def test_one_more_connection_costs_one_idle_tenant_its_own_and_not_all_of_them(make_town: MakeTown) -> None:
    town = await make_town(max_connections=4)
    for tenant in "abcd":
        town.register(tenant, min_pool_size=1)
        await town.ask(tenant=tenant)
    town.register("last")
    await town.ask(tenant="last")
    assert len(town.pools) == 4
    await until(town.connections, 4)


async def test_calls_that_wait_for_a_database_that_hangs_at_the_door_hold_no_place_that_others_need(
    make_town: MakeTown, door: Door
) -> None:
    town = await make_town(max_connections=2)
    door.behaviour = "silent"
    port = await door.open()
    await town.ask()
    hanging: list[asyncio.Task[object]] = []
    for number in range(6):
        town.register(f"mute-{number}", port=port)
        hanging += [town.start(tenant=f"mute-{number}") for _ in range(5)]
    await door.knocked.wait()
    backend = await town.backend()
    assert town.pools.running == 0
    assert await asyncio.gather(*(town.ask() for _ in range(5))) == [1] * 5
    assert await town.backend() == backend, "its idle connection was closed for one that was only being tried"
    await _end(hanging)


async def test_a_tenant_whose_queries_hang_leaves_as_many_places_free_as_it_holds(make_town: MakeTown) -> None:
    town = await make_town(max_connections=6)
    town.register(max_pool_size=50, max_concurrent_requests=50)
    for tenant in ("b", "c"):
        town.register(tenant)
    hanging = [town.start() for _ in range(20)]
    await until(town.running, 3)
    assert await asyncio.gather(*(town.ask(tenant=tenant) for tenant in "bc")) == [1, 1]
    assert await town.running() == 3
    assert town.pools.waiting == (0, 17)
    await _end(hanging)
    assert town.pools.running == 0


async def test_no_more_calls_run_than_a_replica_may_have_connections(make_town: MakeTown) -> None:
    town = await make_town(max_connections=2)
    tenants = "abcd"
    for tenant in tenants:
        town.register(tenant)
    calls = [town.start("SELECT pg_sleep(0.2)::text", tenant) for tenant in tenants]
    most = 0
    while not all(call.done() for call in calls):
        most = max(most, await town.running())
    assert [await call for call in calls] == [""] * 4
    assert most == 2


# --- a database that is down


async def test_fifty_callers_of_a_database_that_is_down_make_one_attempt_and_all_are_told_why(
    town: Town, door: Door
) -> None:
    door.behaviour = "hang up"
    port = await door.open()
    town.register(port=port, max_concurrent_requests=50)
    errors = await asyncio.gather(*(error_of(town.ask()) for _ in range(50)))
    assert door.knocks == 1
    for error in errors:
        assert isinstance(error, TenantUnreachable)
        assert error.retryable
        assert f"127.0.0.1:{port}" in error.message
        assert "'acme'" in error.message
        assert PASSWORD not in f"{error.message}{error.facts}{error.__cause__}"
    assert town.pools.error_of("acme") == errors[0].message


@pytest.mark.parametrize("kept", [0, 2], ids=["lazy", "kept"])
async def test_the_first_call_after_a_database_came_back_works(town: Town, door: Door, kept: int) -> None:
    door.behaviour = "hang up"
    town.register(port=await door.open(), min_pool_size=kept)
    await error_of(town.ask())
    refused = await error_of(town.ask())
    door.behaviour = "forward"
    await asyncio.sleep(cast("int", refused.facts["retry_after_ms"]) / 1000 + 0.05)
    assert await town.ask() == 1
    assert town.pools.error_of("acme") is None


@pytest.mark.parametrize("kept", [0, 1], ids=["lazy", "kept"])
async def test_a_first_caller_who_gives_up_does_not_take_the_tenant_down(town: Town, door: Door, kept: int) -> None:
    door.behaviour = "silent"
    town.register(port=await door.open(), min_pool_size=kept)
    call = town.start()
    await door.knocked.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    door.behaviour = "forward"
    assert await town.ask() == 1


async def test_a_database_that_takes_calls_and_never_answers_holds_up_its_own_callers_only(
    make_town: MakeTown, door: Door
) -> None:
    town = await make_town(connect_timeout=0.5)
    door.behaviour = "silent"
    town.register("mute", port=await door.open())
    calls = [asyncio.create_task(error_of(town.ask(tenant="mute"))) for _ in range(5)]
    await door.knocked.wait()
    assert await town.ask() == 1
    assert not any(call.done() for call in calls)
    for error in await asyncio.gather(*calls):
        assert isinstance(error, TenantUnreachable)
        assert "did not answer in time" in error.message
    assert door.knocks == 1


async def test_a_server_that_is_no_postgres_is_a_login_that_fails_not_a_bug(town: Town, door: Door) -> None:
    door.behaviour = "other"
    port = await door.open()
    for number, ssl in enumerate(("disable", "prefer", "require")):
        town.register(f"odd-{number}", port=port, ssl=ssl)
        told = await town.call(tenant=f"odd-{number}")
        assert told["code"] in {"tenant_unreachable", "login_refused"}, (ssl, told)
        assert f"127.0.0.1:{port}" in told["message"]


async def test_nothing_listening_is_told_as_that_by_name_and_by_address(
    town: Town, free_port: Callable[[], int]
) -> None:
    port = free_port()
    for host in ("127.0.0.1", "localhost"):
        town.register(host, host=host, port=port)
        told = await town.call(tenant=host)
        assert (told["code"], told["retryable"]) == ("tenant_unreachable", True)
        assert "Nothing listens" in told["message"]


async def test_a_registration_that_was_corrected_works_at_once_though_the_old_login_is_still_hanging(
    town: Town, door: Door
) -> None:
    door.behaviour = "silent"
    town.register(port=await door.open())
    old = asyncio.create_task(error_of(town.ask()))
    await door.knocked.wait()
    town.register()
    assert await town.ask() == 1
    assert not old.done()
    old.cancel()
    await asyncio.gather(old, return_exceptions=True)
    assert town.pools.error_of("acme") is None


async def test_a_wrong_password_is_told_without_it_and_the_right_one_works_at_once(town: Town) -> None:
    town.register(password="wrong-canary")
    error = await error_of(town.ask())
    assert isinstance(error, LoginRefused)
    assert not error.retryable
    assert "'acme'" in error.message
    assert "canary" not in f"{error.message}{error.facts}"
    town.register()
    assert await town.ask() == 1


# --- a change of registration


async def test_a_change_of_limits_keeps_connections_and_running_calls(town: Town) -> None:
    before = await town.backend()
    town.register(max_pool_size=3, max_concurrent_requests=7)
    assert await town.backend() == before
    call = town.start("SELECT pg_sleep(0.3)::text")
    await until(town.running, 1)
    town.register(max_pool_size=1, max_concurrent_requests=1)
    assert isinstance(await error_of(town.ask()), TenantBusy)
    assert await call == ""
    assert await town.backend() == before


async def test_after_a_larger_share_a_caller_whom_the_open_pool_has_no_connection_for_is_not_left_waiting(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "PATIENCE", 0.1)
    town.register(max_pool_size=1)
    call = town.start()
    await until(town.running, 1)
    town.register(max_pool_size=5)
    assert isinstance(await error_of(town.ask()), TenantBusy)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_new_password_opens_a_new_pool_while_what_runs_on_the_old_one_ends_in_peace(town: Town) -> None:
    before = await town.backend()
    call = town.start("SELECT pg_sleep(1)::text")
    await until(town.running, 1)
    await town.admin.execute(f"ALTER ROLE {town.role} PASSWORD 'another'")
    town.register(password="another")
    assert await town.backend() != before
    assert not call.done()
    assert await call == ""
    await until(town.connections, 1)


async def test_a_pool_that_was_never_used_is_replaced_and_removed_without_a_word(town: Town) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    await town.ask()
    town.register(database="template1")
    town.register(database="postgres")
    town.remove()
    await town.pools.close()
    await until(town.connections, 0)
    gc.collect()  # what a task died of is told when the task goes
    assert complaints == []


# --- removal


async def test_after_a_removal_new_calls_are_refused_at_once_and_running_ones_get_their_time(
    make_town: MakeTown,
) -> None:
    town = await make_town(drain_seconds=5)
    call = town.start("SELECT pg_sleep(0.5)::text")
    await until(town.running, 1)
    town.remove()
    assert isinstance(await error_of(town.ask()), RemovedTenant)
    assert not call.done()
    assert await call == ""
    await until(town.connections, 0)


async def test_what_outlives_the_drain_time_is_cancelled_in_postgres_and_its_caller_told(make_town: MakeTown) -> None:
    town = await make_town(drain_seconds=0.3)
    calls = [asyncio.create_task(error_of(town.ask(LONG))) for _ in range(3)]
    await until(town.running, 3)
    town.remove()
    for error in await asyncio.gather(*calls):
        assert isinstance(error, TenantChanged)
        assert error.retryable
        assert "'acme'" in error.message
    await until(town.running, 0)
    await until(town.connections, 0)


async def test_a_caller_who_waits_for_its_turn_when_the_tenant_is_removed_never_runs(make_town: MakeTown) -> None:
    town = await make_town(drain_seconds=0.2)
    town.register(max_pool_size=1)
    running = asyncio.create_task(error_of(town.ask(LONG)))
    await until(town.running, 1)
    waiting = asyncio.create_task(error_of(town.ask()))
    await asyncio.sleep(0)
    town.remove()
    assert isinstance(await running, TenantChanged)
    assert isinstance(await waiting, RemovedTenant)


async def test_callers_who_share_a_read_are_all_told_when_the_tenant_is_removed_under_it(make_town: MakeTown) -> None:
    town = await make_town(drain_seconds=0.2)
    calls = [asyncio.create_task(error_of(town.ask(LONG, shared=True))) for _ in range(AT_ONCE + 3)]
    await until(town.running, AT_ONCE)
    town.remove()
    assert {type(error) for error in await asyncio.gather(*calls)} == {TenantChanged}
    await until(town.connections, 0)


async def test_a_caller_who_is_logging_in_when_the_tenant_is_removed_runs_nothing_afterwards(
    make_town: MakeTown, door: Door
) -> None:
    town = await make_town(drain_seconds=WITHIN)
    door.behaviour = "late"
    town.register(port=await door.open())
    call = asyncio.create_task(error_of(town.ask()))
    await door.knocked.wait()
    town.remove()
    door.let_in.set()
    assert isinstance(await call, TenantChanged)


async def test_a_tenant_that_was_removed_and_registered_again_answers_while_the_old_pool_drains(town: Town) -> None:
    call = town.start("SELECT pg_sleep(0.5)::text")
    await until(town.running, 1)
    town.remove()
    town.register()
    assert await town.ask() == 1
    assert await call == ""


async def test_a_tenant_nobody_knows_opens_nothing(town: Town) -> None:
    assert isinstance(await error_of(town.ask(tenant="nobody")), UnknownTenant)
    assert len(town.pools) == 0


# --- cancellation, broken connections, shutdown


async def test_a_caller_who_leaves_stops_its_query_in_postgres_and_leaves_its_place_to_others(town: Town) -> None:
    town.register(max_pool_size=2, max_concurrent_requests=2)
    for _ in range(3):
        calls = [town.start() for _ in range(2)]
        await until(town.running, 2)
        for call in calls:
            call.cancel()
        assert {type(told) for told in await asyncio.gather(*calls, return_exceptions=True)} == {asyncio.CancelledError}
        assert await town.running() == 0
    assert await asyncio.gather(*(town.ask() for _ in range(2))) == [1, 1]
    assert await town.connections() <= 2


@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_a_caller_who_leaves_while_it_gets_its_connection_leaves_nothing_behind(town: Town, ticks: int) -> None:
    town.register(max_pool_size=1, max_concurrent_requests=1)
    call = town.start("SELECT 1")
    for _ in range(ticks):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await town.ask() == 1
    await until(town.connections, 1)


async def test_a_caller_who_leaves_while_several_connections_are_made_loses_none_of_them(
    postgres: EmbeddedPostgres,
) -> None:
    """One that nobody gives back would count for ever, and the tenant would have one more than it may."""
    made = 0

    async def log_in() -> asyncpg.Connection:
        nonlocal made
        made += 1
        if made == 2:  # the second one never arrives
            await asyncio.Event().wait()
        return await asyncpg.connect(postgres.dsn("postgres"))

    shelf = Shelf(log_in, prepare_connection, 60)
    filling = asyncio.create_task(shelf.fill(2))
    async with asyncio.timeout(WITHIN):
        while not shelf.size:  # noqa: ASYNC110 - a shelf has no use for an event
            await asyncio.sleep(0.01)
    filling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await filling
    assert (shelf.size, shelf.idle) == (1, 1)
    shelf.terminate()


async def test_after_all_backends_were_killed_the_next_call_succeeds_without_an_error(town: Town) -> None:
    calls = [town.start("SELECT pg_sleep(0.2)::text") for _ in range(4)]
    await asyncio.gather(*calls)
    assert await town.connections() == 4
    await town.kill()
    await until(town.connections, 0)
    assert (await town.call())["rows"] == [[1]]


async def test_a_call_whose_backend_is_killed_under_it_is_run_again(town: Town) -> None:
    call = asyncio.create_task(town.call("SELECT pg_sleep(0.5)::text"))
    await until(town.running, 1)
    await town.kill()
    assert (await call)["rows"] == [[""]]


async def test_a_stopped_replica_has_no_connection_left_and_opens_none(make_town: MakeTown) -> None:
    town = await make_town(drain_seconds=0.2)
    town.register(max_pool_size=1)
    town.register("other")
    await town.ask(tenant="other")
    running = asyncio.create_task(error_of(town.ask(LONG)))
    await until(town.running, 1)
    waiting = asyncio.create_task(error_of(town.ask()))
    await asyncio.sleep(0)
    await town.pools.close()
    assert isinstance(await running, TenantChanged)
    assert (await waiting).retryable
    assert (await error_of(town.ask())).retryable
    assert await town.connections() == 0


# --- how a login is made


@pytest.mark.parametrize("ssl", ["disable", "allow", "prefer"])
async def test_modes_that_do_not_insist_on_tls_work_without_it(town: Town, ssl: str) -> None:
    town.register(ssl=ssl)
    assert await town.ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is False


@pytest.mark.parametrize("ssl", ["require", "verify-ca", "verify-full"])
async def test_modes_that_insist_on_tls_are_refused_without_it_and_say_so(town: Town, ssl: str) -> None:
    town.register(ssl=ssl)
    error = await error_of(town.ask())
    assert isinstance(error, LoginRefused)
    assert "offers no TLS" in error.message
    assert f"ssl={ssl}" in error.message


@pytest.mark.parametrize("ssl", ["disable", "allow", "prefer"])
async def test_a_wrong_password_is_told_as_that_whatever_the_mode(town: Town, ssl: str) -> None:
    town.register(ssl=ssl, password="wrong")
    error = await error_of(town.ask())
    assert isinstance(error, LoginRefused)
    assert error.facts["sqlstate"] == "28P01"


@pytest.mark.parametrize(
    ("config", "kind", "hint"),
    [
        ({"database": "no_such_database"}, LoginRefused, "no_such_database"),
        ({"user": "no_such_user"}, LoginRefused, "no_such_user"),
        ({"host": "no-such-host.invalid"}, TenantUnreachable, "no-such-host.invalid"),
    ],
)
async def test_what_is_wrong_with_a_login_is_told_by_name(
    town: Town, config: dict[str, str], kind: type[TenancyError], hint: str
) -> None:
    town.register(**config)
    error = await error_of(town.ask())
    assert type(error) is kind
    assert hint in error.message
    assert PASSWORD not in error.message


@pytest.fixture
def operators_environment(
    town: Town, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that libpq would help itself to, with a password that works."""
    (tmp_path / ".pgpass").write_text(f"*:*:*:*:{PASSWORD}\n")
    (tmp_path / ".pgpass").chmod(0o600)
    service = f"[operator]\nhost={postgres.host}\nport={postgres.port}\nuser={town.role}\npassword={PASSWORD}\n"
    (tmp_path / ".pg_service.conf").write_text(service)
    for name, value in {
        "HOME": str(tmp_path),
        "PGPASSWORD": PASSWORD,
        "PGPASSFILE": str(tmp_path / ".pgpass"),
        "PGSERVICEFILE": str(tmp_path / ".pg_service.conf"),
        "PGSERVICE": "operator",
        "PGHOST": "no-such-host.invalid",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c statement_timeout=1",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("operators_environment")
@pytest.mark.parametrize("ssl", ["disable", "prefer"])
async def test_a_tenant_without_a_password_does_not_borrow_the_operators(town: Town, ssl: str) -> None:
    town.register(password=None, ssl=ssl)
    error = await error_of(town.ask())
    assert isinstance(error, LoginRefused)
    assert PASSWORD not in error.message


@pytest.mark.usefixtures("operators_environment")
async def test_a_tenants_login_is_its_own_whatever_the_operators_environment_says(town: Town) -> None:
    assert await town.ask("SELECT current_user || ' ' || current_database()") == f"{town.role} postgres"


@pytest.mark.usefixtures("operators_environment")
async def test_the_process_forgets_the_operators_logins_and_nothing_else(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.setenv(name, os.environ[name])
    forget_libpq_environment()
    assert dict(os.environ) == before
    assert await town.ask() == 1


async def test_a_login_that_needs_no_password_works_without_one(town: Town) -> None:
    await town.admin.execute(f"ALTER ROLE {town.role} PASSWORD NULL")
    path = town.postgres.home / "cluster" / "pg_hba.conf"
    rules = path.read_text()
    try:
        path.write_text(f"host all {town.role} 127.0.0.1/32 trust\n{rules}")
        await town.admin.execute("SELECT pg_reload_conf()")
        town.register(password=None)
        assert await town.ask("SELECT current_user::text") == town.role
    finally:
        path.write_text(rules)
        await town.admin.execute("SELECT pg_reload_conf()")


# --- all of it at once


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_to_tenants_and_callers_no_place_no_lease_and_no_connection_is_lost(
    make_town: MakeTown, seed: int
) -> None:
    bound = 6
    town = await make_town(drain_seconds=0.05, max_connections=bound, max_pools=3)
    chance = random.Random(seed)  # noqa: S311 - what happens next, no secret
    tenants = "abcde"
    calls: list[asyncio.Task[dict[str, Any]]] = []
    for tenant in tenants:
        town.register(tenant)
    for _ in range(300):
        tenant = chance.choice(tenants)
        match chance.choices(["call", "cancel", "change", "remove", "kill"], [70, 15, 10, 4, 1])[0]:
            case "call":
                query = chance.choice(["SELECT 1", "SELECT pg_sleep(0.02)::text", "SELECT pg_sleep(0.2)::text", None])
                calls.append(asyncio.create_task(town.call(query, tenant)))
            case "cancel" if calls:
                chance.choice(calls[-20:]).cancel()
            case "change":
                database = chance.choice(["postgres", "postgres", "template1"])
                town.register(tenant, database=database, max_pool_size=chance.choice([1, 2, 4]))
            case "remove":
                town.remove(tenant)
            case _:
                await town.kill()
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01]))
        assert town.pools._connections() <= bound + len(tenants), "only a tenant's first login may go beyond"
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    ended = {told.get("code", "ok") if isinstance(told, dict) else type(told).__name__ for told in outcomes}
    fine = {"ok", "removed_tenant", "tenant_busy", "tenant_changed", "tenant_unreachable", "CancelledError"}
    assert ended <= fine
    assert town.pools._connections() <= bound
    assert (town.pools.running, town.pools.logging_in, town.pools.waiting) == (0, 0, (0, 0))
    for seat in town.pools._seats.values():
        assert (seat.gate.running, seat.pool.leased, seat.pool.busy) == (0, 0, False)
    for tenant in tenants:
        town.register(tenant)
        assert (await town.call(tenant=tenant))["rows"] == [[1]]
    await town.pools.close()
    await until(town.connections, 0)
