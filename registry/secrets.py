"""Secrets: a password is sealed under the tenant's data key, and the data key is wrapped by a master key.

The log keeps the sealed password for ever; the wrapped data key lies beside the log and is destroyed on removal, after
which the log remembers that the tenant was there and not how to log in. Authenticated data binds every ciphertext to
its tenant, version and purpose, so that one tenant's record pasted into another's does not open. It also binds a
password to its login, so that somebody who can write to Redis cannot have it sent to another server, or in clear.

AES-256-GCM with random 96-bit nonces (NIST SP 800-38D, section 8.2.2): a key may seal 2^32 times; a data key seals once
a registration, a master key once a tenant.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from collections.abc import Sequence
from typing import Any, Final, final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registry.errors import InvalidInput, SecretUnreadable
from registry.events import Login, SealedSecret
from registry.key_providers import KeyProvider, LocalKeys, WrongKey, seal, unseal

_KEY_BYTES: Final = 32
_FORM: Final = "2:"
"""Before what is bound to a login, too; the base64 of the first form has no colon."""
_PARTS: Final = 4
FILE: Final = "the key file"
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

    def seal(self, tenant: str, version: int, login: Login, password: Secret) -> SealedSecret:
        """Return `password` sealed for this tenant, version and login: it opens for no other server than that."""
        text = seal(self._cipher, password.reveal().encode(), self._bound_to(tenant, version, login))
        return SealedSecret(key=self.id, version=version, sealed=_FORM + base64.b64encode(text).decode())

    def open(self, tenant: str, login: Login, secret: SealedSecret) -> Secret:
        """Return the password; `SecretUnreadable` if another key sealed it, or for another tenant, version or login."""
        if secret.key != self.id:
            raise SecretUnreadable(
                f"The password of tenant {tenant!r} was sealed with data key {secret.key}, and its key is {self.id} "
                "now; register the tenant again."
            )
        # Those of the first form, which hold no form, are bound to no login.
        text = secret.sealed.removeprefix(_FORM)
        bound = self._bound_to(tenant, secret.version, None if text == secret.sealed else login)
        try:
            return Secret(unseal(self._cipher, base64.b64decode(text, validate=True), bound).decode())
        except (WrongKey, binascii.Error, ValueError):
            raise _unreadable(f"the password of tenant {tenant!r}") from None

    def _bound_to(self, tenant: str, version: int, login: Login | None) -> bytes:
        if login is None:
            return _bound("password", tenant, str(version), self.id)
        where = hashlib.sha256(json.dumps(login).encode()).hexdigest()
        return _bound("password for a login", tenant, str(version), self.id, where)


class MasterKeys:
    """Wraps and unwraps data keys with the master keys, wherever those are.

    Every method raises `RegistryUnavailable` where those are elsewhere and not to be reached, and may be cancelled.
    """

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider

    @classmethod
    def parse(cls, text: str, where: str = "MCP_POSTGRES_KEY_FILE") -> "MasterKeys":
        """Return the keys of a text, which stay as they are; see `parse_keys`. `where` is the place that it has."""
        return cls(LocalKeys(parse_keys(text), where))

    @property
    def where(self) -> str:
        """What an operator calls the place of the keys."""
        return self._provider.where

    @property
    def remote(self) -> bool:
        """Whether to open a data key is a call to somebody else."""
        return self._provider.remote

    async def names(self) -> Sequence[str]:
        """Return the names of the master keys there are, the one that wraps first."""
        return await self._provider.names()

    async def digest(self, content: bytes) -> str:
        """Return a keyed digest of a command: equal for equal commands, and no help in guessing a password in it."""
        first = (await self.names())[0]
        return f"{first}:{await self._digest(first, content)}"

    async def is_digest_of(self, digest: str, content: bytes) -> bool | None:
        """Whether `digest` is of `content`; None if the master key that made it is not here any more."""
        name, _, told = digest.rpartition(":")
        made = await self._digest(name, content)
        return None if made is None else hmac.compare_digest(told, made)

    async def _digest(self, name: str, content: bytes) -> str | None:
        code = await self._provider.mac(name, content)
        return None if code is None else code.hex()[:32]

    async def new_data_key(self, tenant: str) -> tuple[DataKey, str]:
        """Return a fresh data key for the tenant, and the same wrapped for storage."""
        key, key_id = os.urandom(_KEY_BYTES), os.urandom(4).hex()
        return DataKey(key_id, key), await self._wrap(tenant, key_id, key)

    async def unwrap(self, tenant: str, wrapped: str) -> DataKey:
        """Return the tenant's data key; `SecretUnreadable` if its master key is missing or it was changed."""
        key_id, key = await self._unwrap(tenant, wrapped)
        return DataKey(key_id, key)

    async def rewrap(self, tenant: str, wrapped: str) -> str:
        """Return the same data key wrapped by the first master key. Raises what `unwrap` raises."""
        return await self._wrap(tenant, *await self._unwrap(tenant, wrapped))

    async def _wrap(self, tenant: str, key_id: str, key: bytes) -> str:
        first = (await self.names())[0]
        text = await self._provider.wrap(first, key, _bound("data-key", tenant, key_id, first))
        return f"v1|{key_id}|{first}|{base64.b64encode(text).decode()}"

    async def _unwrap(self, tenant: str, wrapped: str) -> tuple[str, bytes]:
        master = master_of(wrapped)
        if master is None:
            raise SecretUnreadable(f"The data key of tenant {tenant!r} is in a form this version does not know.")
        _, key_id, _, text = wrapped.split("|")
        try:
            raw = base64.b64decode(text, validate=True)
            key = await self._provider.unwrap(master, raw, _bound("data-key", tenant, key_id, master))
        except (WrongKey, binascii.Error, ValueError):
            raise _unreadable(f"the data key of tenant {tenant!r}") from None
        if key is None:
            raise SecretUnreadable(
                f"The data key of tenant {tenant!r} is wrapped by master key {master!r}, which {self.where} does not "
                f"have (it has {', '.join(await self.names())}); add it there.",
                master_key=master,
            )
        return key_id, key


def parse_keys(text: str, where: str = FILE) -> list[tuple[str, bytes]]:
    """Read a key file: one `name:base64` a line, the current one first; empty lines and `#` comments are allowed.

    Raises `InvalidInput` that names the line and never shows it; `where` is what the text is called then.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys: dict[str, bytes] = {}
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        name, key = _parse_key(number, line, where)
        if name in keys:
            raise InvalidInput(f"Line {number} of {where} names its key like one above; give it its own name.")
        keys[name] = key
    if not keys:
        raise InvalidInput(f"There is no key in {where}; make one with: mcp-postgres keys new --out FILE")
    return list(keys.items())


def data_key_id(wrapped: str) -> str:
    """Return the id of a wrapped data key."""
    return wrapped.split("|")[1] if wrapped.count("|") else ""


def master_of(wrapped: str) -> str | None:
    """Return the name of the master key that wrapped a data key; None for a form that is not known here."""
    parts = wrapped.split("|")
    return parts[2] if len(parts) == _PARTS and parts[0] == "v1" else None


def new_master_key(name: str) -> str:
    """Return one line for a key file: a fresh 256-bit key under `name`."""
    return f"{name}:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}"


def _parse_key(number: int, line: str, where: str) -> tuple[str, bytes]:
    match = _KEY_LINE.match(line)
    try:
        key = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        key = b""
    if match is None or len(key) != _KEY_BYTES:
        raise InvalidInput(f"Line {number} of {where} is not NAME:BASE64 of {_KEY_BYTES} bytes.")
    return match[1], key


def _bound(purpose: str, *parts: str) -> bytes:
    """Join what a ciphertext is bound to; none of the parts can hold the separator."""
    return "|".join(("mcp-postgres", purpose, *parts)).encode()


def _unreadable(what: str) -> SecretUnreadable:
    return SecretUnreadable(
        f"{what[0].upper()}{what[1:]} cannot be opened: the master key is another one of the same name, or the "
        "record was changed or copied from elsewhere."
    )
