"""Secrets: a password is sealed under the tenant's data key, and the data key is wrapped by a master key.

The log keeps the sealed password for ever; the wrapped data key lies beside the log and is destroyed on removal, after
which the log remembers that the tenant was there and not how to log in. Authenticated data binds every ciphertext to
its tenant, version and purpose, so that one tenant's record pasted into another's does not open.

AES-256-GCM with random 96-bit nonces (NIST SP 800-38D, section 8.2.2): a key may seal 2^32 times; a data key seals once
a registration, a master key once a tenant.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from typing import Any, Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registry.errors import InvalidInput, SecretUnreadable
from registry.events import SealedSecret

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31}):([A-Za-z0-9+/=]{40,48})\Z")


@final
class Secret:
    """A text that no log line, traceback or repr shows. Not a `str`, so that nothing formats it by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. The caller keeps it no longer than the call it is for."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of anything

    def __reduce__(self) -> Any:  # noqa: ANN401 - the signature that pickle prescribes
        raise TypeError("a secret is not pickled")


@final
class DataKey:
    """One tenant's key, unwrapped. Short-lived: made for one call and dropped.

    Attributes:
        id: Names the key; it is no secret.
    """

    __slots__ = ("_cipher", "id")

    def __init__(self, key_id: str, key: bytes) -> None:
        self.id = key_id
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"DataKey({self.id}, ***)"

    def seal(self, tenant: str, version: int, password: Secret) -> SealedSecret:
        """Return `password` sealed for this tenant and version."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = _bound("password", tenant, str(version), self.id)
        text = nonce + self._cipher.encrypt(nonce, password.reveal().encode(), bound)
        return SealedSecret(key=self.id, version=version, sealed=base64.b64encode(text).decode())

    def open(self, tenant: str, secret: SealedSecret) -> Secret:
        """Return the password; `SecretUnreadable` if it was sealed by another key or for another tenant or version."""
        if secret.key != self.id:
            raise SecretUnreadable(
                f"The password of tenant {tenant!r} was sealed with data key {secret.key}, and its key is {self.id} "
                "now; register the tenant again."
            )
        bound = _bound("password", tenant, str(secret.version), self.id)
        return Secret(_decrypt(self._cipher, secret.sealed, bound, f"the password of tenant {tenant!r}").decode())


class MasterKeys:
    """The keys that wrap data keys. The first one wraps; every one opens, so that keys can be rotated."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._ciphers = {name: AESGCM(key) for name, key in keys}
        self._digest_keys = {name: hmac.digest(key, b"mcp-postgres command digest", "sha256") for name, key in keys}
        self._first = keys[0][0]

    @classmethod
    def parse(cls, text: str) -> "MasterKeys":
        """Read a key file; see `parse_keys`."""
        return cls(parse_keys(text))

    def digest(self, content: bytes) -> str:
        """Return a keyed digest of a command: equal for equal commands, and no help in guessing a password in it."""
        return f"{self._first}:{self._digest(self._first, content)}"

    def is_digest_of(self, digest: str, content: bytes) -> bool | None:
        """Whether `digest` is of `content`; None if the master key that made it is not here any more."""
        name, _, told = digest.partition(":")
        return hmac.compare_digest(told, self._digest(name, content)) if name in self._digest_keys else None

    def _digest(self, name: str, content: bytes) -> str:
        return hmac.new(self._digest_keys[name], content, hashlib.sha256).hexdigest()[:32]

    def new_data_key(self, tenant: str) -> tuple[DataKey, str]:
        """Return a fresh data key for the tenant, and the same wrapped for storage."""
        key, key_id = os.urandom(_KEY_BYTES), os.urandom(4).hex()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, key, _bound("data-key", tenant, key_id, self._first))
        wrapped = f"v1|{key_id}|{self._first}|{base64.b64encode(nonce + sealed).decode()}"
        return DataKey(key_id, key), wrapped

    def unwrap(self, tenant: str, wrapped: str) -> DataKey:
        """Return the tenant's data key; `SecretUnreadable` if its master key is missing or it was changed."""
        try:
            form, key_id, master, sealed = wrapped.split("|")
        except ValueError:
            form, key_id, master, sealed = "", "", "", ""
        if form != "v1":
            raise SecretUnreadable(f"The data key of tenant {tenant!r} is in a form this version does not know.")
        cipher = self._ciphers.get(master)
        if cipher is None:
            raise SecretUnreadable(
                f"The data key of tenant {tenant!r} is wrapped by master key {master!r}, which the key file does not "
                f"have (it has {', '.join(self._ciphers)}); add it to MCP_POSTGRES_KEY_FILE.",
                master_key=master,
            )
        bound = _bound("data-key", tenant, key_id, master)
        return DataKey(key_id, _decrypt(cipher, sealed, bound, f"the data key of tenant {tenant!r}"))


def parse_keys(text: str) -> list[tuple[str, bytes]]:
    """Read a key file: one `name:base64` a line, the current one first; empty lines and `#` comments are allowed.

    Raises `InvalidInput` that names the line and never shows it.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys: dict[str, bytes] = {}
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        name, key = _parse_key(number, line)
        if name in keys:
            raise InvalidInput(f"Line {number} of the key file names its key like one above; give it its own name.")
        keys[name] = key
    if not keys:
        raise InvalidInput("The key file has no key; make one with: mcp-postgres keys new --out FILE")
    return list(keys.items())


def id_of(wrapped: str) -> str:
    """Return the id of a wrapped data key."""
    return wrapped.split("|")[1] if wrapped.count("|") else ""


def new_master_key(name: str) -> str:
    """Return one line for a key file: a fresh 256-bit key under `name`."""
    return f"{name}:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}"


def _parse_key(number: int, line: str) -> tuple[str, bytes]:
    match = _KEY_LINE.match(line)
    try:
        key = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        key = b""
    if match is None or len(key) != _KEY_BYTES:
        raise InvalidInput(f"Line {number} of the key file is not NAME:BASE64 of {_KEY_BYTES} bytes.")
    return match[1], key


def _bound(purpose: str, *parts: str) -> bytes:
    """Join what a ciphertext is bound to; none of the parts can hold the separator."""
    return "|".join(("mcp-postgres", purpose, *parts)).encode()


def _decrypt(cipher: AESGCM, text: str, bound: bytes, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
        return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except (InvalidTag, binascii.Error, ValueError):
        raise SecretUnreadable(
            f"{what[0].upper()}{what[1:]} cannot be opened: the master key is another one of the same name, or the "
            "record was changed or copied from elsewhere."
        ) from None
