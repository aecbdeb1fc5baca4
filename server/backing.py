"""What a command runs on: the Redis and the key that were named, or embedded servers and a key of our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from registry.errors import InvalidInput
from registry.secrets import MasterKeys
from registry.signing import Signer
from server.embedded.errors import EmbeddedUnavailable
from server.embedded.valkey import EmbeddedValkey, log_of, running_valkey_url
from server.errors import StartError
from server.master_keys import ensure_key_file, keys_of_environment, load_master_keys, load_signer
from server.settings import Settings


class Backing(msgspec.Struct, frozen=True):
    """Where the log is and what opens its secrets."""

    redis_url: str
    master: MasterKeys

    def __repr__(self) -> str:
        return "Backing(***)"


@asynccontextmanager
async def backing_of(settings: Settings, *, join: bool = False) -> AsyncIterator[Backing]:
    """Hold what the settings name; start an embedded Valkey when they name no Redis. Raises `StartError`.

    Args:
        settings: Checked settings.
        join: Use the embedded Valkey of a server that is running in the same data directory, if there is one.
    """
    named = master_of(settings)
    if settings.redis_url is not None and named is not None:
        yield Backing(settings.redis_url, named)
        return
    master = named or embedded_master(settings)
    running = _running(settings) if join else None
    if running is not None:
        yield Backing(running, master)
        return
    try:
        async with EmbeddedValkey(settings.data_dir) as valkey:
            yield Backing(valkey.url, master)
    except EmbeddedUnavailable as error:
        raise StartError(str(error)) from None


def backed(settings: Settings, backing: Backing) -> Settings:
    """Return settings by which another process finds what is held here."""
    key_file = settings.key_file if settings.keys or settings.key_file else _embedded_key(settings)
    return msgspec.structs.replace(settings, redis_url=backing.redis_url, key_file=key_file)


def embedded_master(settings: Settings) -> MasterKeys:
    """Return keys of an embedded Valkey's own; call before it starts. `StartError` if they cannot be had.

    A key file is made beside the data, and never a second one: see `ensure_key_file`.
    """
    try:
        path = ensure_key_file(_embedded_key(settings), used=log_of(settings.data_dir))
        return load_master_keys(path, f"the key file {path}")
    except InvalidInput as error:
        raise StartError(error.message) from None


def _embedded_key(settings: Settings) -> Path:
    return settings.data_dir / "master.key"


def _running(settings: Settings) -> str | None:
    try:
        return running_valkey_url(settings.data_dir)
    except OSError as error:
        raise StartError(f"The folder {settings.data_dir} cannot be used ({error.strerror}).") from None


def master_of(settings: Settings) -> MasterKeys | None:
    """Return the keys that the settings name, if they do; `StartError` if they cannot be used."""
    try:
        if settings.keys is not None:
            return keys_of_environment(settings.keys)
        return load_master_keys(settings.key_file) if settings.key_file is not None else None
    except InvalidInput as error:
        raise StartError(error.message) from None


def signer_of(settings: Settings) -> Signer:
    """Return what signs events; nothing does without a file of keys. `StartError` if the file cannot be used."""
    if settings.signing_key_file is None:
        return Signer()
    try:
        return load_signer(settings.signing_key_file)
    except InvalidInput as error:
        raise StartError(f"The signing key cannot be used. {error.message}") from None
