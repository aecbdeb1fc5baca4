"""Restorers over a log in memory: many at once, one after another died anywhere, and one that has nothing to say."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec
import pytest
from hypothesis import given, strategies as st

from projections.diagnosis import Finding
from projections.directory import Directory
from projections.keyring import Keyring
from projections.rebuild import Rebuilder
from projections.restoration import Restorer
from registry import codec
from registry.chain import events_back
from registry.entries import Entry, Epoch, Head, Position, Unreadable
from registry.errors import LogDiverged, RegistryUnavailable
from registry.events import LogRestored, TenantRestated
from registry.log import Outcome, Proposal
from registry.memory_log import MemoryLog
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.signing import Signer
from registry.state import Live, Removed, Tenant
from tests.folding import NOON, World
from tests.waiting import now

MASTER: Final = MasterKeys.parse(new_master_key("one"))


class Crash(BaseException):
    """The replica's process ended here."""


class FrailLog(MemoryLog):
    """A log whose writer dies at its n-th writing call: before it, or after it and before the reply."""

    def __init__(self) -> None:
        super().__init__()
        self.calls_left: float = float("inf")
        self.dies_after = False

    async def note(self, after: Position, type: str, data: bytes, *, opens: Epoch | None = None) -> Position | None:  # noqa: A002 - the field's name in the log
        self._die(early=True)
        added = await super().note(after, type, data, opens=opens)
        self._die(early=False)
        return added

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        self._die(early=True)
        outcomes = await super().append(proposals)
        self._die(early=False)
        return outcomes

    async def create(self, type: str, data: bytes, epoch: str, *, anew: bool = False) -> Position | None:  # noqa: A002 - the field's name in the log
        self._die(early=True)
        first = await super().create(type, data, epoch, anew=anew)
        self._die(early=False)
        return first

    def _die(self, *, early: bool) -> None:
        self.calls_left -= early
        if self.calls_left < 0 and early != self.dies_after:
            raise Crash


class Survivor:
    """A replica that holds what it has read."""

    def __init__(self, world: World, name: str, signer: Signer | None = None) -> None:
        ids = itertools.count(1)
        self.world = world
        self.held = world.survivor()
        self.keyring = Keyring(world.log, MASTER)
        self.restorer = Restorer(
            world.log,
            self.keyring,
            signer or Signer(),
            actor=name,
            now=lambda: NOON + timedelta(days=1),
            new_id=lambda: f"{name}-{next(ids)}",
        )

    async def restore(self) -> tuple[int, int]:
        """Do what a follower does that has found its log gone or replaced; return what was said."""
        async with asyncio.timeout(20):
            if await self.world.log.end() is None:
                await self.restorer.begin(anew=True)
            rebuilt = await Rebuilder(self.world.log, self.world).rebuild()
            held = self.restorer.together(self.held.all(), rebuilt.orphans.values())
            said = await self.restorer.restore(held, rebuilt.directory, self.held, Finding.LOG_GONE)
            self.held.become(rebuilt.directory)
            return said


@pytest.fixture
async def world() -> World:
    """A log with tenants a and b, and gone, which was removed."""
    return await begun()


async def begun() -> World:
    world = World()
    world.log = FrailLog()
    await world.begin()
    for tenant in ("a", "b", "gone"):
        await world.register(tenant)
    await world.remove("gone")
    return world


def said_of(directory: Directory) -> dict[str, Tenant]:
    """Return what a directory says, wherever in the log it stands."""
    nowhere = Position(0, "0-0")
    return {tenant.tenant: msgspec.structs.replace(tenant, position=nowhere) for tenant in directory.all()}


async def events_in(log: MemoryLog) -> list[object]:
    return [codec.decode(entry) for entry in await log.read(Position(0, "0-0"), 1000) if isinstance(entry, Entry)]


async def folded(world: World) -> Directory:
    """Return the fold of the whole log: it links, and no event in it is out of place."""
    return (await Rebuilder(world.log, world, full_replay=True).rebuild()).directory


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


@given(st.integers(0, 6), st.booleans(), st.booleans())
def test_whoever_dies_between_any_two_steps_is_continued_by_the_next(calls: int, late: bool, everything: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
    async def run() -> None:
        world = await begun()
        dying, next_one = Survivor(world, "dying"), Survivor(world, "next")
        before = said_of(world.directory)
        (world.lose_everything if everything else world.lose_stream)()
        log = world.log
        assert isinstance(log, FrailLog)
        log.calls_left, log.dies_after = calls, late
        died = False
        try:
            await dying.restore()
        except Crash:
            died = True
        log.calls_left = float("inf")

        await next_one.restore()

        assert died == (calls < 3)
        assert said_of(await folded(world)) == before
        restated = [event.tenant for event in await events_in(log) if isinstance(event, TenantRestated)]
        assert sorted(restated) == ["a", "b", "gone"]

    asyncio.run(run())


async def test_a_newcomer_that_holds_nothing_restores_what_heads_and_keys_tell(world: World) -> None:
    before = said_of(world.directory)
    world.lose_stream()

    assert await Survivor(world, "newcomer").restore() == (2, 1)

    assert said_of(await folded(world)) == before


async def test_a_removal_that_was_lost_holds_against_a_change_by_who_did_not_know_of_it(world: World) -> None:
    survivor = Survivor(world, "one")
    removed = await world.remove("a")
    survivor.held = world.survivor()
    _lose_last(world)
    await world.register("a", host="unaware")

    await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Removed)
    assert tenant.version > removed.version


async def test_a_change_that_was_lost_and_one_since_are_both_counted_and_the_later_holds(world: World) -> None:
    survivor = Survivor(world, "one")
    lost = await world.register("a", host="lost")
    survivor.held = world.survivor()
    _lose_last(world)
    since = await world.register("a", host="since")
    assert since.version == lost.version

    await survivor.restore()
    end = await world.log.end()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Live)
    assert (tenant.config.host, tenant.version) == ("since", lost.version + 1)
    assert tenant.event_id not in {lost.event_id, since.event_id}
    await survivor.restore()
    assert await world.log.end() == end


async def test_an_older_change_in_the_log_gives_way_once_and_not_for_ever(world: World) -> None:
    survivor = Survivor(world, "one")
    world.it_is(1000)
    lost = await world.register("a", host="newer")
    survivor.held = world.survivor()
    _lose_last(world)
    world.it_is(500)
    await world.register("a", host="older")

    said = await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert said == (1, 0)
    assert isinstance(tenant, Live)
    assert (tenant.config.host, tenant.version) == ("newer", lost.version + 1)


async def test_a_password_that_was_restored_can_be_opened(world: World) -> None:
    key, wrapped = now(MASTER.new_data_key("a"))
    world.log._keys["a"] = wrapped
    await world.register("a", secret=key.seal("a", 2, ("db", 5432, "app", "reader", "prefer", None), Secret("red")))
    survivor = Survivor(world, "one")
    await survivor.keyring.refresh(list(survivor.held.all()))
    world.lose_everything()

    await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Live)
    assert await Keyring(world.log, MASTER).password(tenant) == Secret("red")


async def test_the_data_key_of_a_restored_removal_is_destroyed(world: World) -> None:
    survivor = Survivor(world, "one")
    world.lose_everything()
    world.log._keys["gone"] = now(MASTER.new_data_key("gone"))[1]

    await survivor.restore()

    assert list(await world.log.data_keys(["gone"])) == [None]


async def test_a_tenant_whose_password_is_elsewhere_gets_no_data_key_of_before_when_it_is_restored(
    world: World,
) -> None:
    world.log._keys["a"] = now(MASTER.new_data_key("a"))[1]
    await world.register("a", password_ref="file:a")
    survivor = Survivor(world, "one")
    world.lose_everything()
    world.log._keys["a"] = now(MASTER.new_data_key("a"))[1]

    await survivor.restore()

    assert list(await world.log.data_keys(["a"])) == [None]


async def test_with_a_signing_key_what_is_said_again_is_signed_behind_what_the_log_has(world: World) -> None:
    signer = Signer([("one", b"k" * 32)])
    survivor = Survivor(world, "one", signer)
    world.lose_everything()
    await survivor.restore()

    directory = await folded(world)
    for tenant in directory.all():
        assert isinstance(tenant, Live | Removed)
        async for recorded in events_back(world.log, tenant.position.entry):
            assert signer.check(recorded.event, None) is None
            assert recorded.event.mac == tenant.mac == world.log._heads[tenant.tenant].mac


async def test_the_heads_are_those_of_the_tenants_that_were_restored(world: World) -> None:
    survivor = Survivor(world, "one")
    world.lose_everything()
    await survivor.restore()

    rebuilt = await Rebuilder(world.log, world, short=0).rebuild()

    assert said_of(rebuilt.directory) == said_of(await folded(world))


async def test_a_log_that_is_lost_once_more_meanwhile_is_told(world: World) -> None:
    survivor, log = Survivor(world, "one"), world.log
    assert isinstance(log, FrailLog)
    world.lose_everything()
    original = log.append

    async def losing(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        world.lose_everything()
        return await original(proposals)

    log.append = losing  # type: ignore[method-assign]  # the log is lost under the restorer's hands
    with pytest.raises(LogDiverged, match="gone again"):
        await survivor.restore()
    log.append = original  # type: ignore[method-assign]  # and then no more

    assert await survivor.restore() == (2, 1)


async def test_a_log_that_loses_what_was_just_said_again_and_keeps_its_heads_is_told(world: World) -> None:
    survivor, log = Survivor(world, "one"), world.log
    assert isinstance(log, FrailLog)
    world.lose_everything()
    original = log.append

    async def losing(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await original(proposals)
        log._entries.clear()
        log._end = None
        return outcomes

    log.append = losing  # type: ignore[method-assign]  # the stream goes before what was appended is read
    with pytest.raises(LogDiverged):
        async with asyncio.timeout(5):
            await survivor.restore()


async def test_who_cannot_reach_the_log_says_so_and_may_try_again(world: World) -> None:
    survivor, log, before = Survivor(world, "one"), world.log, said_of(world.directory)
    world.lose_everything()
    original = log.heads

    async def unavailable(tenants: Sequence[str]) -> Sequence[None]:
        raise RegistryUnavailable(f"Redis cannot be reached; try again: {len(tenants)}")

    log.heads = unavailable  # type: ignore[method-assign]  # Redis is away
    with pytest.raises(RegistryUnavailable):
        await survivor.restore()
    log.heads = original  # type: ignore[method-assign]  # and back
    await survivor.restore()

    assert said_of(await folded(world)) == before


async def test_more_tenants_than_travel_together_are_all_restored(world: World) -> None:
    for each in range(250):
        await world.register(f"tenant-{each}")
    survivor, other = Survivor(world, "one"), Survivor(world, "other")
    before = said_of(world.directory)
    world.lose_everything()

    said = await asyncio.gather(survivor.restore(), other.restore())

    assert said_of(await folded(world)) == before
    assert [sum(each) for each in zip(*said, strict=True)] == [252, 1]


async def test_tenants_that_are_registered_while_the_log_is_restored_are_left_alone(world: World) -> None:
    survivor, before = Survivor(world, "one"), said_of(world.directory)
    world.lose_everything()
    await world.begin()
    await world.register("new")

    await survivor.restore()

    assert said_of(await folded(world)).keys() == {*before, "new"}
    assert said_of(survivor.held).keys() == {*before, "new"}


def _lose_last(world: World) -> None:
    """Lose the last entry and what its event did to the head, as a failover does."""
    log = world.log
    log._entries.pop()
    last = log._entries[-1]
    assert isinstance(last, Entry)
    log._end = last.position
    world.directory = Directory()
    for entry in log._entries:
        world.directory.apply(entry)
    for name, head in list(log._heads.items()):
        tenant = world.directory.tenant(name)
        if tenant is None:
            del log._heads[name]
        else:
            version = msgspec.structs.replace(head, position=tenant.position, version=tenant.version)
            log._heads[name] = version


async def test_what_somebody_changes_between_the_look_and_the_append_is_looked_at_again(world: World) -> None:
    survivor, log = Survivor(world, "one"), world.log
    world.lose_everything()
    original, changed = log.heads, False

    async def meanwhile(tenants: Sequence[str]) -> Sequence[Head | Unreadable | None]:
        nonlocal changed
        if not changed:
            changed = True
            await world.catch_up()
            world.it_is(5000)
            await world.register("a", host="meanwhile")
        return await original(tenants)

    log.heads = meanwhile  # type: ignore[method-assign]  # somebody is faster
    await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Live)
    assert tenant.config.host == "meanwhile"
