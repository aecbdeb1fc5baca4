"""Directories rebuilt in both ways, over a log in memory."""

from projections.rebuild import Rebuilder
from tests.folding import World


async def three_tenants() -> World:
    """Return a log with tenants a and b, and gone, which was removed."""
    world = World()
    await world.begin()
    for tenant in ("a", "gone", "b"):
        await world.register(tenant)
    await world.remove("gone")
    return world


def by_cut(world: World) -> Rebuilder:
    """Return what rebuilds a directory from heads and keys where it can."""
    return Rebuilder(world.log, world, short=0)


def by_replay(world: World) -> Rebuilder:
    """Return what rebuilds a directory from the log alone."""
    return Rebuilder(world.log, world, full_replay=True, short=0)
