"""How a long replay goes: how far, how fast, how much longer."""

import time
from typing import Final

import structlog

_EVERY: Final = 2.0
"""Seconds between two lines; a replay that is shorter is not worth one."""


class Progress:
    """One replay, from its first entry to `total`."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger, total: int) -> None:
        self._logger = logger
        self._total = total
        self._begun = self._told = time.monotonic()

    def report(self, done: int) -> None:
        """Say how far it is, if it is time to: `done` entries are folded."""
        now = time.monotonic()
        if now - self._told < _EVERY:
            return
        self._told = now
        rate = done / (now - self._begun)
        left = round((self._total - done) / rate, 1)
        self._logger.info("replaying", done=done, total=self._total, entries_per_second=round(rate), seconds_left=left)
