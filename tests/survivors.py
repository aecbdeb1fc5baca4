"""Replicas that survive their log, over a log in memory whose writer may die at any call."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from projections.diagnosis import Finding
from projections.directory import Directory
from projections.keyring import Keyring
from projections.rebuild import Rebuilder
from projections.restoration import Restorer
from registry import codec
from registry.entries import Entry, Epoch, Position
from registry.log import Outcome, Proposal
from registry.memory_log import MemoryLog
from registry.secrets import MasterKeys, new_master_key
from registry.signing import Signer
from registry.state import Tenant
from tests.folding import NOON, World

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


async def begun() -> World:
    """Return a log with tenants a and b, and gone, which was removed."""
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


def lose_last(world: World) -> None:
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
