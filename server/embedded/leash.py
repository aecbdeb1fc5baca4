"""Runs one server and stops it when the process that wanted it is gone: `python -I leash.py SIGNAL -- argv…`.

Only the parent holds the other end of our standard input, so end-of-file means that it closed it or died, in whatever
way. SIGTERM means the same. The server is then sent SIGNAL, and killed if it has not ended in time.

Rules: standard library only, and as little of it as possible, because every start waits for these imports.
"""

import os
import select
import signal
import subprocess
import sys
import time

PATIENCE = 10.0  # seconds between asking the server to stop and killing it


def _noticed(*_: object) -> None:
    """Handle a signal by doing nothing: its number is in the wake-up pipe, and `_watch` reads that."""


def _wake_on_signals() -> int:
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    # SIGINT and SIGHUP are for the parent to act on. They get a handler and are not ignored: exec keeps what is
    # ignored, and a server that ignores SIGINT cannot be stopped by it.
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _noticed)
    return wake


def _asked_to_stop(ready: list[int], wake: int) -> bool:
    signalled = wake in ready and signal.SIGTERM in os.read(wake, 512)
    return signalled or (0 in ready and not os.read(0, 512))


def _watch(server: "subprocess.Popen[bytes]", stop: signal.Signals, wake: int) -> None:
    """Return once the server is asked to stop or has ended by itself."""
    while server.poll() is None:
        ready, _, _ = select.select([0, wake], [], [])
        if _asked_to_stop(ready, wake):
            server.send_signal(stop)
            return


def _await_end(server: "subprocess.Popen[bytes]", wake: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None:
        if time.monotonic() >= deadline:
            server.kill()
            server.wait()
            return
        if select.select([wake], [], [], max(0.0, deadline - time.monotonic()))[0]:
            os.read(wake, 512)


def main(arguments: list[str]) -> int:
    """Run the server to its end and return its exit code, shell fashion (128 + n when signal n ended it)."""
    wake = _wake_on_signals()
    try:
        # The server inherits every descriptor we were given on purpose, which is how it holds its directory's lock.
        server = subprocess.Popen(  # noqa: S603 - the parent's argument list, no shell
            arguments[2:], stdin=subprocess.DEVNULL, close_fds=False
        )
    except OSError as error:
        sys.stderr.write(f"cannot run {arguments[2]}: {error.strerror}\n")
        return 127
    _watch(server, signal.Signals[arguments[0]], wake)
    _await_end(server, wake)
    code = server.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
