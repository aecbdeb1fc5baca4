"""Evidence of tampering: with a signing key, each event carries a code that whoever writes to Redis cannot make.

The code is of the event and of the code of the tenant's event before, so that none can be changed, taken out or put in
between without a later one telling. HMAC-SHA256 (RFC 2104), cut to 128 bits (RFC 2104, section 5: at least half).
"""

import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from registry import codec
from registry.events import TenantEvent
from registry.state import Tenant

_HEX: Final = 32


class Signer:
    """Signs with the first of some keys and checks with each; without any, signs nothing.

    Args:
        keys: Names and keys, the current one first.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]] = ()) -> None:
        self._keys = dict(keys)
        self._first = keys[0][0] if keys else None

    def sign(self, event: TenantEvent, before: Tenant | None) -> TenantEvent:
        """Return the event with its code; `before` is the tenant that it changes. The event as it is, without a key."""
        if self._first is None:
            return event
        mac = f"{self._first}:{self._code(self._first, codec.encode(_unsigned(event)), mac_of(before))}"
        return msgspec.structs.replace(event, mac=mac)

    def check(self, event: TenantEvent, before: str | None, data: bytes | None = None) -> str | None:
        """Return what is wrong with an event's code, or None; `before` is the code of the tenant's event before.

        The code is of the very bytes, which are `data` if they are not what this version would write: a field that it
        does not know counts too.
        """
        if not self._keys:
            return None
        if not event.mac:
            return "it is not signed"
        name, _, code = event.mac.partition(":")
        if name not in self._keys:
            return f"it is signed with the key {name!r}, which is not among those given"
        if not hmac.compare_digest(code, self._code(name, _without(data or codec.encode(event), event.mac), before)):
            return "its signature does not fit: it, or the tenant's event before it, is not what was written"
        return None

    @property
    def signs(self) -> bool:
        """Whether there is a key."""
        return self._first is not None

    def _code(self, name: str, data: bytes, before: str | None) -> str:
        content = b"mcp-postgres event\n" + (before or "").encode() + b"\n" + data
        return hmac.digest(self._keys[name], content, "sha256").hex()[:_HEX]


def mac_of(tenant: Tenant | None) -> str | None:
    """Return the code of the event that made the tenant what it is."""
    return tenant.mac if tenant else None


def _unsigned(event: TenantEvent) -> TenantEvent:
    return msgspec.structs.replace(event, mac=msgspec.UNSET)


def _without(data: bytes, mac: str) -> bytes:
    """Return the bytes that were signed: within a text of JSON these quotation marks cannot stand."""
    return data.replace(b',"mac":"' + mac.encode() + b'"', b"", 1)
