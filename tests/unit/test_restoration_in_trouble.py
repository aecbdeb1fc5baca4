"""Restorers whose log goes, cannot be reached or is written to meanwhile, and who die anywhere."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from registry.entries import Head, Unreadable
from registry.errors import LogDiverged, RegistryUnavailable
from registry.events import TenantRestated
from registry.log import Outcome, Proposal
from registry.state import Live
from tests.folding import World
from tests.survivors import Crash, FrailLog, Survivor, begun, events_in, folded, said_of


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A log that several may restore at once, none of whom waits by the clock for another."""
    monkeypatch.setattr("projections.restoration._PAUSE", 0.0)
    return await begun()


@given(st.integers(0, 6), st.booleans(), st.booleans())
def test_whoever_dies_between_any_two_steps_is_continued_by_the_next(calls: int, late: bool, everything: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
    async def run() -> None:
        world = await begun()
        dying, next_one = Survivor(world, "dying"), Survivor(world, "next")
        before = said_of(world.directory)
        (world.lose_everything if everything else world.lose_stream)()
        log = world.log
        assert isinstance(log, FrailLog)
        log.calls_left, log.dies_after = calls, late
        died = False
        try:
            await dying.restore()
        except Crash:
            died = True
        log.calls_left = float("inf")

        await next_one.restore()

        assert died == (calls < 3)
        assert said_of(await folded(world)) == before
        restated = [event.tenant for event in await events_in(log) if isinstance(event, TenantRestated)]
        assert sorted(restated) == ["a", "b", "gone"]

    asyncio.run(run())


async def test_a_log_that_is_lost_once_more_meanwhile_is_told(world: World) -> None:
    survivor, log = Survivor(world, "one"), world.log
    assert isinstance(log, FrailLog)
    world.lose_everything()
    original = log.append

    async def losing(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        world.lose_everything()
        return await original(proposals)

    log.append = losing  # type: ignore[method-assign]  # the log is lost under the restorer's hands
    with pytest.raises(LogDiverged, match="gone again"):
        await survivor.restore()
    log.append = original  # type: ignore[method-assign]  # and then no more

    assert await survivor.restore() == (2, 1)


async def test_a_log_that_loses_what_was_just_said_again_and_keeps_its_heads_is_told(world: World) -> None:
    survivor, log = Survivor(world, "one"), world.log
    assert isinstance(log, FrailLog)
    world.lose_everything()
    original = log.append

    async def losing(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await original(proposals)
        log._entries.clear()
        log._end = None
        return outcomes

    log.append = losing  # type: ignore[method-assign]  # the stream goes before what was appended is read
    with pytest.raises(LogDiverged):
        async with asyncio.timeout(5):
            await survivor.restore()


async def test_who_cannot_reach_the_log_says_so_and_may_try_again(world: World) -> None:
    survivor, log, before = Survivor(world, "one"), world.log, said_of(world.directory)
    world.lose_everything()
    original = log.heads

    async def unavailable(tenants: Sequence[str]) -> Sequence[None]:
        raise RegistryUnavailable(f"Redis cannot be reached; try again: {len(tenants)}")

    log.heads = unavailable  # type: ignore[method-assign]  # Redis is away
    with pytest.raises(RegistryUnavailable):
        await survivor.restore()
    log.heads = original  # type: ignore[method-assign]  # and back
    await survivor.restore()

    assert said_of(await folded(world)) == before


async def test_tenants_that_are_registered_while_the_log_is_restored_are_left_alone(world: World) -> None:
    survivor, before = Survivor(world, "one"), said_of(world.directory)
    world.lose_everything()
    await world.begin()
    await world.register("new")

    await survivor.restore()

    assert said_of(await folded(world)).keys() == {*before, "new"}
    assert said_of(survivor.held).keys() == {*before, "new"}


async def test_what_somebody_changes_between_the_look_and_the_append_is_looked_at_again(world: World) -> None:
    survivor, log = Survivor(world, "one"), world.log
    world.lose_everything()
    original, changed = log.heads, False

    async def meanwhile(tenants: Sequence[str]) -> Sequence[Head | Unreadable | None]:
        nonlocal changed
        if not changed:
            changed = True
            await world.catch_up()
            world.it_is(5000)
            await world.register("a", host="meanwhile")
        return await original(tenants)

    log.heads = meanwhile  # type: ignore[method-assign]  # somebody is faster
    await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Live)
    assert tenant.config.host == "meanwhile"
