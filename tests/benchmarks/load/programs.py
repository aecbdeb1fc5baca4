"""Servers under a leash: none of them outlives the bench, however that ends."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from server.embedded import leash
from tests.benchmarks.load.processes import children_of, costs_of
from tests.processes import clean

_START_WITHIN: Final = 60.0
_SETTLED_WITHIN: Final = 30.0
_LOOK: Final = 0.2
_IDLE: Final = 0.05
"""The share of a core below which a server is at rest."""


class Program:
    """One running server.

    Args:
        argv: What to run.
        env: Its environment, beside the path and the home.
        log: Where its output goes.
    """

    def __init__(self, argv: Sequence[str | Path], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._begun = time.perf_counter()
        self.start_seconds = 0.0
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", leash.__file__, "SIGTERM", "--", *argv],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env=clean(dict(env)),
                start_new_session=True,
            )

    @property
    def processes(self) -> tuple[int, ...]:
        """The server's own first process; what holds the leash is not counted."""
        return tuple(children_of(self._popen.pid))

    async def until(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it answers, and note how long that took from its start. Raises `RuntimeError` with its log."""
        while not await answers():
            if self._popen.poll() is not None or time.perf_counter() - self._begun > _START_WITHIN:
                raise RuntimeError(f"it does not answer:\n{self._log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.005)
        self.start_seconds = time.perf_counter() - self._begun

    async def settle(self) -> None:
        """Wait until it has done what it does after its start, so that calls are measured and not that."""
        deadline = time.perf_counter() + _SETTLED_WITHIN
        (before,) = costs_of(self.processes)
        while time.perf_counter() < deadline:
            await asyncio.sleep(_LOOK)
            (after,) = costs_of(self.processes)
            if after.cpu - before.cpu < _IDLE * _LOOK:
                return
            before = after

    def stop(self) -> None:
        """End it and wait for that."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._popen.wait(_START_WITHIN)
