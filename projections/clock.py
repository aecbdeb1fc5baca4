"""A clock that does not stand still while the process or the machine does."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

_EVERY: Final = 0.5
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> float:
    """Return seconds since some moment; a suspended machine's sleep counts where the system can tell it (Linux)."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


async def ticking(tick: Callable[[float], None]) -> None:
    """Call `tick` with the time each half second until cancelled."""
    while True:
        tick(boottime())
        await asyncio.sleep(_EVERY)
