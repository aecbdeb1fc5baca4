"""A directory from the cut is the one that the replay makes, whatever is missing; what neither tells is set aside."""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
import pytest
from hypothesis import given, strategies as st

from projections.directory import Directory
from projections.rebuild import Rebuilder, Rebuilt
from registry.entries import UNKNOWN, Entry, Position
from registry.errors import CorruptEntry, LogDiverged
from registry.state import Live, Quarantined, Removed, Tenant
from tests.folding import World, facts_of
from tests.rebuilders import by_cut, by_replay, three_tenants


@pytest.fixture
async def world() -> World:
    return await three_tenants()


Step: TypeAlias = tuple[str, str]

steps: Final = st.lists(
    st.tuples(st.sampled_from(["register", "register", "remove", "garble"]), st.sampled_from("abcd")), max_size=14
)
damages: Final = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["missing", "edited", "stale", "another's"]))


async def live_through(done: Sequence[Step]) -> tuple[World, dict[str, bytes]]:
    """Return what it led to, and a document that each tenant had before its last."""
    world, stale = World(), {}
    await world.begin()
    for number, (what, tenant) in enumerate(done):
        known = world.directory.tenant(tenant)
        if tenant in world.keys:
            stale[tenant] = world.keys[tenant]
        if what == "remove" and isinstance(known, Live | Quarantined):
            await world.remove(tenant)
        elif what == "garble":
            await world.garble(tenant)
        else:
            await world.register(tenant, host=f"db-{number}")
    return world, stale


def damage(world: World, damaged: dict[str, str], stale: dict[str, bytes]) -> None:
    for tenant, how in damaged.items():
        match how:
            case "missing":
                world.keys.pop(tenant, None)
            case "edited":
                world.keys[tenant] = world.keys.get(tenant, b"{}").replace(b'"port":5432', b'"port":1')
            case "stale" if tenant in stale:
                world.keys[tenant] = stale[tenant]
            case _:
                world.keys[tenant] = next(iter(world.keys.values()), b"")


@given(steps, damages)
def test_the_cut_the_replay_and_the_fold_are_one_whatever_was_done_to_the_keys(
    done: list[Step], damaged: dict[str, str]
) -> None:
    async def run() -> None:
        world, stale = await live_through(done)
        damage(world, damaged, stale)

        cut, replayed = await by_cut(world).rebuild(), await by_replay(world).rebuild()

        assert facts_of(replayed.directory) == facts_of(world.directory)
        assert _readable(facts_of(cut.directory)) == _readable(facts_of(world.directory))
        assert cut == Rebuilt(cut.directory, {})

    asyncio.run(run())


@given(steps, st.sets(st.integers(2, 16)))
def test_over_a_hole_whatever_the_keys_tell_is_there_and_the_rest_is_set_aside(
    done: list[Step], taken: set[int]
) -> None:
    async def run() -> None:
        world, _ = await live_through(done)
        world.take_out(*taken)
        world.keys.pop("a", None)

        rebuilt = await Rebuilder(world.log, world).rebuild()

        for tenant in world.directory.all():
            known = rebuilt.directory.tenant(tenant.tenant)
            assert known is not None
            assert (known.version, known.position, known.event_id) == (tenant.version, tenant.position, tenant.event_id)
            assert isinstance(known, Quarantined) or known == tenant
            if tenant.tenant != "a" and isinstance(tenant, Live | Removed):
                assert known == tenant
        assert (rebuilt.directory.position, rebuilt.directory.epoch) == (
            world.directory.position,
            world.directory.epoch,
        )
        end = world.directory.position.seq
        assert (rebuilt.hole is not None) == any(seq <= end for seq in taken)

    asyncio.run(run())


async def test_a_short_log_is_replayed_and_a_longer_one_is_not(world: World) -> None:
    world.take_out(2)
    end = world.directory.position.seq

    assert (await Rebuilder(world.log, world, short=end).rebuild()).hole is not None
    assert (await Rebuilder(world.log, world, short=end - 1).rebuild()).hole is None
    assert (await by_replay(world).rebuild()).hole is not None


async def test_a_tenant_that_neither_log_nor_key_tells_of_is_set_aside_with_the_reason(world: World) -> None:
    world.take_out(2)
    del world.keys["a"]

    rebuilt = await by_cut(world).rebuild()

    tenant = rebuilt.directory.tenant("a")
    assert isinstance(tenant, Quarantined)
    assert "in the log no more" in tenant.reason
    assert [live.tenant for live in rebuilt.directory.live()] == ["b"]
    assert isinstance(rebuilt.directory.tenant("gone"), Removed)


async def test_what_a_replica_holds_itself_stands_in_for_an_entry_and_a_key_that_are_gone(world: World) -> None:
    held = (await by_cut(world).rebuild()).directory
    world.take_out(2)
    del world.keys["a"]

    rebuilt = await by_cut(world).rebuild(held)

    assert rebuilt.directory.tenant("a") == held.tenant("a")
    assert rebuilt.directory.quarantined() == []


async def test_a_tenant_that_was_set_aside_is_read_again_once_its_key_is_back(world: World) -> None:
    right = world.keys.pop("a")
    world.take_out(2)
    rebuilder = by_cut(world)
    directory = (await rebuilder.rebuild()).directory
    assert await rebuilder.reread(directory.quarantined()) == []

    world.keys["a"] = right
    (tenant,) = await rebuilder.reread(directory.quarantined())

    assert directory.settle(tenant)
    assert directory.tenant("a") == world.directory.tenant("a")
    assert directory.quarantined() == []
    assert not directory.settle(tenant)


async def test_a_tenant_that_has_changed_since_it_was_set_aside_is_left_to_the_fold(world: World) -> None:
    del world.keys["a"]
    world.take_out(2)
    rebuilder = by_cut(world)
    aside = (await rebuilder.rebuild()).directory.quarantined()

    await world.register("a", host="new")

    assert await rebuilder.reread(aside) == []


async def test_no_log_cannot_be_made_into_a_directory(world: World) -> None:
    world.lose_stream()

    with pytest.raises(LogDiverged, match="gone"):
        await by_cut(world).rebuild()


async def test_an_entry_that_cannot_be_read_is_not_got_over_by_a_replay(world: World) -> None:
    last = world.log._entries[-1]
    assert isinstance(last, Entry)
    world.log._entries[-1] = msgspec.structs.replace(last, type="tenant_renamed.v1")

    with pytest.raises(CorruptEntry, match="tenant_renamed"):
        await by_replay(world).rebuild()


@pytest.mark.parametrize("lost", ["the note", "the note, and entries"])
async def test_where_nothing_notes_the_epoch_the_log_is_replayed_if_it_can_be(lost: str, world: World) -> None:
    world.log._epoch = None
    if lost == "the note":
        assert facts_of((await by_cut(world).rebuild()).directory) == facts_of(world.directory)
        return
    world.take_out(2)
    rebuilt = await by_cut(world).rebuild()
    assert rebuilt.hole is not None
    assert facts_of(rebuilt.directory)[2] == facts_of(world.directory)[2]
    assert rebuilt.directory.epoch == UNKNOWN
    assert rebuilt.orphans == {}


async def test_taken_over_a_directory_says_what_differs_and_nothing_else(world: World) -> None:
    directory = world.survivor()
    await world.register("a", host="new")
    await world.register("c")

    changed = directory.become((await by_cut(world).rebuild()).directory)

    assert sorted(tenant.tenant for tenant in changed) == ["a", "c"]
    assert facts_of(directory) == facts_of(world.directory)
    assert len(directory) == 3
    assert directory.become(world.survivor()) == []


async def test_a_directory_that_was_taken_over_goes_on_by_itself(world: World) -> None:
    directory, other = Directory(), world.survivor()
    directory.become(other)
    await world.register("c")
    (entry,) = await world.log.read(directory.position, 10)

    directory.apply(entry)

    assert directory.tenant("c") is not None
    assert other.tenant("c") is None


async def test_the_steps_of_a_rebuild_are_counted(world: World) -> None:
    cut, replayed = by_cut(world), by_replay(world)
    await cut.rebuild()
    await replayed.rebuild()

    assert (cut.done, replayed.done) == (3, world.directory.position.seq)


def _readable(told: tuple[Position, object, dict[str, Tenant]]) -> tuple[Position, object, dict[str, Tenant]]:
    """Leave out why a tenant could not be read: the two ways know different reasons."""
    position, epoch, tenants = told
    return position, epoch, {name: _unreasoned(tenant) for name, tenant in tenants.items()}


def _unreasoned(tenant: Tenant) -> Tenant:
    return msgspec.structs.replace(tenant, reason="") if isinstance(tenant, Quarantined) else tenant
