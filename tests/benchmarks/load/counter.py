"""Runs `mcp-postgres` with a count of its function calls in it: `counter.py FILE serve …`.

From SIGUSR1 to SIGUSR2 Python's own profiler counts every call, then its figures are in FILE. Its times mislead, for it
makes each call of a function dearer; how many there are for one tool call is exact on the busiest machine.
"""

import cProfile
import signal
import sys
from pathlib import Path

from server.cli import main


def install(out: Path) -> None:
    """Listen to the signals."""
    counted = cProfile.Profile(builtins=True)

    def write(*_: object) -> None:
        counted.disable()
        unfinished = out.with_suffix(".unfinished")
        counted.dump_stats(unfinished)
        unfinished.rename(out)

    signal.signal(signal.SIGUSR1, lambda *_: counted.enable())
    signal.signal(signal.SIGUSR2, write)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
