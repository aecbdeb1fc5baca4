"""Who comes to a place, waits for it, and stays until told to leave: for tests of what lets them in."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from server.gate import Full

FOREVER = 3600.0
Name = TypeVar("Name")


class Visitor(Generic[Name]):
    """One who comes, waits, is inside until told to leave, and says how it ended; adds its name to `entered`."""

    def __init__(self, place: AbstractAsyncContextManager[None], name: Name, entered: list[Name] | None) -> None:
        self._place = place
        self._name = name
        self._entered: list[Name] = [] if entered is None else entered
        self._leave = asyncio.Event()
        self.inside = False
        self.task = asyncio.create_task(self._stay())

    def leave(self) -> None:
        self._leave.set()

    def cancel(self) -> None:
        self.task.cancel()

    async def ended(self) -> str:
        try:
            return await self.task
        except asyncio.CancelledError:
            return "cancelled"

    async def _stay(self) -> str:
        try:
            async with self._place:
                self.inside = True
                self._entered.append(self._name)
                try:
                    await self._leave.wait()
                finally:
                    self.inside = False
        except Full:
            return "full"
        return "done"


async def settle() -> None:
    """Let every task run until it waits for somebody else."""
    for _ in range(8):
        await asyncio.sleep(0)
