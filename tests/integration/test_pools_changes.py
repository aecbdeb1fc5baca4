"""What a new registration or a removal does to a tenant's open connections and running calls."""

import asyncio
import gc

import pytest

from registry.errors import (
    RemovedTenant,
    TenantBusy,
    TenantChanged,
    UnknownTenant,
)
from server import pools
from server.shared_reads import AT_ONCE
from tests.tenancies import LONG, WITHIN, Door, MakeTenancy, Tenancy, error_of, until


async def test_a_change_of_limits_keeps_connections_and_running_calls(tenancy: Tenancy) -> None:
    before = await tenancy.backend()
    tenancy.register(max_pool_size=3, max_concurrent_requests=7)
    assert await tenancy.backend() == before
    call = tenancy.start("SELECT pg_sleep(0.3)::text")
    await until(tenancy.running, 1)
    tenancy.register(max_pool_size=1, max_concurrent_requests=1)
    assert isinstance(await error_of(tenancy.ask()), TenantBusy)
    assert await call == ""
    assert await tenancy.backend() == before


async def test_after_a_larger_share_a_caller_whom_the_open_pool_has_no_connection_for_is_not_left_waiting(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "PATIENCE", 0.1)
    tenancy.register(max_pool_size=1)
    call = tenancy.start()
    await until(tenancy.running, 1)
    tenancy.register(max_pool_size=5)
    assert isinstance(await error_of(tenancy.ask()), TenantBusy)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_new_password_opens_a_new_pool_while_what_runs_on_the_old_one_ends_in_peace(tenancy: Tenancy) -> None:
    before = await tenancy.backend()
    call = tenancy.start("SELECT pg_sleep(1)::text")
    await until(tenancy.running, 1)
    await tenancy.admin.execute(f"ALTER ROLE {tenancy.role} PASSWORD 'another'")
    tenancy.register(password="another")
    assert await tenancy.backend() != before
    assert not call.done()
    assert await call == ""
    await until(tenancy.connections, 1)


async def test_a_pool_that_was_never_used_is_replaced_and_removed_without_a_word(tenancy: Tenancy) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    await tenancy.ask()
    tenancy.register(database="template1")
    tenancy.register(database="postgres")
    tenancy.remove()
    await tenancy.pools.close()
    await until(tenancy.connections, 0)
    gc.collect()  # what a task died of is told when the task goes
    assert complaints == []


async def test_after_a_removal_new_calls_are_refused_at_once_and_running_ones_get_their_time(
    make_tenancy: MakeTenancy,
) -> None:
    tenancy = await make_tenancy(drain_seconds=5)
    call = tenancy.start("SELECT pg_sleep(0.5)::text")
    await until(tenancy.running, 1)
    tenancy.remove()
    assert isinstance(await error_of(tenancy.ask()), RemovedTenant)
    assert not call.done()
    assert await call == ""
    await until(tenancy.connections, 0)


async def test_what_outlives_the_drain_time_is_cancelled_in_postgres_and_its_caller_told(
    make_tenancy: MakeTenancy,
) -> None:
    tenancy = await make_tenancy(drain_seconds=0.3)
    calls = [asyncio.create_task(error_of(tenancy.ask(LONG))) for _ in range(3)]
    await until(tenancy.running, 3)
    tenancy.remove()
    for error in await asyncio.gather(*calls):
        assert isinstance(error, TenantChanged)
        assert error.retryable
        assert "'acme'" in error.message
    await until(tenancy.running, 0)
    await until(tenancy.connections, 0)


async def test_a_caller_who_waits_for_its_turn_when_the_tenant_is_removed_never_runs(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(drain_seconds=0.2)
    tenancy.register(max_pool_size=1)
    running = asyncio.create_task(error_of(tenancy.ask(LONG)))
    await until(tenancy.running, 1)
    waiting = asyncio.create_task(error_of(tenancy.ask()))
    await asyncio.sleep(0)
    tenancy.remove()
    assert isinstance(await running, TenantChanged)
    assert isinstance(await waiting, RemovedTenant)


async def test_callers_who_share_a_read_are_all_told_when_the_tenant_is_removed_under_it(
    make_tenancy: MakeTenancy,
) -> None:
    tenancy = await make_tenancy(drain_seconds=0.2)
    calls = [asyncio.create_task(error_of(tenancy.ask(LONG, shared=True))) for _ in range(AT_ONCE + 3)]
    await until(tenancy.running, AT_ONCE)
    tenancy.remove()
    assert {type(error) for error in await asyncio.gather(*calls)} == {TenantChanged}
    await until(tenancy.connections, 0)


async def test_a_caller_who_is_logging_in_when_the_tenant_is_removed_runs_nothing_afterwards(
    make_tenancy: MakeTenancy, door: Door
) -> None:
    tenancy = await make_tenancy(drain_seconds=WITHIN)
    door.behaviour = "late"
    tenancy.register(port=await door.open())
    call = asyncio.create_task(error_of(tenancy.ask()))
    await door.knocked.wait()
    tenancy.remove()
    door.let_in.set()
    assert isinstance(await call, TenantChanged)


async def test_a_tenant_that_was_removed_and_registered_again_answers_while_the_old_pool_drains(
    tenancy: Tenancy,
) -> None:
    call = tenancy.start("SELECT pg_sleep(0.5)::text")
    await until(tenancy.running, 1)
    tenancy.remove()
    tenancy.register()
    assert await tenancy.ask() == 1
    assert await call == ""


async def test_a_tenant_nobody_knows_opens_nothing(tenancy: Tenancy) -> None:
    assert isinstance(await error_of(tenancy.ask(tenant="nobody")), UnknownTenant)
    assert len(tenancy.pools) == 0
