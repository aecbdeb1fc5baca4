"""Kills what is left when whoever started it is gone, in whatever way: `python -I watchdog.py`.

Told on standard input, one a line: `+PID` for a process that began, `-PID` for one that was waited for. End of file
means that the far end closed it or died. Standard library only.
"""

import os
import signal
import sys


def main() -> None:
    """Listen until the end of the file, then kill."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    left: set[int] = set()
    for line in sys.stdin:
        change = left.add if line[0] == "+" else left.discard
        change(int(line[1:]))
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
