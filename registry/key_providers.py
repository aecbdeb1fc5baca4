"""Where master keys are: in this process, or in a service that wraps and unwraps for us.

A provider knows nothing of tenants and data keys. What is wrapped, and to what that is bound, is `registry/secrets.py`.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12


class WrongKey(Exception):
    """A text is not what that key wrapped for that purpose."""


class KeyProvider(Protocol):
    """Master keys, by name. The first wraps; every one unwraps, so that keys can be rotated.

    Every method may be cancelled, may wait for a service, and then raises `RegistryUnavailable` where that does not
    answer: the call may be tried again. A name has no `|`, and means the same key for ever.

    Attributes:
        where: What an operator calls it, for messages.
        remote: Whether a call leaves this process. A start then tries one data key of each master key, and not all.
    """

    where: str
    remote: bool

    async def names(self) -> Sequence[str]:
        """Return the names of the keys there are now, the one that wraps first. Never empty."""

    async def wrap(self, name: str, key: bytes, bound: bytes) -> bytes:
        """Return `key` wrapped under the master key, so that it unwraps with the same `bound` (ASCII) alone."""

    async def unwrap(self, name: str, wrapped: bytes, bound: bytes) -> bytes | None:
        """Return what was wrapped; None where there is no key of that name. Raises `WrongKey`."""

    async def mac(self, name: str, content: bytes) -> bytes | None:
        """Return 32 bytes that only the master key's owner can tell of `content`; None where it is not here."""


class LocalKeys:
    """Master keys in this process's memory: AES-256-GCM, and HMAC-SHA256 with a key derived from each."""

    remote = False

    def __init__(self, keys: Sequence[tuple[str, bytes]], where: str) -> None:
        self.where = where
        self._ciphers = {name: AESGCM(key) for name, key in keys}
        self._digest_keys = {name: hmac.digest(key, b"mcp-postgres command digest", "sha256") for name, key in keys}

    async def names(self) -> Sequence[str]:
        """See `KeyProvider.names`."""
        return tuple(self._ciphers)

    async def wrap(self, name: str, key: bytes, bound: bytes) -> bytes:
        """See `KeyProvider.wrap`."""
        return seal(self._ciphers[name], key, bound)

    async def unwrap(self, name: str, wrapped: bytes, bound: bytes) -> bytes | None:
        """See `KeyProvider.unwrap`."""
        cipher = self._ciphers.get(name)
        return None if cipher is None else unseal(cipher, wrapped, bound)

    async def mac(self, name: str, content: bytes) -> bytes | None:
        """See `KeyProvider.mac`."""
        key = self._digest_keys.get(name)
        return None if key is None else hmac.digest(key, content, hashlib.sha256)


def seal(cipher: AESGCM, text: bytes, bound: bytes) -> bytes:
    """Return a random nonce and the ciphertext behind it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, text, bound)


def unseal(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    """Return what `seal` sealed. Raises `WrongKey`."""
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise WrongKey from None
