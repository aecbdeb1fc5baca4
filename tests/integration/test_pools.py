"""How many connections a tenant has, what it must leave to the others, and that none is ever lost."""

import asyncio
import random
from typing import Any

import pytest

from registry.errors import (
    TenantBusy,
)
from tests.tenancies import Door, MakeTenancy, Tenancy, error_of, give_up, until


async def test_a_registered_tenant_costs_no_connection_until_its_first_call(tenancy: Tenancy) -> None:
    tenancy.register("other")
    assert await tenancy.connections() == 0
    assert await tenancy.ask() == 1
    assert await tenancy.connections() == 1


async def test_calls_one_after_another_share_a_connection(tenancy: Tenancy) -> None:
    assert len({await tenancy.backend() for _ in range(5)}) == 1


async def test_a_tenant_that_wants_connections_kept_has_them_after_its_first_call(tenancy: Tenancy) -> None:
    tenancy.register(min_pool_size=3)
    assert await tenancy.connections() == 0
    await tenancy.ask()
    assert await tenancy.connections() == 3


async def test_no_more_than_max_pool_size_run_at_once_and_no_more_than_max_concurrent_requests_are_let_in(
    tenancy: Tenancy,
) -> None:
    tenancy.register(max_pool_size=2, max_concurrent_requests=4)
    calls = [tenancy.start() for _ in range(4)]
    await until(tenancy.running, 2)
    refused = await error_of(tenancy.ask())
    assert isinstance(refused, TenantBusy)
    assert refused.retryable
    assert "'acme'" in refused.message
    assert await tenancy.connections() == 2
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert await tenancy.ask() == 1


async def test_a_tenant_whose_share_is_used_up_takes_nothing_from_another(tenancy: Tenancy) -> None:
    tenancy.register(max_pool_size=1, max_concurrent_requests=1)
    tenancy.register("other")
    busy = tenancy.start()
    await until(tenancy.running, 1)
    assert isinstance(await error_of(tenancy.ask()), TenantBusy)
    assert await tenancy.ask(tenant="other") == 1
    busy.cancel()


async def test_the_least_recently_used_pool_goes_when_there_are_too_many(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_pools=2)
    tenancy.register("b")
    tenancy.register("c")
    first = await tenancy.backend("acme")
    await tenancy.ask(tenant="b")
    assert await tenancy.backend("acme") == first
    await tenancy.ask(tenant="c")
    assert len(tenancy.pools) == 2
    await until(tenancy.connections, 2)
    assert await tenancy.backend("acme") == first, "b was used less recently"


async def test_a_pool_in_use_is_not_closed_for_another_tenant_which_may_come_again(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_pools=1)
    tenancy.register("b")
    call = tenancy.start("SELECT pg_sleep(0.5)::text")
    await until(tenancy.running, 1)
    refused = await error_of(tenancy.ask(tenant="b"))
    assert isinstance(refused, TenantBusy)
    assert refused.retryable
    assert await call == ""
    assert await tenancy.ask(tenant="b") == 1


async def test_idle_connections_of_others_are_closed_before_a_replica_opens_too_many(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_connections=3)
    for tenant in "abcdef":
        tenancy.register(tenant)
        await tenancy.ask(tenant=tenant)
        await until(tenancy.connections, min(3, "abcdef".index(tenant) + 1))


async def test_idle_connections_of_a_tenant_in_use_are_closed_too_when_another_one_needs_room(
    make_tenancy: MakeTenancy,
) -> None:
    tenancy = await make_tenancy(max_connections=3)
    busy = await _three_connections_of_which_acme_can_spare_one(tenancy)
    assert await tenancy.ask(tenant="late") == 1
    await until(tenancy.connections, 3)
    assert not any(call.done() for call in busy)
    await give_up(busy)


async def _three_connections_of_which_acme_can_spare_one(tenancy: Tenancy) -> "list[asyncio.Task[object]]":
    tenancy.register("other")
    tenancy.register("late")
    await asyncio.gather(*(tenancy.start("SELECT pg_sleep(0.2)::text") for _ in range(2)))
    busy = [tenancy.start(), tenancy.start(tenant="other")]
    await until(tenancy.running, 2)
    assert await tenancy.connections() == 3
    return busy


async def test_idle_connections_of_a_pool_that_drains_are_closed_when_somebody_needs_room(
    make_tenancy: MakeTenancy,
) -> None:
    tenancy = await make_tenancy(max_connections=3)
    busy = await _three_connections_of_which_acme_can_spare_one(tenancy)
    tenancy.remove()
    assert await tenancy.connections() == 3
    assert await tenancy.ask(tenant="late") == 1
    await until(tenancy.connections, 3)
    await give_up(busy)


async def test_a_tenant_that_wants_connections_kept_makes_way_when_it_is_idle(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_connections=3)
    tenancy.register(min_pool_size=3)
    tenancy.register("other", min_pool_size=2)
    await tenancy.ask()
    assert await tenancy.ask(tenant="other") == 1
    await until(tenancy.connections, 2)


async def test_one_more_connection_costs_one_idle_tenant_its_own_and_not_all_of_them(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_connections=4)
    for tenant in "abcd":
        tenancy.register(tenant, min_pool_size=1)
        await tenancy.ask(tenant=tenant)
    tenancy.register("last")
    await tenancy.ask(tenant="last")
    assert len(tenancy.pools) == 4
    await until(tenancy.connections, 4)


async def test_calls_that_wait_for_a_database_that_hangs_at_the_door_hold_no_place_that_others_need(
    make_tenancy: MakeTenancy, door: Door
) -> None:
    tenancy = await make_tenancy(max_connections=2)
    door.behaviour = "silent"
    port = await door.open()
    await tenancy.ask()
    hanging: list[asyncio.Task[object]] = []
    for number in range(6):
        tenancy.register(f"mute-{number}", port=port)
        hanging += [tenancy.start(tenant=f"mute-{number}") for _ in range(5)]
    await door.knocked.wait()
    backend = await tenancy.backend()
    assert tenancy.pools.running == 0
    assert await asyncio.gather(*(tenancy.ask() for _ in range(5))) == [1] * 5
    assert await tenancy.backend() == backend, "its idle connection was closed for one that was only being tried"
    await give_up(hanging)


async def test_a_tenant_whose_queries_hang_leaves_as_many_places_free_as_it_holds(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_connections=6)
    tenancy.register(max_pool_size=50, max_concurrent_requests=50)
    for tenant in ("b", "c"):
        tenancy.register(tenant)
    hanging = [tenancy.start() for _ in range(20)]
    await until(tenancy.running, 3)
    assert await asyncio.gather(*(tenancy.ask(tenant=tenant) for tenant in "bc")) == [1, 1]
    assert await tenancy.running() == 3
    assert tenancy.pools.waiting == (0, 17)
    await give_up(hanging)
    assert tenancy.pools.running == 0


async def test_no_more_calls_run_than_a_replica_may_have_connections(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(max_connections=2)
    tenants = "abcd"
    for tenant in tenants:
        tenancy.register(tenant)
    calls = [tenancy.start("SELECT pg_sleep(0.2)::text", tenant) for tenant in tenants]
    most = 0
    while not all(call.done() for call in calls):
        most = max(most, await tenancy.running())
    assert [await call for call in calls] == [""] * 4
    assert most == 2


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_to_tenants_and_callers_no_place_no_lease_and_no_connection_is_lost(
    make_tenancy: MakeTenancy, seed: int
) -> None:
    bound = 6
    tenancy = await make_tenancy(drain_seconds=0.05, max_connections=bound, max_pools=3)
    chance = random.Random(seed)  # noqa: S311 - what happens next, no secret
    tenants = "abcde"
    calls: list[asyncio.Task[dict[str, Any]]] = []
    for tenant in tenants:
        tenancy.register(tenant)
    for _ in range(300):
        tenant = chance.choice(tenants)
        match chance.choices(["call", "cancel", "change", "remove", "kill"], [70, 15, 10, 4, 1])[0]:
            case "call":
                query = chance.choice(["SELECT 1", "SELECT pg_sleep(0.02)::text", "SELECT pg_sleep(0.2)::text", None])
                calls.append(asyncio.create_task(tenancy.call(query, tenant)))
            case "cancel" if calls:
                chance.choice(calls[-20:]).cancel()
            case "change":
                database = chance.choice(["postgres", "postgres", "template1"])
                tenancy.register(tenant, database=database, max_pool_size=chance.choice([1, 2, 4]))
            case "remove":
                tenancy.remove(tenant)
            case _:
                await tenancy.kill()
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01]))
        assert tenancy.pools._connections() <= bound + len(tenants), "only a tenant's first login may go beyond"
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    ended = {told.get("code", "ok") if isinstance(told, dict) else type(told).__name__ for told in outcomes}
    fine = {"ok", "removed_tenant", "tenant_busy", "tenant_changed", "tenant_unreachable", "CancelledError"}
    assert ended <= fine
    assert tenancy.pools._connections() <= bound
    assert (tenancy.pools.running, tenancy.pools.logging_in, tenancy.pools.waiting) == (0, 0, (0, 0))
    for seat in tenancy.pools._seats.values():
        assert (seat.gate.running, seat.pool.leased, seat.pool.busy) == (0, 0, False)
    for tenant in tenants:
        tenancy.register(tenant)
        assert (await tenancy.call(tenant=tenant))["rows"] == [[1]]
    await tenancy.pools.close()
    await until(tenancy.connections, 0)
