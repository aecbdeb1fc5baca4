"""Callers who leave, connections that break, a replica that stops: nothing is left behind."""

import asyncio

import asyncpg
import pytest

from registry.errors import (
    TenantChanged,
)
from server.embedded.postgres import EmbeddedPostgres
from server.reads import prepare_connection
from server.shelf import Shelf
from tests.tenancies import LONG, WITHIN, MakeTenancy, Tenancy, error_of, until


async def test_a_caller_who_leaves_stops_its_query_in_postgres_and_leaves_its_place_to_others(tenancy: Tenancy) -> None:
    tenancy.register(max_pool_size=2, max_concurrent_requests=2)
    for _ in range(3):
        calls = [tenancy.start() for _ in range(2)]
        await until(tenancy.running, 2)
        for call in calls:
            call.cancel()
        assert {type(told) for told in await asyncio.gather(*calls, return_exceptions=True)} == {asyncio.CancelledError}
        assert await tenancy.running() == 0
    assert await asyncio.gather(*(tenancy.ask() for _ in range(2))) == [1, 1]
    assert await tenancy.connections() <= 2


@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_a_caller_who_leaves_while_it_gets_its_connection_leaves_nothing_behind(
    tenancy: Tenancy, ticks: int
) -> None:
    tenancy.register(max_pool_size=1, max_concurrent_requests=1)
    call = tenancy.start("SELECT 1")
    for _ in range(ticks):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert await tenancy.ask() == 1
    await until(tenancy.connections, 1)


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


async def test_after_all_backends_were_killed_the_next_call_succeeds_without_an_error(tenancy: Tenancy) -> None:
    calls = [tenancy.start("SELECT pg_sleep(0.2)::text") for _ in range(4)]
    await asyncio.gather(*calls)
    assert await tenancy.connections() == 4
    await tenancy.kill()
    await until(tenancy.connections, 0)
    assert (await tenancy.call())["rows"] == [[1]]


async def test_a_call_whose_backend_is_killed_under_it_is_run_again(tenancy: Tenancy) -> None:
    call = asyncio.create_task(tenancy.call("SELECT pg_sleep(0.5)::text"))
    await until(tenancy.running, 1)
    await tenancy.kill()
    assert (await call)["rows"] == [[""]]


async def test_a_stopped_replica_has_no_connection_left_and_opens_none(make_tenancy: MakeTenancy) -> None:
    tenancy = await make_tenancy(drain_seconds=0.2)
    tenancy.register(max_pool_size=1)
    tenancy.register("other")
    await tenancy.ask(tenant="other")
    running = asyncio.create_task(error_of(tenancy.ask(LONG)))
    await until(tenancy.running, 1)
    waiting = asyncio.create_task(error_of(tenancy.ask()))
    await asyncio.sleep(0)
    await tenancy.pools.close()
    assert isinstance(await running, TenantChanged)
    assert (await waiting).retryable
    assert (await error_of(tenancy.ask())).retryable
    assert await tenancy.connections() == 0
