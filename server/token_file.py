"""The file of tokens: how a server reads it, and how `mcp-postgres tokens` adds to it."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from registry.errors import InvalidInput
from server.log_files import writing
from server.tokens import Grants, parse
from server.watched_file import WatchedFile

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_HEAD: Final = "# Bearer tokens of mcp-postgres, as hashes. Running replicas read a change within two seconds.\n"


def watched_grants(path: Path) -> WatchedFile[Grants]:
    """Return the file's grants, kept up to date by its `run`. `InvalidInput`; warns if others may change it."""
    grants = WatchedFile(path, parse)
    if path.stat().st_mode & _OTHERS_WRITE:
        structlog.get_logger("auth").warning("others may write the token file; run: chmod go-w", path=str(path))
    if not grants.current:
        structlog.get_logger("auth").warning("the token file has no token; nobody gets in by it", path=str(path))
    return grants


def append_token(path: Path, block: str) -> None:
    """Add a token to the file, or make it, 0600: a reader sees all of the new file or all of the old.

    Raises `InvalidInput` if the file cannot be read as it is, and `StartError` if it cannot be written.
    """
    path = path.resolve()
    if not path.parent.is_dir():
        raise InvalidInput(f"The folder {path.parent} does not exist; make it first.")
    with _alone(path.parent):
        before = _text_of(path)
        after = f"{before.rstrip()}\n\n{block}" if before.strip() else f"{_HEAD}\n{block}"
        try:
            parse(after)
        except InvalidInput as error:
            raise InvalidInput(f"{path} is left as it is: {error.message}.") from None
        with writing(path) as write:
            write(after.encode())


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is no text.") from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others who add to a file of the folder waiting: of two at a time, one token would be lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
