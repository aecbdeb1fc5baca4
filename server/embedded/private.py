"""Small files and directories that are nobody else's business."""

import os
import secrets
from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Make the directory, reachable by its owner alone; its parents get the usual permissions."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_data_directory(path: Path) -> None:
    """Make the directory that all servers' own are in, which only this user lists.

    Root's may be passed through as well: Postgres, which then runs as somebody else, could not reach its own otherwise.
    """
    path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write the file, readable by its owner alone, so that a crash leaves the old content or the new, never a part."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    create_private(fresh, text)
    fresh.replace(path)


def create_private(path: Path, text: str) -> None:
    """Write a new file, readable by its owner alone; `FileExistsError` if there is one, or has come meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - the descriptor carries the permissions
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def read_or_none(path: Path) -> str | None:
    """Return the file's text without the white space around it, or None when there is no such file or nothing in it."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def lasting_password(path: Path) -> str:
    """Return the password kept in the file, made up the first time it is asked for."""
    if (kept := read_or_none(path)) is not None:
        return kept
    password = secrets.token_urlsafe(24)
    write_private(path, password)
    return password
