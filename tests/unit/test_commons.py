"""Places for all tenants: whoever comes finds one, whoever holds the fewest goes first, and none is lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, strategies as st

from server.commons import Commons
from server.gate import Full
from tests.visitors import FOREVER, Visitor, settle


class Caller(Visitor[str]):
    """One call of a tenant."""

    def __init__(self, commons: Commons, tenant: str, entered: list[str] | None = None) -> None:
        self.tenant = tenant
        super().__init__(commons.place(tenant, FOREVER), tenant, entered)


@asynccontextmanager
async def crowd(commons: Commons, tenants: str, entered: list[str] | None = None) -> AsyncIterator[list[Caller]]:
    """Let a call of each of these tenants come; all have left at the end."""
    callers = [Caller(commons, tenant, entered) for tenant in tenants]
    await settle()
    yield callers
    for caller in callers:
        caller.leave()
    await asyncio.gather(*(caller.ended() for caller in callers))
    assert (commons.running, commons.waiting) == (0, 0)


@pytest.mark.parametrize(("places", "held"), [(1, 1), (2, 1), (3, 2), (10, 5), (400, 200)])
async def test_a_tenant_alone_holds_half_of_the_places(places: int, held: int) -> None:
    commons = Commons(places, 1000)
    async with crowd(commons, "a" * 300):
        assert commons.running == commons.held("a") == held


async def test_nine_tenants_that_take_all_they_can_get_leave_a_tenth_to_the_next() -> None:
    commons = Commons(400, 10_000)
    async with crowd(commons, "abcdefghi" * 100):
        assert commons.running <= 360
        async with crowd_of(commons, "z" * 20, []):
            assert commons.held("z") == 20


async def test_of_those_who_wait_the_tenant_that_holds_the_fewest_goes_first() -> None:
    commons, entered = Commons(4, 100), list[str]()
    async with crowd(commons, "aaabbc", entered) as callers:
        assert entered == ["a", "a", "b", "c"]
        async with crowd_of(commons, "d", entered) as late:
            callers[0].leave()
            await settle()
            assert entered[4:] == ["d"], "a and b hold one each, and came before"
            late[0].leave()
            await settle()
            assert entered[4:] == ["d"], "what is free now is for whoever comes next"


@asynccontextmanager
async def crowd_of(commons: Commons, tenants: str, entered: list[str]) -> AsyncIterator[list[Caller]]:
    callers = [Caller(commons, tenant, entered) for tenant in tenants]
    await settle()
    yield callers
    for caller in callers:
        caller.leave()
    await asyncio.gather(*(caller.ended() for caller in callers))


async def test_nobody_holds_more_than_each_may_however_many_are_free() -> None:
    commons = Commons(400, 1000, each=8)
    async with crowd(commons, "a" * 20):
        assert commons.running == 8


async def test_one_tenant_does_not_fill_the_queue_for_the_others() -> None:
    commons = Commons(1, 10)
    async with crowd(commons, "a" * 12 + "bb") as callers:
        assert [await caller.ended() for caller in callers[6:12]] == ["full"] * 6
        assert commons.waiting == 7
        assert not any(caller.task.done() for caller in callers[12:])


async def test_a_waiter_whose_patience_ends_leaves_nothing_behind() -> None:
    commons = Commons(1, 10)
    async with crowd(commons, "a"):
        with pytest.raises(Full):
            async with commons.place("b", 0):
                pass
        assert commons.waiting == 0


@given(
    places=st.integers(1, 5),
    queue=st.integers(0, 8),
    steps=st.lists(st.tuples(st.sampled_from(["come", "leave", "cancel", "tick"]), st.integers(0, 3)), max_size=50),
    seed=st.integers(0, 2**32),
)
def test_whatever_callers_do_no_place_is_lost_none_is_given_twice_and_nobody_waits_who_might_go_in(
    places: int, queue: int, steps: list[tuple[str, int]], seed: int
) -> None:
    asyncio.run(_random_life(places, queue, steps, random.Random(seed)))  # noqa: S311 - which caller, no secret


async def _random_life(places: int, queue: int, steps: list[tuple[str, int]], chance: random.Random) -> None:
    commons = Commons(places, queue)
    callers: list[Caller] = []
    for step, number in steps:
        match step:
            case "come":
                callers.append(Caller(commons, "abcd"[number]))
            case "leave" | "cancel" if callers:
                getattr(chance.choice(callers), step)()
            case _:
                await asyncio.sleep(0)
        assert sum(caller.inside for caller in callers) <= commons.running <= places
    await settle()
    for tenant in commons._waiting:
        assert commons.held(tenant) >= places - commons.running
    for _ in callers:  # each may wait for the one before
        for caller in callers:
            caller.leave()
        await settle()
    assert {await caller.ended() for caller in callers} <= {"done", "full", "cancelled"}
    assert (commons.running, commons.waiting, dict(commons._held)) == (0, 0, {})
