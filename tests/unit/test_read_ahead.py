"""Reading ahead: the pages are those that reading one after the other gives, and nothing is left under way."""

import asyncio
from collections.abc import Sequence

import pytest

from projections.read_ahead import ahead, read_ahead
from registry.entries import START, Entry, Foreign, Position
from registry.errors import RegistryUnavailable
from registry.memory_log import MemoryLog
from tests.folding import World


class Watched(MemoryLog):
    """A log that remembers from where it was read, and can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.away = False

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        self.asked.append(after.seq)
        if self.away:
            raise RegistryUnavailable("Redis is away.")
        return await super().read(after, limit, wait)


@pytest.fixture
async def log() -> Watched:
    """A log of five entries."""
    world, log = World(), Watched()
    world.log = log
    await world.begin()
    for tenant in "abcd":
        await world.register(tenant)
    log.asked = []
    return log


async def test_the_next_page_is_on_its_way_while_one_is_folded_and_each_is_read_once(log: Watched) -> None:
    seen, at = [], START
    async with read_ahead(log, 2) as pages:
        while page := await pages.after(at):
            await asyncio.sleep(0)
            at = page[-1].position if isinstance(page[-1], Entry) else at
            seen += [entry.position.seq for entry in page if isinstance(entry, Entry)]
            assert log.asked[-1] == at.seq

    assert (seen, log.asked) == ([1, 2, 3, 4, 5], [0, 2, 4, 5])


async def test_who_goes_on_from_elsewhere_gets_what_follows_there(log: Watched) -> None:
    async with read_ahead(log, 2) as pages:
        first, _ = await pages.after(START)
        assert isinstance(first, Entry)
        (second, _) = await pages.after(first.position)

    assert isinstance(second, Entry)
    assert second.follows(first.position)


async def test_who_comes_back_after_looking_elsewhere_gets_what_follows_there(log: Watched) -> None:
    async with read_ahead(log, 2) as pages:
        *_, last = await pages.after(START)
        assert isinstance(last, Entry)
        assert not await pages.after(Position(5, "5-0"))
        (entry, *_) = await pages.after(last.position)

    assert isinstance(entry, Entry)
    assert entry.follows(last.position)


async def test_a_failure_of_what_was_read_ahead_is_told_to_who_fetches_it(log: Watched) -> None:
    async with read_ahead(log, 2) as pages:
        *_, last = await pages.after(START)
        assert isinstance(last, Entry)
        log.away = True
        with pytest.raises(RegistryUnavailable):
            await pages.after(last.position)


async def test_nothing_is_left_under_way_by_who_stops_in_the_middle(log: Watched) -> None:
    before = asyncio.all_tasks()
    async with read_ahead(log, 2) as pages:
        await pages.after(START)

    assert asyncio.all_tasks() == before


async def test_the_next_question_is_asked_before_the_answer_to_this_one_is_worked_on() -> None:
    events: list[str] = []

    async def ask(question: str) -> str:
        events.append(f"{question}?")
        await asyncio.sleep(0)
        return question.upper()

    async with ahead(ask, ["a", "b", "c"]) as told:
        async for question, answer in told:
            assert answer == question.upper()
            events.append(answer)

    assert events == ["a?", "b?", "A", "c?", "B", "C"]


async def test_what_cannot_be_answered_is_raised_and_nothing_is_left_under_way() -> None:
    left: list[str] = []

    async def ask(question: str) -> str:
        if question == "a":
            raise RegistryUnavailable("Redis is away.")
        try:
            await asyncio.sleep(60)
        finally:
            left.append(question)
        return question

    async def all_of_them() -> None:
        async with ahead(ask, ["a", "b", "c"]) as told:
            async for _ in told:
                pass

    with pytest.raises(RegistryUnavailable):
        await all_of_them()
    assert left == ["b"]
