"""How a long piece of work goes: how far, how fast, how much longer."""

import sys
import time
from typing import Final, TextIO

import structlog

_EVERY: Final = 2.0
"""Seconds between two lines; what is shorter is not worth one."""
_REDRAW: Final = 0.1
_WIDTH: Final = 30


class Progress:
    """Tells of one piece of work after another: a bar on a terminal, else a line in the log now and then.

    Args:
        logger: Where the lines go.
        what: What is being done.
        terminal: Where the bar is drawn, if it is a terminal; standard error if not named.
    """

    def __init__(
        self, logger: structlog.typing.FilteringBoundLogger, what: str = "replaying", terminal: TextIO | None = None
    ) -> None:
        self._logger = logger
        self._what = what
        terminal = terminal or sys.stderr
        self._bar = terminal if terminal.isatty() else None
        self._begun = self._told = 0.0
        self.done = 0

    def begin(self) -> None:
        """Take the time from here: another piece of work begins."""
        self._begun = self._told = time.monotonic()
        self.done = 0

    def report(self, done: int, total: int) -> None:
        """Say how far it is, if it is time to: `done` of `total` are."""
        now = time.monotonic()
        self.done = done
        finished = done >= total
        if now - self._told < (_REDRAW if self._bar else _EVERY) and not (finished and self._told > self._begun):
            return
        self._told = now
        rate = done / max(now - self._begun, 1e-6)
        left = round(max(total - done, 0) / max(rate, 1e-6), 1)
        if self._bar:
            self._draw(self._bar, done, total, f"{round(rate)}/s, {left} s left", finished=finished)
        else:
            self._logger.info(self._what, done=done, total=total, per_second=round(rate), seconds_left=left)

    def _draw(self, terminal: TextIO, done: int, total: int, told: str, *, finished: bool) -> None:
        filled = min(_WIDTH, _WIDTH * done // max(total, 1))
        bar = "#" * filled + "." * (_WIDTH - filled)
        terminal.write(f"\r{self._what} [{bar}] {done}/{total} {told}\033[K" + ("\n" if finished else ""))
        terminal.flush()
