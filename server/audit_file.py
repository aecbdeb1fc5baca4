"""A file that each write is put down in, one JSON line each, safe on the disk before anything goes on.

Lines are appended and flushed to the disk in a thread of its own, never on the event loop; those that wait for it go in
together. A file that was moved away is made anew, so that log rotation needs no signal. Several processes may share it:
what is written at once is appended at once, and half a line that another one left is looked for before.
"""

import asyncio
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from server.errors import StartError
from server.threads import settle

PATIENCE: Final = 5.0
"""Seconds that a disk gets: after that the line counts as not put down, whatever becomes of it."""
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MODE: Final = 0o600

_Waiting: TypeAlias = tuple[bytes, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class AuditFile:
    """The file at a path, opened when first written to, and again when another one is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._working = False

    def require_writable(self) -> None:
        """Open it, and make it if it is not there. Raises `StartError`. Blocks."""
        try:
            self._opened()
        except OSError as error:
            raise StartError(
                f"MCP_POSTGRES_AUDIT_FILE names {self._path}, which cannot be appended to ({error.strerror})."
            ) from None

    async def put(self, line: bytes) -> None:
        """Append a line that is whole, and return when it is on the disk. Raises `OSError`; `TimeoutError` is one.

        May be cancelled; the line is then put down all the same.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((line, loop, done))
            idle, self._working = not self._working, True
        if idle:
            threading.Thread(target=self._work, name="audit", daemon=True).start()
        async with asyncio.timeout(PATIENCE):
            await done

    def close(self) -> None:
        """Close the file; nothing may be under way."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _work(self) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting, []
                self._working = bool(batch)
            if not batch:
                return
            problem: OSError | None = None
            try:
                self._append(b"".join(line for line, _, _ in batch))
            except OSError as error:
                problem = error
            for _, loop, done in batch:
                settle(loop, done, None, problem)

    def _append(self, lines: bytes) -> None:
        file = self._opened()
        with _alone(file):  # or what another process is just writing would look like half a line
            if _is_torn(file):  # what is half a line stays one
                lines = b"\n" + lines
            written = os.write(file, lines)
        if written < len(lines):
            raise OSError("only a part could be written")
        os.fsync(file)

    def _opened(self) -> int:
        if self._file is not None and not _is_at(self._file, self._path):
            self.close()
        if self._file is None:
            file = os.open(self._path, _FLAGS, _MODE)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise OSError(0, "not a regular file")
            self._file = file
            _keep_name(self._path.parent)
        return self._file


@contextmanager
def _alone(file: int) -> Iterator[None]:
    """Keep the other processes of ours from appending meanwhile; where files cannot be locked, they may."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _is_torn(file: int) -> bool:
    """Whether the file ends in the middle of a line."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one that has the name."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except OSError:
        return False


def _keep_name(folder: Path) -> None:
    """Flush a new file's name to the disk, too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
