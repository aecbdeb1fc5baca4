"""What came from a tenant's server when it was not the tenant's turn: it waits, and the socket is paused meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from server.turns import Turns

SLICE: Final = 1 << 14
"""Bytes that are read in one go."""

Read: TypeAlias = Callable[[bytes], bool]
"""Reads some bytes, and returns whether what comes after them may be read as well."""


class Backlog:
    """What waits of one connection.

    Args:
        turns: Whose turn it is.
        tenant: Whose connection this is.
        transport: What brings the bytes.

    Attributes:
        slices: What waits, in the order in which it came.
    """

    def __init__(self, turns: Turns, tenant: str, transport: asyncio.Transport) -> None:
        self.turns: Final = turns
        self.tenant: Final = tenant
        self.slices: deque[bytes] = deque()
        self._transport = transport

    def put(self, data: bytes, read: Read) -> None:
        """Keep it, to be read a slice at each of the tenant's turns; `read` is the same each time."""
        waiting = bool(self.slices)
        self.slices.extend(data[at : at + SLICE] for at in range(0, len(data), SLICE))
        if not waiting:
            self._transport.pause_reading()
            self.turns.ask(self.tenant, partial(self._catch_up, read))

    def _catch_up(self, read: Read) -> bool:
        """Read one slice; return whether more is left."""
        if self.slices and read(self.slices.popleft()) and self.slices:
            return True
        self.slices.clear()
        if not self._transport.is_closing():
            self._transport.resume_reading()
        return False
