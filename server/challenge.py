"""What a refused client is told: the status, how to get a token, and where (RFC 6750, RFC 9728, MCP's authorization).

Rules: pure. Nothing of a request is in an answer but the id of a message that lacked a permission.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from server.access_refused import Reason, Refused
from server.principal import PERMISSIONS, Permission

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
BASIC_SCOPE: Final[tuple[Permission, ...]] = ("tenants:read", "query:read")
"""What a client that has nothing yet should ask for."""
_ERRORS: Final[Mapping[Reason, str]] = {
    "bad_request": "invalid_request",
    "bad_token": "invalid_token",
    "forbidden": "insufficient_scope",
}
"""By OAuth's names. A request without a token gets none (RFC 6750, 3.1), nor one that we cannot judge."""
_REFUSED: Final = -32001
_UNQUOTABLE: Final = re.compile(r"[^ !#-\[\]-~]")
"""What an error_description may not hold (RFC 6750, 3)."""
_LATER: Final = b"2"


class Challenge:
    """The answers to the refused.

    Args:
        resource: This server's address for its clients, as tokens' audience; None without an issuer.
        issuer: Where tokens come from.
    """

    def __init__(self, resource: str | None, issuer: str | None) -> None:
        self._resource = resource
        self._issuer = issuer

    @property
    def documents(self) -> Mapping[str, bytes]:
        """The metadata of the protected resource, by the paths where it is looked for; none without an issuer."""
        if self._resource is None or self._issuer is None:
            return {}
        told = {
            "resource": self._resource,
            "authorization_servers": [self._issuer],
            "scopes_supported": sorted(PERMISSIONS),
            "bearer_methods_supported": ["header"],
            "resource_name": "mcp-postgres",
        }
        document = msgspec.json.encode(told)
        return {WELL_KNOWN: document, WELL_KNOWN + urlsplit(self._resource).path.rstrip("/"): document}

    def headers(self, refused: Refused) -> list[tuple[bytes, bytes]]:
        """Return the headers that say what is wanted."""
        if refused.reason in ("unavailable", "too_many"):
            return [(b"retry-after", _LATER)]
        return [(b"www-authenticate", f"Bearer {self._told(refused)}".strip().encode())]

    def _told(self, refused: Refused) -> str:
        error = _ERRORS.get(refused.reason)
        scope = refused.scope or (BASIC_SCOPE if self._issuer else ())
        told = {
            "error": error,
            "error_description": _UNQUOTABLE.sub("'", refused.message) if error else None,
            "scope": " ".join(scope) or None,
            "resource_metadata": self._metadata,
        }
        return ", ".join(f'{name}="{value}"' for name, value in told.items() if value)

    @property
    def _metadata(self) -> str | None:
        if self._resource is None:
            return None
        parts = urlsplit(self._resource)
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"


def body_of(refused: Refused, message_id: object = None) -> bytes:
    """Return the answer's text: a JSON-RPC error, whose message clients show."""
    error = {"code": _REFUSED, "message": refused.message, "data": {"code": refused.reason, "scope": refused.scope}}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "error": error})
