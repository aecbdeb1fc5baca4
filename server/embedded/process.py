"""A server under its leash."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from server.embedded.errors import EmbeddedUnavailable
from server.embedded.leash import PATIENCE

_LEASH = Path(__file__).with_name("leash.py")
_INHERITED = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_LAST_LINES = 4
_LAST_BYTES = 4096


class LeashedProcess:
    """A program that ends when told to or when this process does, whichever comes first.

    Not bound to an event loop: it may be started in one and stopped in another.
    """

    def __init__(self, name: str, argv: Sequence[str | Path], *, stop: signal.Signals, log: Path, lock: int) -> None:
        """Start it at once.

        Args:
            name: What to call it in errors.
            argv: The program and its arguments.
            stop: The signal that asks it to end well.
            log: Where its output goes; the log of the run before is kept beside it.
            lock: A descriptor for it to inherit.
        """
        self._name = name
        self._stop = stop
        self._log = log
        _keep_previous(log)
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                [sys.executable, "-I", _LEASH, stop.name, "--", *argv],
                stdin=subprocess.PIPE,  # its far end is held by us alone, and closing it is what ends the server
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us: we decide in which order things end
                pass_fds=(lock,),
            )

    def check(self) -> None:
        """Raise if it has ended."""
        if (code := self._process.poll()) is not None:
            raise self.failure(f"ended with exit code {code}")

    def failure(self, what: str) -> EmbeddedUnavailable:
        """Return the error to raise: what happened, what the program said last and where it said the rest."""
        return EmbeddedUnavailable(f"{self._name} {what}: {self._last_words()} (see {self._log})")

    async def end(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a thread in waitpid could not be cancelled
            await asyncio.sleep(0.01)
        return code

    async def stop(self) -> None:
        """End it and wait for that. If cancelled, it is told to end all the same."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.to_thread(self._reap)

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:]) or "it said nothing"

    def _reap(self) -> None:
        try:
            code = self._process.wait(PATIENCE + 5)
        except subprocess.TimeoutExpired:
            self._signal_group(signal.SIGKILL)
            code = self._process.wait()
        if code < 0:  # somebody killed the leash and only the leash: its server is still in the group
            self._signal_group(self._stop)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _keep_previous(log: Path) -> None:
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))


def _environment() -> dict[str, str]:
    """Return what a server has to know, which excludes every key and password that we were started with."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
