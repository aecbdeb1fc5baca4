"""Heads that tell another story than the log: none is believed where the log says better."""

import msgspec
import pytest

from registry.entries import Cut, Position
from registry.errors import CorruptEntry
from registry.memory_log import MemoryLog
from registry.state import Live, Quarantined
from tests.folding import World, facts_of
from tests.rebuilders import by_cut, by_replay, three_tenants


@pytest.fixture
async def world() -> World:
    return await three_tenants()


async def test_a_head_that_names_another_tenants_entry_tells_nothing(world: World) -> None:
    a, b = world.log._heads["a"], world.log._heads["b"]
    world.log._heads["a"] = msgspec.structs.replace(a, position=b.position)
    del world.keys["a"]

    tenant = (await by_cut(world).rebuild()).directory.tenant("a")

    assert isinstance(tenant, Quarantined)
    assert "is not its own" in tenant.reason


async def test_a_head_whose_number_is_not_its_entrys_tells_nothing(world: World) -> None:
    a = world.log._heads["a"]
    wrong = msgspec.structs.replace(a.position, seq=a.position.seq + 1)
    world.log._heads["a"] = msgspec.structs.replace(a, position=wrong)
    del world.keys["a"]

    assert isinstance((await by_cut(world).rebuild()).directory.tenant("a"), Quarantined)


async def test_a_head_that_is_ahead_of_the_log_is_not_believed_where_the_log_says_better(world: World) -> None:
    head = world.log._heads["a"]
    world.log._heads["a"] = msgspec.structs.replace(head, position=msgspec.structs.replace(head.position, seq=999))

    assert facts_of((await by_cut(world).rebuild()).directory) == facts_of(world.directory)


async def test_heads_that_do_not_fit_the_log_are_not_believed_once_they_are_distrusted(world: World) -> None:
    del world.log._heads["a"]
    rebuilder = by_cut(world)
    assert (await rebuilder.rebuild()).directory.tenant("a") is None

    assert rebuilder.distrust_heads()

    assert facts_of((await rebuilder.rebuild()).directory) == facts_of(world.directory)
    assert not rebuilder.distrust_heads()


async def test_there_is_nothing_to_gain_by_distrust_where_heads_were_not_used(world: World) -> None:
    rebuilder = by_replay(world)
    await rebuilder.rebuild()

    assert not rebuilder.distrust_heads()


async def test_what_an_earlier_log_has_left_is_no_part_of_the_directory_and_is_told_apart(world: World) -> None:
    held = {tenant.tenant: tenant for tenant in world.directory.all()}
    world.lose_stream()
    await world.begin(anew=True)
    await world.register("c")

    for rebuilder in (by_cut(world), by_replay(world)):
        rebuilt = await rebuilder.rebuild()
        assert facts_of(rebuilt.directory) == facts_of(world.directory)
        assert rebuilt.orphans == held


async def test_what_an_earlier_log_has_left_without_its_key_is_set_aside(world: World) -> None:
    del world.keys["a"]
    world.lose_stream()
    await world.begin(anew=True)

    orphans = (await by_cut(world).rebuild()).orphans

    assert isinstance(orphans["a"], Quarantined)
    assert isinstance(orphans["b"], Live)


class HalfReadable(MemoryLog):
    """A log whose head of one tenant somebody has edited into none."""

    async def cut(self) -> Cut:
        cut = await super().cut()
        return msgspec.structs.replace(cut, unreadable=("z",))


async def test_a_head_that_cannot_be_read_is_got_over_by_replay_and_by_nothing_else() -> None:
    world = World()
    world.log = HalfReadable()
    await world.begin()
    await world.register("a")
    assert facts_of((await by_cut(world).rebuild()).directory) == facts_of(world.directory)

    world.take_out(2)
    with pytest.raises(CorruptEntry, match="heads of z cannot be read or are ahead"):
        await by_cut(world).rebuild()


async def test_a_head_ahead_of_a_log_with_a_hole_is_not_believed(world: World) -> None:
    head = world.log._heads["b"]
    world.log._heads["b"] = msgspec.structs.replace(head, position=Position(999, head.position.entry))
    world.take_out(2)

    with pytest.raises(CorruptEntry, match="heads of b cannot be read or are ahead"):
        await by_cut(world).rebuild()
