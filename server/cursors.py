"""Where a long list goes on: opaque to clients, good for one list and for who was shown its beginning.

Rules: pure, and the same on every replica. A cursor lets nobody see more: what it leads to is what the caller may see.
It holds what they could see when it was given, so that one that means another list is refused and not misread.
"""

import base64
import binascii
import hashlib
from typing import Final

import msgspec

from registry.errors import InvalidInput
from server.principal import Principal

_DIGEST: Final = 9
"""Bytes; with it, a cursor of an id of any length stays below a hundred characters."""


def write_cursor(of: str, after: str, principal: Principal) -> str:
    """Return the cursor of the list `of` behind the item `after`."""
    return base64.urlsafe_b64encode(_digest(of, after, principal) + after.encode()).decode().rstrip("=")


def read_cursor(of: str, cursor: str, principal: Principal) -> str:
    """Return the item behind which the list goes on. Raises `InvalidInput`."""
    try:
        held = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        after = held[_DIGEST:].decode()
    except (binascii.Error, ValueError):
        raise _no_cursor() from None
    if held[:_DIGEST] != _digest(of, after, principal) or write_cursor(of, after, principal) != cursor:
        raise _no_cursor()
    return after


def refuse_cursor(cursor: str | None) -> None:
    """Raise `InvalidInput` if there is a cursor: the list has one page, so that nobody was given any."""
    if cursor is not None:
        raise _no_cursor()


def _no_cursor() -> InvalidInput:
    return InvalidInput("This is no cursor of yours for this list; begin again without one.", field="cursor")


def _digest(of: str, after: str, principal: Principal) -> bytes:
    told = msgspec.json.encode((of, after, sorted(principal.permissions), principal.tenants))
    return hashlib.sha256(told).digest()[:_DIGEST]
