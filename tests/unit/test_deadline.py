"""A deadline that is put off again and again."""

import asyncio

from server.deadline import Deadline


async def test_a_deadline_that_is_put_off_is_missed_once_when_nothing_comes_any_more() -> None:
    loop, missed = asyncio.get_running_loop(), asyncio.Event()
    times = list[float]()

    def miss() -> None:
        times.append(loop.time())
        missed.set()

    deadline = Deadline(loop, 0.02, miss)
    for _ in range(5):
        deadline.set()
        await asyncio.sleep(0.005)
    last = loop.time() - 0.006  # the last `set` was before the last sleep, which may take longer
    deadline.set()
    await missed.wait()
    assert len(times) == 1
    assert times[0] > last
    assert not deadline.is_set


async def test_a_deadline_that_is_lifted_or_ended_is_not_missed() -> None:
    missed = list[int]()
    deadline = Deadline(asyncio.get_running_loop(), 0.001, lambda: missed.append(1))
    for end in (deadline.lift, deadline.end):
        deadline.set()
        end()
        await asyncio.sleep(0.005)
    assert missed == []
