"""Python's garbage collector, kept out of the way of calls.

What a replica holds for as long as it runs is looked through by each full collection, which stops everything: 20 ms for
the modules alone, more with what they make. So it is set aside (`gc.freeze`) once it is there, and the young are
collected seldom. docs/decisions/collector.md has the figures.

For a process that serves and nothing else: the collector is the whole process's.
"""

import asyncio
import gc
from typing import Final

from projections.follower import Follower

_THRESHOLDS: Final = (10_000, 20, 10)
"""Objects made and not given up before the young are collected; and how often that before older ones are, too."""
_SETTLED: Final = 3.0
"""Seconds after the start in which what is made on first use is as a rule there: pools, sessions, the SDK."""


async def keep_out_of_the_way(follower: Follower) -> None:
    """Set aside what stays: when the registry is read, and a little later. May be cancelled."""
    gc.set_threshold(*_THRESHOLDS)
    await follower.complete()
    set_aside()
    await asyncio.sleep(_SETTLED)
    set_aside()


def set_aside() -> None:
    """Collect what is garbage, and leave all else out of collections to come. Blocks, at first for some 50 ms."""
    gc.collect()
    gc.freeze()
