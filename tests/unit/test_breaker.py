"""The breaker: a database that is down is asked rarely, and everybody is told why at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from registry.errors import LoginRefused, PolicyRefused, SecretUnreadable, TenancyError, TenantUnreachable
from server.breaker import COOL_DOWN, Breaker

DOWN: Final = TenantUnreachable("Nothing listens on db:5432 of tenant 'acme'.", sqlstate=None)


class Clock:
    """Goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Database:
    """Counts who asks it, and how many at once; answers when told to, with what it is told to."""

    def __init__(self) -> None:
        self.asked = self.asking = self.most = 0
        self.error: TenancyError | None = None
        self.up = asyncio.Event()
        self.up.set()

    async def connect(self) -> int:
        self.asked += 1
        self.asking += 1
        self.most = max(self.most, self.asking)
        number = self.asked
        try:
            await asyncio.sleep(0)
            await self.up.wait()
        finally:
            self.asking -= 1
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


@pytest.fixture
def database() -> Database:
    return Database()


async def outcome_of(attempt: Awaitable[object]) -> object:
    try:
        return await attempt
    except TenancyError as error:
        return error


async def fail(breaker: Breaker, database: Database) -> TenancyError:
    told = await outcome_of(breaker.attempt(database.connect))
    assert isinstance(told, TenancyError)
    return told


async def test_fifty_first_callers_of_a_database_that_is_down_make_one_attempt_and_share_its_answer(
    breaker: Breaker, database: Database
) -> None:
    database.error = DOWN
    told = await asyncio.gather(*(outcome_of(breaker.attempt(database.connect)) for _ in range(50)))
    assert database.asked == 1
    for error in told:
        assert isinstance(error, TenantUnreachable)
        assert error.message.startswith(DOWN.message)


async def test_first_callers_of_a_database_that_is_up_go_one_at_a_time(breaker: Breaker, database: Database) -> None:
    told = await asyncio.gather(*(breaker.attempt(database.connect) for _ in range(5)))
    assert sorted(told) == [1, 2, 3, 4, 5]
    assert database.most == 1


async def test_once_a_login_has_worked_connections_are_opened_side_by_side(
    breaker: Breaker, database: Database
) -> None:
    await breaker.attempt(database.connect)
    await asyncio.gather(*(breaker.attempt(database.connect) for _ in range(5)))
    assert database.most == 5


async def test_a_first_caller_who_gives_up_leaves_the_attempt_to_the_next(breaker: Breaker, database: Database) -> None:
    database.up.clear()
    first, second = (asyncio.create_task(breaker.attempt(database.connect)) for _ in range(2))
    for _ in range(4):
        await asyncio.sleep(0)
    first.cancel()
    database.up.set()
    assert await second == 2
    assert breaker.last_error is None
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_each_further_failure_in_a_row_keeps_everybody_away_longer_up_to_a_bound(
    breaker: Breaker, database: Database, clock: Clock
) -> None:
    database.error = DOWN
    for attempts, pause in enumerate((*COOL_DOWN, COOL_DOWN[-1], COOL_DOWN[-1]), 1):
        await fail(breaker, database)
        assert database.asked == attempts
        clock.now += pause - 0.01
        await fail(breaker, database)
        assert database.asked == attempts, "somebody asked before the pause was over"
        clock.now += 0.02


async def test_logins_that_were_under_way_together_and_fail_together_count_as_one_failure(
    breaker: Breaker, database: Database, clock: Clock
) -> None:
    await breaker.attempt(database.connect)
    database.error = DOWN
    await asyncio.gather(*(fail(breaker, database) for _ in range(10)))
    assert database.most == 10
    database.error = None
    clock.now += COOL_DOWN[0] + 0.01
    assert await breaker.attempt(database.connect) == 12


async def test_who_is_refused_during_the_pause_is_told_when_to_come_again(
    breaker: Breaker, database: Database, clock: Clock
) -> None:
    database.error = DOWN
    await fail(breaker, database)
    clock.now += 0.2
    assert (await fail(breaker, database)).facts == {"sqlstate": None, "retry_after_ms": 300}
    assert DOWN.facts == {"sqlstate": None}


async def test_who_is_refused_during_the_pause_is_told_the_same_error_and_not_to_come_again_if_that_is_of_no_use(
    breaker: Breaker, database: Database, clock: Clock
) -> None:
    database.error = LoginRefused("db:5432 refuses the login of tenant 'acme'.", sqlstate="28P01")
    first = await fail(breaker, database)
    assert first is database.error
    clock.now += 0.2
    again = await fail(breaker, database)
    assert isinstance(again, LoginRefused)
    assert database.error.message in again.message
    assert again.facts == {"sqlstate": "28P01"}


async def test_what_policy_refuses_is_not_asked_again_at_once_either(
    breaker: Breaker, database: Database, clock: Clock
) -> None:
    database.error = PolicyRefused("db:5432 of tenant 'acme' is not where this server lets tenants point.")
    await fail(breaker, database)
    clock.now += 0.2
    assert isinstance(await fail(breaker, database), PolicyRefused)
    assert database.asked == 1


async def test_after_a_failure_callers_go_one_at_a_time_again_until_one_succeeds(
    breaker: Breaker, database: Database, clock: Clock
) -> None:
    await breaker.attempt(database.connect)
    database.error = DOWN
    await fail(breaker, database)
    clock.now += 60
    database.most = 0
    await asyncio.gather(*(fail(breaker, database) for _ in range(5)))
    assert (database.asked, database.most) == (3, 1)


async def test_a_success_forgets_all_failures(breaker: Breaker, database: Database, clock: Clock) -> None:
    database.error = DOWN
    for _ in range(4):
        await fail(breaker, database)
        clock.now += 60
    database.error = None
    await breaker.attempt(database.connect)
    assert breaker.last_error is None
    database.error = DOWN
    assert await fail(breaker, database) is DOWN
    clock.now += COOL_DOWN[0] + 0.01
    await fail(breaker, database)
    assert database.asked == 7


async def test_a_breaker_that_was_told_to_forget_lets_the_next_caller_try_at_once(
    breaker: Breaker, database: Database
) -> None:
    database.error = DOWN
    await fail(breaker, database)
    breaker.forget()
    assert breaker.last_error is None
    database.error = None
    assert await breaker.attempt(database.connect) == 2


@pytest.mark.parametrize("error", [SecretUnreadable("The password cannot be opened."), RuntimeError("a bug")])
async def test_what_is_not_the_databases_failure_is_raised_and_keeps_nobody_away(
    breaker: Breaker, database: Database, error: Exception
) -> None:
    def broken() -> Callable[[], Awaitable[int]]:
        async def connect() -> int:
            raise error

        return connect

    with pytest.raises(type(error)):
        await breaker.attempt(broken())
    assert breaker.last_error is None
    assert await breaker.attempt(database.connect) == 1
