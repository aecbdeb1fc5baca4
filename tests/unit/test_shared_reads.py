"""One read for all who ask the same: nobody is told what was read before it asked, and nobody is left waiting."""

import asyncio
from typing import Final, cast

import pytest
from hypothesis import given, strategies as st

from registry.errors import ConnectionLost, QueryTimeout
from server.shared_reads import AT_ONCE, SharedReads
from tests.visitors import settle

STEPS: Final = ("ask", "ask", "ask", "answer", "answer", "fail", "break", "cancel", "write")


class Gone(Exception):
    """A read that broke."""


class Database:
    """What is read: a number that grows; each read has seen the one that it was begun at, and ends when it is told."""

    def __init__(self) -> None:
        self.written = 0
        self.begun = 0
        self.reading: list[asyncio.Future[None]] = []

    async def read(self) -> int:
        """Return the number of the moment in which the read began."""
        seen, end = self.written, asyncio.get_running_loop().create_future()
        self.begun += 1
        self.reading.append(end)
        try:
            await end
        finally:
            self.reading.remove(end)
        return seen

    async def answer(self) -> None:
        """Have the oldest read end."""
        self.reading[0].set_result(None)
        await settle()

    async def fail(self, error: Exception) -> None:
        """Have the oldest read fail."""
        self.reading[0].set_exception(error)
        await settle()


def asked(shared: SharedReads, database: Database, question: str = "tables") -> asyncio.Task[int]:
    """Have somebody ask."""

    async def ask() -> int:
        return await shared.ask(question, database.read)

    return asyncio.create_task(ask())


async def crowd(shared: SharedReads, database: Database, number: int) -> list[asyncio.Task[int]]:
    """Have so many ask, one after the other."""
    asking = [asked(shared, database) for _ in range(number)]
    await settle()
    return asking


async def test_who_asks_alone_reads_at_once_and_nothing_is_kept_of_it() -> None:
    shared, database = SharedReads(), Database()
    for _ in range(2):
        (asking,) = await crowd(shared, database, 1)
        await database.answer()
        assert asking.result() == 0
    assert database.begun == 2
    assert not len(shared)


async def test_a_few_read_at_once_and_all_who_wait_are_answered_by_the_next_read() -> None:
    shared, database = SharedReads(), Database()
    asking = await crowd(shared, database, AT_ONCE + 10)
    assert database.begun == AT_ONCE
    await database.answer()
    assert database.begun == AT_ONCE + 1
    for _ in range(AT_ONCE):
        await database.answer()
    assert [task.result() for task in asking] == [0] * (AT_ONCE + 10)
    assert not len(shared)


async def test_a_question_is_known_until_the_last_was_answered_so_that_nothing_is_closed_under_it() -> None:
    shared, database = SharedReads(), Database()
    asking = await crowd(shared, database, AT_ONCE + 1)
    for read in [*database.reading]:
        read.set_result(None)
    while not all(task.done() for task in asking):
        assert len(shared) == 1
        for read in database.reading:
            if not read.done():
                read.set_result(None)
        await asyncio.sleep(0)
    assert not len(shared)


async def test_who_asks_after_a_change_is_told_of_it_although_a_read_of_before_ends_meanwhile() -> None:
    shared, database = SharedReads(), Database()
    before = await crowd(shared, database, AT_ONCE)
    database.written = 1
    after = await crowd(shared, database, 3)
    await database.answer()
    assert [task.result() for task in before if task.done()] == [0]
    assert not any(task.done() for task in after)
    await database.answer()
    await database.answer()
    assert [task.result() for task in after] == [1, 1, 1]


async def test_other_questions_are_not_held_up() -> None:
    shared, database = SharedReads(), Database()
    await crowd(shared, database, AT_ONCE)
    other = asked(shared, database, "schemas")
    await settle()
    assert database.begun == AT_ONCE + 1
    while database.reading:
        await database.answer()
    assert other.result() == 0
    assert not len(shared)


async def test_an_error_is_told_to_all_for_whom_it_was_read_to_each_as_one_of_its_own() -> None:
    shared, database = SharedReads(), Database()
    asking = await crowd(shared, database, AT_ONCE + 3)
    for _ in range(AT_ONCE):
        await database.answer()
    await database.fail(QueryTimeout("too slow", sqlstate="57014"))
    errors = [cast("QueryTimeout", task.exception()) for task in asking[AT_ONCE:]]
    assert [(type(error), error.message, error.facts) for error in errors] == [
        (QueryTimeout, "too slow", {"sqlstate": "57014"})
    ] * 3
    assert len(set(map(id, errors))) == 3
    assert not len(shared)


async def test_what_breaks_under_one_breaks_under_that_one_alone_and_the_others_read_for_themselves() -> None:
    shared, database = SharedReads(), Database()
    asking = await crowd(shared, database, AT_ONCE + 3)
    for _ in range(AT_ONCE):
        await database.answer()
    leader, *others = asking[AT_ONCE:]
    await database.fail(Gone())
    assert isinstance(leader.exception(), Gone)
    assert len(database.reading) == len(others)
    while database.reading:
        await database.answer()
    assert [task.result() for task in others] == [0, 0]
    assert not len(shared)


@pytest.mark.parametrize("turns", range(8))
async def test_one_that_is_cancelled_while_others_count_on_it_leaves_them_to_the_next(turns: int) -> None:
    shared, database = SharedReads(), Database()
    asking = await crowd(shared, database, AT_ONCE + 4)
    leader, *others = asking[AT_ONCE:]
    database.reading[0].set_result(None)
    for _ in range(
        turns
    ):  # of the loop: before it is told that it is its turn, before it has heard that, and while it reads
        await asyncio.sleep(0)
    leader.cancel()
    await settle()
    assert leader.cancelled()
    while database.reading:
        await database.answer()
    assert [task.result() for task in others] == [0, 0, 0]
    assert not len(shared)


class Story:
    """What happens in some order to those who ask: when each of them did, by what was written then."""

    def __init__(self) -> None:
        self.shared, self.database = SharedReads(), Database()
        self.asking: dict[asyncio.Task[int], int] = {}

    async def go_on(self, step: str, which: int, turns: int) -> None:
        """Have one thing happen, to that one of those whom it may happen to, and some of what follows from it."""
        under_way = [end for end in self.database.reading if not end.done()]
        if step == "ask":
            self.asking[asked(self.shared, self.database)] = self.database.written
        elif step == "write":
            self.database.written += 1
        elif step == "cancel" and self.asking:
            [*self.asking][which % len(self.asking)].cancel()
        elif step == "answer" and under_way:
            under_way[which % len(under_way)].set_result(None)
        elif step in {"fail", "break"} and under_way:
            error = Gone() if step == "break" else ConnectionLost("it broke")
            under_way[which % len(under_way)].set_exception(error)
        for _ in range(turns):
            await asyncio.sleep(0)


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 15), st.integers(0, 3)), max_size=60))
def test_whatever_happens_all_are_answered_with_nothing_older_than_their_question(
    steps: list[tuple[str, int, int]],
) -> None:
    async def tell() -> None:
        story = Story()
        for step in steps:
            await story.go_on(*step)
        await settle()
        while story.database.reading:
            await story.database.answer()
        answers = await asyncio.gather(*story.asking, return_exceptions=True)
        for answer, written in zip(answers, story.asking.values(), strict=True):
            assert isinstance(answer, Gone | ConnectionLost | asyncio.CancelledError) or (
                isinstance(answer, int) and answer >= written
            )
        assert not len(story.shared)

    asyncio.run(tell())
