"""Work that is stopped from outside: who stops it hears so, and nobody else's cancellation is swallowed."""

import asyncio

import pytest

from server.interruption import Interruption


async def under_way(scope: Interruption) -> asyncio.Task[None]:
    """Return work in a task of its own that has begun."""
    begun = asyncio.Event()

    async def work() -> None:
        with scope:
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await begun.wait()
    return task


async def test_work_that_is_struck_ends_in_a_timeout() -> None:
    scope = Interruption()
    asyncio.get_running_loop().call_soon(scope.strike)
    with pytest.raises(TimeoutError), scope:
        await asyncio.sleep(60)
    assert scope.struck
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling(), "the task goes on as if nothing had been"


async def test_another_cancellation_goes_on_as_what_it_is() -> None:
    scope = Interruption()
    task = await under_way(scope)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scope.struck


async def test_a_caller_who_cancels_in_the_same_moment_is_obeyed() -> None:
    scope = Interruption()
    task = await under_way(scope)
    scope.strike()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_of_two_around_the_same_work_the_one_that_was_struck_tells_so() -> None:
    outer, inner = Interruption(), Interruption()
    asyncio.get_running_loop().call_soon(outer.strike)
    with pytest.raises(TimeoutError), outer, inner:
        await asyncio.sleep(60)
    assert (outer.struck, inner.struck) == (True, False)


async def test_work_that_has_ended_is_not_struck() -> None:
    scope = Interruption()
    with scope:
        pass
    scope.strike()
    await asyncio.sleep(0)
    assert not scope.struck


async def test_an_error_of_the_work_is_told_rather_than_that_it_was_struck() -> None:
    scope = Interruption()
    asyncio.get_running_loop().call_soon(scope.strike)

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("broke while it was being stopped")

    with pytest.raises(KeyError), scope:
        await work()
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()
