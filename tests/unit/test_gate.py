"""The gate: never more inside than there are places, first come first served, and no place lost on the way."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from hypothesis import given, strategies as st

from server.gate import Full, Gate
from tests.visitors import FOREVER, Visitor, settle

STEPS: Final = ("come", "leave", "cancel", "resize", "tick")


@asynccontextmanager
async def place(gate: Gate, patience: float) -> AsyncIterator[None]:
    """Hold a place."""
    await gate.enter(patience)
    try:
        yield
    finally:
        gate.leave()


class Caller(Visitor[int]):
    """One caller of a gate."""

    def __init__(self, gate: Gate, name: int = 0, entered: list[int] | None = None, patience: float = FOREVER) -> None:
        super().__init__(place(gate, patience), name, entered)


async def require_free(gate: Gate, limit: int) -> None:
    """Fail unless the gate has exactly `limit` places left, for callers that will not wait."""
    async with everyone(gate, limit):
        assert gate.running == limit
        with pytest.raises(Full):
            async with place(gate, 0):
                pass
    assert gate.running == 0


@asynccontextmanager
async def everyone(gate: Gate, number: int) -> AsyncIterator[list[Caller]]:
    """Hold `number` callers inside."""
    callers = [Caller(gate) for _ in range(number)]
    await settle()
    assert all(caller.inside for caller in callers)
    yield callers
    for caller in callers:
        caller.leave()
    await asyncio.gather(*(caller.ended() for caller in callers))


@given(
    limit=st.integers(1, 4),
    queue=st.integers(0, 4),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=40),
    seed=st.integers(0, 2**32),
)
def test_whatever_callers_do_none_runs_beyond_the_limit_or_before_its_turn_and_all_places_come_back(
    limit: int, queue: int, steps: list[tuple[str, int]], seed: int
) -> None:
    asyncio.run(_random_life(limit, queue, steps, random.Random(seed)))  # noqa: S311 - which caller, no secret


async def _random_life(limit: int, queue: int, steps: list[tuple[str, int]], chance: random.Random) -> None:
    gate = Gate(limit, limit + queue)
    entered: list[int] = []
    callers: list[Caller] = []
    most = limit
    for step, number in steps:
        match step:
            case "come":
                # A newcomer that finds room beside one who is just being woken overtakes nobody: let those wake first.
                await settle()
                callers.append(Caller(gate, len(callers), entered))
            case "leave" | "cancel" if callers:
                getattr(chance.choice(callers), step)()
            case "resize":
                await settle()
                limit = number % 4 + 1
                most = max(limit, gate.running)
                gate.resize(limit, limit + queue)
            case _:
                await asyncio.sleep(0)
        inside = sum(caller.inside for caller in callers)
        assert inside <= gate.running <= max(most, limit)
        most = max(limit, gate.running)
    for caller in callers:
        caller.leave()
    await asyncio.gather(*(caller.ended() for caller in callers))
    assert entered == sorted(entered), "somebody was let in before those who came earlier"
    await require_free(gate, limit)


async def test_callers_beyond_the_limit_wait_and_enter_in_the_order_in_which_they_came() -> None:
    gate, entered = Gate(1, 5), list[int]()
    callers = [Caller(gate, number, entered) for number in range(5)]
    for number in range(5):
        await settle()
        assert entered == list(range(number + 1))
        callers[number].leave()
    assert [await caller.ended() for caller in callers] == ["done"] * 5


async def test_a_caller_who_finds_the_queue_full_is_told_at_once() -> None:
    gate = Gate(2, 3)
    callers = [Caller(gate) for _ in range(4)]
    await settle()
    assert callers[3].task.done()
    assert await callers[3].ended() == "full"
    for caller in callers[:3]:
        caller.leave()
    assert [await caller.ended() for caller in callers[:3]] == ["done"] * 3


async def test_a_caller_who_came_later_does_not_overtake_one_who_was_just_handed_the_place() -> None:
    gate, entered = Gate(1, 3), list[int]()
    first, second = Caller(gate, 0, entered), Caller(gate, 1, entered)
    await settle()
    first.leave()
    await first.ended()
    third = Caller(gate, 2, entered)
    second.leave()
    third.leave()
    await asyncio.gather(second.ended(), third.ended())
    assert entered == [0, 1, 2]


async def test_a_caller_whose_patience_ends_is_told_and_leaves_its_place_in_the_queue_to_another() -> None:
    gate = Gate(1, 2)
    async with everyone(gate, 1):
        assert await Caller(gate, patience=0).ended() == "full"
        assert await Caller(gate, patience=0.001).ended() == "full"
        waiting = Caller(gate)
        await settle()
        assert not waiting.task.done()
        waiting.leave()
    assert await waiting.ended() == "done"
    await require_free(gate, 1)


async def test_a_cancelled_waiter_makes_room_in_the_queue_and_the_one_behind_it_moves_up() -> None:
    gate = Gate(1, 3)
    async with everyone(gate, 1):
        second, third = Caller(gate), Caller(gate)
        await settle()
        second.cancel()
        assert await second.ended() == "cancelled"
        fourth = Caller(gate)
        await settle()
        assert not fourth.task.done()
        third.leave()
        fourth.leave()
    assert [await caller.ended() for caller in (third, fourth)] == ["done", "done"]
    await require_free(gate, 1)


@pytest.mark.parametrize("ticks", range(4))
@pytest.mark.parametrize("first", ["leave", "cancel"])
async def test_a_waiter_cancelled_around_the_tick_in_which_it_is_handed_a_place_passes_it_on(
    first: str, ticks: int
) -> None:
    gate = Gate(1, 3)
    holder, waiter, heir = Caller(gate), Caller(gate), Caller(gate)
    await settle()
    acts = [holder.leave, waiter.cancel] if first == "leave" else [waiter.cancel, holder.leave]
    acts[0]()
    for _ in range(ticks):
        await asyncio.sleep(0)
    acts[1]()
    await settle()
    assert heir.inside
    assert gate.running == 1
    heir.leave()
    await asyncio.gather(holder.ended(), waiter.ended(), heir.ended())
    await require_free(gate, 1)


async def test_a_place_handed_over_in_the_very_tick_of_the_cancellation_is_not_lost() -> None:
    gate = Gate(1, 3)
    inside = place(gate, FOREVER)
    await inside.__aenter__()
    waiter, heir = Caller(gate), Caller(gate)
    await settle()
    await inside.__aexit__(None, None, None)  # nothing runs in between: the place is the waiter's, and it cannot know
    waiter.cancel()
    await settle()
    assert await waiter.ended() == "cancelled"
    assert heir.inside
    heir.leave()
    await heir.ended()
    await require_free(gate, 1)


async def test_a_place_handed_over_in_the_very_tick_in_which_patience_ends_is_not_lost() -> None:
    gate = Gate(1, 3)
    inside = place(gate, FOREVER)
    await inside.__aenter__()
    waiter = Caller(gate, patience=0)
    heir = Caller(gate)
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # both are in the queue, and the waiter's patience ends in this very tick, after this
    assert not waiter.task.done()
    await inside.__aexit__(None, None, None)
    await settle()
    assert await waiter.ended() == "full"
    assert heir.inside
    heir.leave()
    await heir.ended()
    await require_free(gate, 1)


async def test_a_raised_limit_lets_those_who_wait_in_without_waiting_for_anyone_to_leave() -> None:
    gate = Gate(1, 4)
    callers = [Caller(gate) for _ in range(4)]
    await settle()
    gate.resize(3, 4)
    await settle()
    assert [caller.inside for caller in callers] == [True, True, True, False]
    for caller in callers:
        caller.leave()
    assert [await caller.ended() for caller in callers] == ["done"] * 4


async def test_a_lowered_limit_throws_nobody_out_and_holds_for_everybody_who_comes_next() -> None:
    gate = Gate(3, 5)
    async with everyone(gate, 3) as callers:
        gate.resize(1, 5)
        waiting = Caller(gate)
        for caller in callers[:2]:
            caller.leave()
            await settle()
            assert not waiting.inside
        assert gate.running == 1
        callers[2].leave()
        await settle()
        assert waiting.inside
        waiting.leave()
    await waiting.ended()
    await require_free(gate, 1)


async def test_a_queue_shorter_than_the_limit_is_as_long_as_the_limit() -> None:
    gate = Gate(3, 1)
    async with everyone(gate, 3):
        assert await Caller(gate).ended() == "full"
