"""Where the master keys come from: a file that only its owner reads."""

import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path

import structlog

from registry.errors import InvalidInput
from registry.secrets import MasterKeys, new_master_key, parse_keys
from registry.signing import Signer
from server.embedded.private import create_private, make_data_directory

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_master_keys(path: Path) -> MasterKeys:
    """Read the key file; `InvalidInput` says what is wrong with it. Warns if others may read it."""
    return MasterKeys.parse(_text_of(path))


def load_signer(path: Path) -> Signer:
    """Read the file of the signing keys, which has the same form; `InvalidInput` as for the key file."""
    return Signer(parse_keys(_text_of(path)))


def _text_of(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidInput(f"The key file {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"The key file {path} cannot be read (it is no text).") from None
    if mode & _OTHERS:
        structlog.get_logger("keys").warning("key file is open to others; run: chmod 600", path=str(path))
    return text


def make_key_file(path: Path) -> None:
    """Write a new key file, 0600; `InvalidInput` if something is there already: an overwritten key loses passwords."""
    # The random part: two keys made on one day are two names, or neither would say which of them is missing.
    name = f"k{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}"
    text = f"# Master keys of mcp-postgres: the first seals, all open. Keep a copy apart.\n{new_master_key(name)}\n"
    try:
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder; name the file to write.")
        if not path.parent.is_dir():
            raise InvalidInput(f"The folder {path.parent} does not exist; make it first.")
        create_private(path, text)
    except FileExistsError:
        raise InvalidInput(
            f"{path} exists already and is not overwritten: the passwords it sealed would be lost."
        ) from None
    except OSError as error:
        raise InvalidInput(f"The key file {path} cannot be written ({error.strerror}).") from None


def ensure_key_file(path: Path, *, used: Path) -> Path:
    """Return `path` after making the key file, and its folder, if there is none.

    Args:
        path: Where it is.
        used: What is there only if a key was used already: a new one would not open what the lost one sealed.

    Raises `InvalidInput`.
    """
    try:
        if path.exists():
            return path
        lost, expected = used.exists(), path.absolute()
        make_data_directory(path.parent)
    except OSError as error:
        raise InvalidInput(f"The folder {path.parent} cannot be used ({error.strerror}).") from None
    if lost:
        raise InvalidInput(
            f"There is no key file at {expected}, and without it the passwords that {expected.parent} holds cannot be "
            "opened: put the file back, or remove that folder to begin anew without its tenants."
        )
    make_key_file(path)
    return path
