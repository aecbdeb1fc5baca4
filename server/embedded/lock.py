"""One owner for a data directory.

Two locks, because two questions are asked. `owner.lock` is held by the process that runs the servers and by nothing
else: it says whether somebody is using the directory. `writers.lock` is inherited by the servers and by all that they
start: it says whether anything is left that could still write there. Both are `flock`s, so the kernel drops them with
their last holder, however that ends; no file has to be tidied away after a crash.
"""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from server.embedded.errors import EmbeddedUnavailable

PATIENCE = 10.0  # seconds for the servers of an owner that was killed just now to be gone

_LAST_CHILD = 1.0
"""Seconds that a process may take from its fork to its own program."""


class DirectoryLock:
    """The directory is ours until `release`; servers that inherited `writers` may keep it locked a little longer."""

    def __init__(self, owner: int, writers: int) -> None:
        self._owner = owner
        self.writers = writers

    def release(self) -> None:
        """Give the directory up; call once."""
        os.close(self.writers)
        os.close(self._owner)


async def lock_directory(home: Path) -> DirectoryLock:
    """Lock the directory: refuses at once if it has a living owner, waits for the servers that a dead one left."""
    owner = await _own(home / "owner.lock")
    try:
        return DirectoryLock(owner, await _inherit(home / "writers.lock"))
    except BaseException:
        os.close(owner)
        raise


async def _own(path: Path) -> int:
    descriptor = _open(path)
    deadline = time.monotonic() + _LAST_CHILD
    while not _locked(descriptor):
        pid = os.pread(descriptor, 32, 0).decode().strip()
        # A process that a dead owner was just starting holds its descriptors for a moment more, until it has begun.
        if _lives(pid) or time.monotonic() >= deadline:
            os.close(descriptor)
            raise EmbeddedUnavailable(
                f"{path.parent} is in use by process {pid or 'unknown'} (it holds {path.name}): "
                "stop it, or choose another data folder (--data-dir)"
            )
        await asyncio.sleep(0.01)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True  # somebody else's
    except (ValueError, ProcessLookupError):
        return False
    return True


async def _inherit(path: Path) -> int:
    descriptor = _open(path)
    try:
        await _wait_for_lock(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _wait_for_lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _locked(descriptor):
        if time.monotonic() >= deadline:
            raise EmbeddedUnavailable(
                f"servers that an earlier process left behind still use {path.parent}: "
                f"stop them (`lsof {path}` names them) and start again"
            )
        await asyncio.sleep(0.01)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
