"""The faults: what breaks, what mends it, how long it lasts.

To add one, write a context manager that breaks the world on entering and mends it on leaving, and give it a line in
`FAULTS`. Two groups break at the same time as each other, so that Redis may go while a replica is frozen; faults of one
group come one after the other.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal, TypeAlias

import msgspec

from tests.faults.proxy import Mode
from tests.faults.world import World

Group: TypeAlias = Literal["process", "redis"]
Breakage: TypeAlias = Callable[[World, random.Random], AbstractContextManager[str]]
"""Breaks the world, and yields whom it hit."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault.

    Attributes:
        group: Which injector it belongs to.
        breaks: What it does.
        lasts: The shortest and longest time until it is mended, in seconds.
        weight: How often it is chosen, against the others of its group.
    """

    group: Group
    breaks: Breakage
    lasts: tuple[float, float]
    weight: int = 1


@contextmanager
def _kill_replica(world: World, chance: random.Random) -> Iterator[str]:
    replica = chance.choice(world.replicas)
    replica.kill()
    try:
        yield replica.name
    finally:
        replica.start()


@contextmanager
def _freeze_replica(world: World, chance: random.Random) -> Iterator[str]:
    replica = chance.choice(world.replicas)
    replica.freeze()
    try:
        yield replica.name
    finally:
        replica.thaw()


@contextmanager
def _kill_redis(world: World, _chance: random.Random) -> Iterator[str]:
    world.redis.kill()
    try:
        yield "redis"
    finally:
        world.redis.start()


@contextmanager
def _black_hole(world: World, chance: random.Random) -> Iterator[str]:
    replica = chance.choice(world.replicas)
    replica.proxy.break_(Mode.BLACK_HOLE)
    try:
        yield replica.name
    finally:
        replica.proxy.break_(Mode.PASS)


@contextmanager
def _reset(world: World, chance: random.Random) -> Iterator[str]:
    replica = chance.choice(world.replicas)
    replica.proxy.break_(Mode.RESET)
    try:
        yield replica.name
    finally:
        replica.proxy.break_(Mode.PASS)


@contextmanager
def _drop_reply(world: World, chance: random.Random) -> Iterator[str]:
    """Drop the reply to the next append of one replica; its request has been carried out."""
    replica = chance.choice(world.replicas)
    replica.proxy.drop_next_reply(b'"type":"tenant_re')
    try:
        yield replica.name
    finally:
        replica.proxy.forget_to_drop()


FAULTS: Final = {
    "kill -9 of a replica": Fault(group="process", breaks=_kill_replica, lasts=(0.0, 1.0), weight=2),
    "freeze of a replica": Fault(group="process", breaks=_freeze_replica, lasts=(0.5, 8.0)),
    "kill -9 of Redis": Fault(group="redis", breaks=_kill_redis, lasts=(0.0, 1.0), weight=2),
    "black hole": Fault(group="redis", breaks=_black_hole, lasts=(0.3, 5.0), weight=2),
    "reset": Fault(group="redis", breaks=_reset, lasts=(0.0, 0.5), weight=2),
    "reply dropped": Fault(group="redis", breaks=_drop_reply, lasts=(0.3, 1.0), weight=5),
}
"""All faults, by the name that reports use."""
