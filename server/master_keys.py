"""Where the master keys come from: a file that only its owner reads."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import structlog

from registry.errors import InvalidInput
from registry.secrets import MasterKeys, new_master_key
from server.embedded.private import write_private

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_master_keys(path: Path) -> MasterKeys:
    """Read the key file; `InvalidInput` says what is wrong with it. Warns if others may read it."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The key file {path} cannot be read ({type(error).__name__}).") from None
    if path.stat().st_mode & _OTHERS:
        structlog.get_logger("keys").warning("key file is open to others; run: chmod 600", path=str(path))
    return MasterKeys.parse(text)


def make_key_file(path: Path) -> None:
    """Write a new key file, 0600; `InvalidInput` if something is there already: an overwritten key loses passwords."""
    if path.exists():
        raise InvalidInput(f"{path} exists already and is not overwritten: the passwords it sealed would be lost.")
    if not path.parent.is_dir():
        raise InvalidInput(f"The folder {path.parent} does not exist; make it first.")
    name = f"k{datetime.now(UTC):%Y%m%d}"
    write_private(
        path, f"# Master keys of mcp-postgres: the first seals, all open. Keep a copy apart.\n{new_master_key(name)}\n"
    )


def ensure_key_file(path: Path) -> Path:
    """Return `path` after making the key file if there is none."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_key_file(path)
    return path
