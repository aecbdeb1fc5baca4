"""A database that is down, hangs or is none: what its callers are told, and that nobody else waits."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from registry.errors import (
    LoginRefused,
    TenantUnreachable,
)
from tests.tenancies import PASSWORD, Door, MakeTenancy, Tenancy, error_of


async def test_fifty_callers_of_a_database_that_is_down_make_one_attempt_and_all_are_told_why(
    tenancy: Tenancy, door: Door
) -> None:
    door.behaviour = "hang up"
    port = await door.open()
    tenancy.register(port=port, max_concurrent_requests=50)
    errors = await asyncio.gather(*(error_of(tenancy.ask()) for _ in range(50)))
    assert door.knocks == 1
    for error in errors:
        assert isinstance(error, TenantUnreachable)
        assert error.retryable
        assert f"127.0.0.1:{port}" in error.message
        assert "'acme'" in error.message
        assert PASSWORD not in f"{error.message}{error.facts}{error.__cause__}"
    assert tenancy.pools.error_of("acme") == errors[0].message


@pytest.mark.parametrize("kept", [0, 2], ids=["lazy", "kept"])
async def test_the_first_call_after_a_database_came_back_works(tenancy: Tenancy, door: Door, kept: int) -> None:
    door.behaviour = "hang up"
    tenancy.register(port=await door.open(), min_pool_size=kept)
    await error_of(tenancy.ask())
    refused = await error_of(tenancy.ask())
    door.behaviour = "forward"
    await asyncio.sleep(cast("int", refused.facts["retry_after_ms"]) / 1000 + 0.05)
    assert await tenancy.ask() == 1
    assert tenancy.pools.error_of("acme") is None


@pytest.mark.parametrize("kept", [0, 1], ids=["lazy", "kept"])
async def test_a_first_caller_who_gives_up_does_not_take_the_tenant_down(
    tenancy: Tenancy, door: Door, kept: int
) -> None:
    door.behaviour = "silent"
    tenancy.register(port=await door.open(), min_pool_size=kept)
    call = tenancy.start()
    await door.knocked.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    door.behaviour = "forward"
    assert await tenancy.ask() == 1


async def test_a_database_that_takes_calls_and_never_answers_holds_up_its_own_callers_only(
    make_tenancy: MakeTenancy, door: Door
) -> None:
    tenancy = await make_tenancy(connect_timeout=0.5)
    door.behaviour = "silent"
    tenancy.register("mute", port=await door.open())
    calls = [asyncio.create_task(error_of(tenancy.ask(tenant="mute"))) for _ in range(5)]
    await door.knocked.wait()
    assert await tenancy.ask() == 1
    assert not any(call.done() for call in calls)
    for error in await asyncio.gather(*calls):
        assert isinstance(error, TenantUnreachable)
        assert "did not answer in time" in error.message
    assert door.knocks == 1


async def test_a_server_that_is_no_postgres_is_a_login_that_fails_not_a_bug(tenancy: Tenancy, door: Door) -> None:
    door.behaviour = "other"
    port = await door.open()
    for number, ssl in enumerate(("disable", "prefer", "require")):
        tenancy.register(f"odd-{number}", port=port, ssl=ssl)
        told = await tenancy.call(tenant=f"odd-{number}")
        assert told["code"] in {"tenant_unreachable", "login_refused"}, (ssl, told)
        assert f"127.0.0.1:{port}" in told["message"]


async def test_nothing_listening_is_told_as_that_by_name_and_by_address(
    tenancy: Tenancy, free_port: Callable[[], int]
) -> None:
    port = free_port()
    for host in ("127.0.0.1", "localhost"):
        tenancy.register(host, host=host, port=port)
        told = await tenancy.call(tenant=host)
        assert (told["code"], told["retryable"]) == ("tenant_unreachable", True)
        assert "Nothing listens" in told["message"]


async def test_a_registration_that_was_corrected_works_at_once_though_the_old_login_is_still_hanging(
    tenancy: Tenancy, door: Door
) -> None:
    door.behaviour = "silent"
    tenancy.register(port=await door.open())
    old = asyncio.create_task(error_of(tenancy.ask()))
    await door.knocked.wait()
    tenancy.register()
    assert await tenancy.ask() == 1
    assert not old.done()
    old.cancel()
    await asyncio.gather(old, return_exceptions=True)
    assert tenancy.pools.error_of("acme") is None


async def test_a_wrong_password_is_told_without_it_and_the_right_one_works_at_once(tenancy: Tenancy) -> None:
    tenancy.register(password="wrong-canary")
    error = await error_of(tenancy.ask())
    assert isinstance(error, LoginRefused)
    assert not error.retryable
    assert "'acme'" in error.message
    assert "canary" not in f"{error.message}{error.facts}"
    tenancy.register()
    assert await tenancy.ask() == 1
