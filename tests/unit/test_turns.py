"""Turns: whoever reads much waits for others, and whoever reads little never does."""

import asyncio
from typing import TYPE_CHECKING

from server.turns import CREDIT, REPAID, Turns

if TYPE_CHECKING:
    from collections.abc import Callable


class Day:
    """Turns on a clock that only work moves, with a timer that is run by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.did: list[str] = []
        self.turns = Turns(lambda seconds, call: self.due.append((self.now + seconds, call)), lambda: self.now)

    def work(self, tenant: str, steps: int, cost: float) -> None:
        """Ask for `steps` turns, each of which takes `cost` seconds."""
        left = steps

        def step() -> bool:
            nonlocal left
            self.now += cost
            self.did.append(tenant)
            left -= 1
            return left > 0

        self.turns.ask(tenant, step)

    def run(self) -> None:
        while self.due:
            at, call = self.due.pop(0)
            self.now = max(self.now, at)
            call()


def test_tenants_take_turns_however_many_connections_one_of_them_has() -> None:
    day = Day()
    for _ in range(10):
        day.work("greedy", 1, 0.001)
    day.work("modest", 2, 0.001)
    day.run()
    assert day.did[:4] == ["greedy", "modest", "greedy", "modest"]
    assert day.did.count("greedy") == 10


def test_between_two_steps_the_others_have_as_long_as_the_step_took() -> None:
    day = Day()
    day.work("greedy", 10, 0.25)
    day.run()
    assert day.now == 10 * 0.25 + 9 * 0.25
    assert day.due == []


def test_a_tenant_that_reads_little_need_not_wait_while_another_one_does() -> None:
    day = Day()
    day.work("greedy", 100, 0.1)
    assert day.turns.begin("greedy") is None
    assert day.turns.begin("modest") is not None


def test_what_was_read_counts_for_a_while_and_is_then_forgotten() -> None:
    day = Day()
    day.now = 2 * CREDIT
    day.turns.spent("acme", 0.0)
    assert day.turns.begin("acme") is None
    day.now += CREDIT / REPAID + 0.001
    assert day.turns.begin("acme") == day.now


def test_no_more_tenants_are_remembered_than_owe_something() -> None:
    day = Day()
    for number in range(5000):
        day.now += 1.0
        day.turns.spent(f"tenant-{number}", day.now - 0.0001)
    assert len(day.turns._paid_at) < 1100


async def test_who_waits_for_its_turn_may_leave_and_holds_up_nobody() -> None:
    day = Day()
    day.now = 1.0
    day.turns.spent("acme", 0.0)
    leaving, staying = asyncio.create_task(day.turns.turn("acme")), asyncio.create_task(day.turns.turn("acme"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    day.run()
    await staying


def test_a_step_that_breaks_does_not_end_the_turns() -> None:
    day = Day()

    def broken() -> bool:
        raise RuntimeError("theirs")

    day.turns.ask("odd", broken)
    day.work("modest", 1, 0.001)
    try:
        day.run()
    except RuntimeError:
        day.run()
    assert day.did == ["modest"]
