"""Evidence of tampering: each event carries a code that cannot be made without the signing key, only with Redis.

The code is of the event and, of a tenant's, of the code of the tenant's event before, so that none can be changed,
taken out or put in between without a later one telling. HMAC-SHA256 (RFC 2104), cut to 128 bits (RFC 2104, section 5:
at least half).
"""

import hmac
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from registry import codec
from registry.events import Event
from registry.state import Tenant

_HEX: Final = 32
_Event = TypeVar("_Event", bound=Event)


class Signer:
    """Signs with the first of some keys and checks with each; without any, signs nothing.

    Args:
        keys: Names and keys, the current one first.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]] = ()) -> None:
        self._keys = dict(keys)
        self._first = keys[0][0] if keys else None

    def sign(self, event: _Event, before: Tenant | None = None) -> _Event:
        """Return the event with its code; `before` is the tenant that it changes. The event as it is, without a key."""
        if self._first is None:
            return event
        mac = f"{self._first}:{self._code(self._first, codec.encode(_unsigned(event)), mac_of(before))}"
        return msgspec.structs.replace(event, mac=mac)

    def check(self, event: Event, before: str | None, data: bytes | None = None) -> str | None:
        """Return what is wrong with an event's code, or None; `before` is the code of the tenant's event before.

        The code is of the very bytes, which are `data` if they are not what this version would write: a field that it
        does not know counts too.
        """
        problem = self.check_key(event)
        if problem or not event.mac or not self._keys:
            return problem
        name, _, code = event.mac.partition(":")
        if not hmac.compare_digest(code, self._code(name, _without(data or codec.encode(event), event.mac), before)):
            return "its signature does not fit: it, or the tenant's event before it, is not what was written"
        return None

    def check_key(self, event: Event) -> str | None:
        """Return what is wrong with an event's code as far as it shows where the event before is not to be had."""
        if not self._keys:
            return None
        if not event.mac:
            return "it is not signed"
        name, _, _ = event.mac.partition(":")
        return None if name in self._keys else f"it is signed with the key {name!r}, which is not among those given"

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


def _unsigned(event: Event) -> Event:
    return msgspec.structs.replace(event, mac=msgspec.UNSET)


def _without(data: bytes, mac: str) -> bytes:
    """Return the bytes that were signed: within a text of JSON these quotation marks cannot stand."""
    return data.replace(b',"mac":"' + mac.encode() + b'"', b"", 1)
