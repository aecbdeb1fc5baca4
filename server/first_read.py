"""Waiting for the registry to be read for the first time, by those who would rather wait than be told to try again."""

import asyncio
import time
from typing import Final

from projections.follower import Follower
from projections.phase import Status

_LOOK_EVERY: Final = 0.02


async def first_read(follower: Follower, patience: float) -> Status:
    """Return the follower's status once the whole fold was in, or when that is not to be waited for.

    That is at once if the log cannot be followed, and after `patience` seconds in which nothing was read, as when Redis
    is away. A long replay is waited for. May be cancelled.
    """
    since, steps = time.monotonic(), follower.steps
    while not follower.status.ready and not follower.status.stuck:
        if follower.steps != steps:
            since, steps = time.monotonic(), follower.steps
        if time.monotonic() - since >= patience:
            break
        await asyncio.sleep(_LOOK_EVERY)
    return follower.status
