"""Runs `mcp-postgres` with a clock of its CPU time in it: `sampler.py FILE serve …`.

SIGUSR1 starts the clock. Each time that it has counted a tick of CPU, Python's stack is kept; SIGUSR2 stops it and
writes the stacks to FILE. So a sample is CPU that was spent, the kernel's included, however busy the machine is with
others; what C code spends is charged to Python's function that called it, or to the next one. Ticks are the kernel's,
four milliseconds on most machines.
"""

import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

from server.cli import main

_TICK: Final = 0.001
"""Seconds; the kernel makes of it what its own ticks allow."""


class Sampler:
    """Keeps stacks, and how often each was seen.

    Args:
        out: Where they are written.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._seen: Counter[tuple[str, ...]] = Counter()

    def install(self) -> None:
        """Listen to the signals; in the main thread, whose stack is kept."""
        signal.signal(signal.SIGPROF, self._keep)
        signal.signal(signal.SIGUSR1, lambda *_: self._tick(_TICK))
        signal.signal(signal.SIGUSR2, self._write)

    def _keep(self, _number: int, frame: FrameType | None) -> None:
        frames = []
        while frame is not None:
            frames.append(named(frame))
            frame = frame.f_back
        self._seen[tuple(reversed(frames))] += 1

    def _write(self, *_: object) -> None:
        self._tick(0.0)
        lines = (f"{';'.join(frames)} {count}\n" for frames, count in self._seen.items())
        unfinished = self._out.with_suffix(".unfinished")
        unfinished.write_text("".join(lines), encoding="utf-8")
        unfinished.rename(self._out)

    def _tick(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds, seconds)


def named(frame: FrameType) -> str:
    """Name a frame as py-spy does: its function, its file as imports see it, the function's first line."""
    code = frame.f_code
    roots = [root for root in sys.path if code.co_filename.startswith(f"{root}/")]
    path = code.co_filename[len(max(roots, key=len)) + 1 :] if roots else code.co_filename
    return f"{code.co_qualname} ({path}:{code.co_firstlineno})"


if __name__ == "__main__":
    Sampler(Path(sys.argv[1])).install()
    sys.exit(main(sys.argv[2:]))
