"""Where the master keys come from: a file that only its owner reads, or the environment."""

import secrets
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from registry.errors import InvalidInput
from registry.key_providers import LocalKeys, WrongKey
from registry.secrets import MasterKeys, Secret, new_master_key, parse_keys
from registry.signing import Signer
from server.embedded.private import create_private, make_data_directory
from server.watched_file import stamp_of

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class FileKeys:
    """A `KeyProvider` of a file's keys, which is read again when it has changed: a rotation needs no restart.

    What cannot be read any more, or is no key file, changes nothing and is told in the log.

    Args:
        path: The file. `InvalidInput` says what is wrong with it; warns if others may read it.
        where: What an operator calls it.
    """

    remote = False

    def __init__(self, path: Path, where: str) -> None:
        self.where = where
        self._path = path
        self._seen = stamp_of(path)
        self._keys = LocalKeys(parse_keys(_text_of(path)), where)
        self._logger = structlog.get_logger("keys")

    async def names(self) -> Sequence[str]:
        """See `KeyProvider.names`."""
        self._look_again()
        return await self._keys.names()

    async def wrap(self, name: str, key: bytes, bound: bytes) -> bytes:
        """See `KeyProvider.wrap`."""
        return await self._keys.wrap(name, key, bound)

    async def unwrap(self, name: str, wrapped: bytes, bound: bytes) -> bytes | None:
        """See `KeyProvider.unwrap`. What does not open may be under a key that the file has since."""
        try:
            found = await self._keys.unwrap(name, wrapped, bound)
        except WrongKey:
            if not self._look_again():
                raise
            found = None
        if found is None:
            self._look_again()
            found = await self._keys.unwrap(name, wrapped, bound)
        return found

    async def mac(self, name: str, content: bytes) -> bytes | None:
        """See `KeyProvider.mac`."""
        return await self._keys.mac(name, content)

    def _look_again(self) -> bool:
        """Read the file if it has changed; return whether there are other keys now."""
        seen = stamp_of(self._path)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._keys = LocalKeys(parse_keys(_text_of(self._path)), self.where)
        except InvalidInput as error:
            self._logger.warning("key file not read again; the keys of before are used", reason=error.message)
            return False
        self._logger.info("key file read again", path=str(self._path))
        return True


def load_master_keys(path: Path, where: str | None = None) -> MasterKeys:
    """Return the keys of the file; `InvalidInput` as for `FileKeys`."""
    return MasterKeys(FileKeys(path, where or f"MCP_POSTGRES_KEY_FILE ({path})"))


def keys_of_environment(text: Secret) -> MasterKeys:
    """Return the keys of `MCP_POSTGRES_KEYS`; `InvalidInput` says what is wrong with it and shows nothing of it."""
    return MasterKeys(LocalKeys(check_environment_keys(text), ENVIRONMENT))


def check_environment_keys(text: Secret) -> list[tuple[str, bytes]]:
    """Read the same form as a key file's, with commas or line breaks in between. Raises `InvalidInput`."""
    # A comma of a comment is none between keys: a key file as it was made begins with one.
    lines = (line if line.lstrip().startswith("#") else line.replace(",", "\n") for line in text.reveal().splitlines())
    return parse_keys("\n".join(lines), ENVIRONMENT)


ENVIRONMENT: Final = "MCP_POSTGRES_KEYS"


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
