"""What the headers of a request must say for the fast path: as the SDK reads them, and where it would read on.

Rules: pure.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from starlette.types import Scope

from server.revisions import HANDSHAKE, STATELESS, UNSAID
from server.toolbox import Arguments, Tool, value_in

_REMEMBERED: Final = 256
"""Accept headers whose meaning is kept; clients send the same few."""
_READ: Final = (b"accept", b"mcp-")
"""How the headers begin that are looked at, here or by the SDK."""
_SENTINEL: Final = "=?"
"""How a value begins that is encoded."""


class Head(msgspec.Struct, frozen=True):
    """The headers of a request that may be right.

    Attributes:
        headers: All of them.
        revision: Which one it speaks.
        stateless: Whether that is the one whose requests tell everything themselves.
        streams: Whether a long call may be streamed.
    """

    headers: Mapping[bytes, bytes]
    revision: bytes
    stateless: bool
    streams: bool


class _Accepted(msgspec.Struct, frozen=True):
    """What an Accept header allows: JSON, a stream; and whether it names streams."""

    json: bool
    stream: bool
    named: bool


def head_of(scope: Scope) -> Head | None:
    """Return what the headers say; None if anything about them is for the SDK to judge."""
    headers = _headers_of(scope)
    if headers is None:
        return None
    accepted = _accepted(headers.get(b"accept", b""))
    revision = headers.get(b"mcp-protocol-version", UNSAID)
    if not accepted.json or (revision != STATELESS and revision not in HANDSHAKE):
        return None
    streams = accepted.named and accepted.stream
    stateless = revision == STATELESS
    return None if accepted.named and not streams and stateless else Head(headers, revision, stateless, streams)


def mirrored_of(tool: Tool) -> dict[str, bytes]:
    """Return the arguments that a header repeats in the 2026-07-28 revision, and that header."""
    return {
        field: b"mcp-param-" + str(schema["x-mcp-header"]).lower().encode()
        for field, schema in tool.input_schema.get("properties", {}).items()
        if "x-mcp-header" in schema
    }


def mirrors(head: Head, tool: Tool, mirrored: Mapping[str, bytes], arguments: Arguments) -> bool:
    """Whether the headers say the same as the body, as the 2026-07-28 revision wants it."""
    headers = head.headers
    if headers.get(b"mcp-method") != b"tools/call" or headers.get(b"mcp-name") != tool.name.encode():
        return False
    return all(_is_mirrored(headers.get(header), value_in(arguments, field)) for field, header in mirrored.items())


def _is_mirrored(header: bytes | None, value: object) -> bool:
    if value is None:
        return header is None
    plain = isinstance(value, str) and value.isascii() and not value.startswith(_SENTINEL)
    return plain and header == str(value).encode()


def _headers_of(scope: Scope) -> dict[bytes, bytes] | None:
    """Return the headers; None if one that matters is there twice."""
    given = scope["headers"]
    headers: dict[bytes, bytes] = dict(given)
    if len(headers) != len(given):
        read = [name for name, _ in given if name.startswith(_READ)]
        if len(set(read)) != len(read):
            return None
    return headers


@lru_cache(_REMEMBERED)
def _accepted(accept: bytes) -> _Accepted:
    """Read an Accept header as the SDK does; none means anything."""
    text = accept.decode("latin-1").lower()
    types = {each.partition(";")[0].strip() for each in text.split(",")}
    anything = "*/*" in types or not text.strip()
    json = anything or bool(types & {"application/json", "application/*"})
    stream = anything or bool(types & {"text/event-stream", "text/*"})
    return _Accepted(json, stream, "text/event-stream" in text)
