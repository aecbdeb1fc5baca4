"""Files that a log is exported to and imported from."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import StartError


@contextmanager
def writing(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Give what writes to a file that is readable by its owner alone, and there whole or not at all. `StartError`."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - the descriptor carries the permissions
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StartError(f"{path} cannot be written ({error.strerror}).") from None
    finally:
        fresh.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the folder's names last, too: what a backup was made for is then deleted (`log compact --backup`)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the file's lines. Raises `StartError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise StartError(f"{path} cannot be read ({error.strerror}).") from None


def to_standard_output(line: bytes) -> None:
    """Write a line where the next program reads it."""
    sys.stdout.buffer.write(line)
