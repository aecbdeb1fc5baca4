"""Restorers over a log in memory: what a lost log said is said again, once, however many say it."""

import asyncio

import msgspec
import pytest

from projections.rebuild import Rebuilder
from registry.entries import Entry, Position
from registry.events import LogRestored, TenantRestated
from tests.folding import World
from tests.survivors import Survivor, begun, events_in, folded, said_of


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A log that several may restore at once, none of whom waits by the clock for another."""
    monkeypatch.setattr("projections.restoration._PAUSE", 0.0)
    return await begun()


async def test_what_a_lost_log_said_is_said_again_in_the_same_words(world: World) -> None:
    survivor, before = Survivor(world, "one"), said_of(world.directory)
    world.lose_everything()

    assert await survivor.restore() == (2, 1)

    assert said_of(await folded(world)) == said_of(survivor.held) == before


async def test_a_head_that_is_ahead_of_the_log_keeps_nobody_from_saying_the_tenant_again(world: World) -> None:
    survivor, head = Survivor(world, "one"), world.log._heads["a"]
    world.lose_everything()
    await survivor.restorer.begin(anew=True)
    world.log._heads["a"] = msgspec.structs.replace(head, position=Position(999, "999-0"))

    assert await survivor.restore() == (2, 1)
    assert said_of(await folded(world)) == said_of(survivor.held)


async def test_an_entry_says_first_who_restores_what_and_opens_an_epoch(world: World) -> None:
    survivor, lost = Survivor(world, "one"), world.directory
    world.lose_everything()
    await survivor.restore()

    _, note, *rest = await events_in(world.log)

    assert isinstance(note, LogRestored)
    assert lost.epoch is not None
    assert (note.actor, note.outcome, note.live, note.removed) == ("one", "log_gone", 2, 1)
    assert (note.lost_epoch, note.lost_position) == (lost.epoch.name, str(lost.position))
    assert [type(event) for event in rest] == [TenantRestated] * 3
    epoch = await world.log.epoch()
    assert epoch is not None
    assert epoch.name == note.epoch
    (opening,) = await world.log.entries([epoch.opened])
    assert isinstance(opening, Entry)
    assert opening.position.seq == 2
    assert survivor.held.epoch == epoch


async def test_nothing_is_added_where_nothing_is_missing(world: World) -> None:
    survivor = Survivor(world, "one")
    end = await world.log.end()

    assert await survivor.restore() == (0, 0)

    assert await world.log.end() == end


async def test_what_was_restored_is_not_restored_once_more(world: World) -> None:
    one, other = Survivor(world, "one"), Survivor(world, "other")
    world.lose_everything()
    await one.restore()
    end = await world.log.end()

    assert await other.restore() == (0, 0)
    assert await one.restore() == (0, 0)
    assert await world.log.end() == end


@pytest.mark.parametrize("survivors", [2, 3, 5])
async def test_of_several_at_once_each_tenant_is_said_once(survivors: int, world: World) -> None:
    many = [Survivor(world, f"survivor-{each}") for each in range(survivors)]
    before = said_of(world.directory)
    world.lose_everything()

    said = await asyncio.gather(*(survivor.restore() for survivor in many))

    directory = await folded(world)
    assert said_of(directory) == before
    assert [sum(each) for each in zip(*said, strict=True)] == [2, 1]
    restated = [event.tenant for event in await events_in(world.log) if isinstance(event, TenantRestated)]
    assert sorted(restated) == ["a", "b", "gone"]
    for survivor in many:
        assert said_of(survivor.held) == before


async def test_survivors_that_had_read_to_different_places_give_the_latest_together(world: World) -> None:
    early = Survivor(world, "early")
    await world.register("a", host="new")
    await world.remove("b")
    await world.register("gone", host="back")
    late, before = Survivor(world, "late"), said_of(world.directory)
    world.lose_everything()

    await asyncio.gather(early.restore(), late.restore())

    assert said_of(await folded(world)) == before


@pytest.mark.parametrize("first", ["early", "late"])
async def test_whoever_of_them_is_first_does_not_matter(first: str, world: World) -> None:
    early = Survivor(world, "early")
    await world.register("a", host="new")
    await world.remove("b")
    await world.register("gone", host="back")
    late, before = Survivor(world, "late"), said_of(world.directory)
    world.lose_everything()

    for survivor in (early, late) if first == "early" else (late, early):
        await survivor.restore()

    assert said_of(await folded(world)) == before


async def test_a_newcomer_that_holds_nothing_restores_what_heads_and_keys_tell(world: World) -> None:
    before = said_of(world.directory)
    world.lose_stream()

    assert await Survivor(world, "newcomer").restore() == (2, 1)

    assert said_of(await folded(world)) == before


async def test_the_heads_are_those_of_the_tenants_that_were_restored(world: World) -> None:
    survivor = Survivor(world, "one")
    world.lose_everything()
    await survivor.restore()

    rebuilt = await Rebuilder(world.log, world, short=0).rebuild()

    assert said_of(rebuilt.directory) == said_of(await folded(world))


async def test_more_tenants_than_travel_together_are_all_restored(world: World) -> None:
    for each in range(150):
        await world.register(f"tenant-{each}")
    survivor, other = Survivor(world, "one"), Survivor(world, "other")
    before = said_of(world.directory)
    world.lose_everything()

    said = await asyncio.gather(survivor.restore(), other.restore())

    assert said_of(await folded(world)) == before
    assert [sum(each) for each in zip(*said, strict=True)] == [152, 1]
