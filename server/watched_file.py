"""A file that may change under the running process, and what it says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

import structlog

from registry.errors import InvalidInput

T = TypeVar("T")

LOOK_EVERY: Final = 1.0
"""Seconds. What is taken out of the file is in force for so long, and for as long as it takes to read it."""
_BYTES_AT_MOST: Final = 16 << 20


Stamp: TypeAlias = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp | None:
    """Return what changes when a file is written or replaced, also behind a symbolic link; None if it is not there."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


class WatchedFile(Generic[T]):
    """What a file says, read again each second.

    It is compared as a whole: a second change within the clock tick of the first leaves time and size as they are. A
    file that is broken or gone changes nothing, and is told once in the log: what was said last stays in force.

    Args:
        path: Where it is; what a symbolic link leads to is looked up each time, as Kubernetes changes its files.
        parse: Makes of its text what it says, in another thread. Raises `InvalidInput`.

    Raises `InvalidInput` if it cannot be read now.
    """

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._fault: str | None = None
        self._seen = _bytes_of(path)
        self.current: T = self._said(self._seen)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self._look()

    async def _look(self) -> None:
        try:
            told = await asyncio.to_thread(_bytes_of, self._path)
            if told == self._seen:
                return
            self._seen = told
            self.current = await asyncio.to_thread(self._said, told)
        except InvalidInput as error:
            self._tell(error.message)
        else:
            self._fault = None
            structlog.get_logger("auth").info("file read anew", path=str(self._path))

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            structlog.get_logger("auth").error("file not used; what it said before holds", problem=fault)

    def _said(self, told: bytes) -> T:
        try:
            return self._parse(told.decode())
        except UnicodeDecodeError:
            raise InvalidInput(f"{self._path} is no text.") from None
        except InvalidInput as error:
            raise InvalidInput(f"{self._path}: {error.message}.") from None


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            told = file.read(_BYTES_AT_MOST + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}).") from None
    if len(told) > _BYTES_AT_MOST:
        raise InvalidInput(f"{path} is larger than {_BYTES_AT_MOST >> 20} MiB.")
    return told
