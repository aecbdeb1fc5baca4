"""What is refused before it reaches a tool, why, and what is said: one table, counted."""

from typing import Final, Literal, TypeAlias, get_args

import msgspec
from starlette.types import Send

Reason: TypeAlias = Literal[
    "host",
    "origin",
    "method",
    "media_type",
    "body_too_large",
    "body_late",
    "bodies_full",
    "too_deep",
    "busy",
    "unreadable",
    "head_too_large",
    "head_late",
    "rest_late",
    "pipelined",
    "answer_not_taken",
    "too_many_clients",
    "no_handshake",
]
Road: TypeAlias = Literal["fast", "sdk"]
"""Who answered an MCP request whose body was read: the fast path, or the SDK."""
ROADS: Final[tuple[Road, ...]] = get_args(Road)
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
SERVER_ERROR: Final = -32000
PARSE_ERROR: Final = -32700
INTERNAL_ERROR: Final = -32603


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that says no.

    Attributes:
        reason: What metrics count it under.
        status: HTTP's.
        message: For a person: what to change.
        code: JSON-RPC's, for MCP clients.
        retry_after: Seconds after which the same request may succeed.
        allow: The method that is served instead.
        close: Whether the connection ends with the answer.
    """

    reason: Reason
    status: int
    message: str
    code: int = SERVER_ERROR
    retry_after: int | None = None
    allow: str | None = None
    close: bool = False


class HttpTally:
    """What went on at the HTTP side, counted for metrics."""

    def __init__(self) -> None:
        self.refused: dict[Reason, int] = dict.fromkeys(REASONS, 0)
        self.roads: dict[Road, int] = dict.fromkeys(ROADS, 0)
        self.clients = 0
        self.running = 0

    def note(self, reason: Reason) -> None:
        """Count one refusal."""
        self.refused[reason] += 1


def body_of(refusal: Refusal, *, rpc: bool) -> bytes:
    """Return the answer's body: a JSON-RPC error, which MCP clients show, or for others an object with `error`."""
    if not rpc:
        return msgspec.json.encode({"error": refusal.message})
    error: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.retry_after is not None:
        error["data"] = {"retryable": True, "retry_after": refusal.retry_after}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": error})


def headers_of(refusal: Refusal, body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the answer's headers."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    if refusal.allow is not None:
        headers.append((b"allow", refusal.allow.encode()))
    if refusal.close:
        headers.append((b"connection", b"close"))
    return headers


async def refuse(refusal: Refusal, send: Send, tally: HttpTally, *, rpc: bool) -> None:
    """Count it and answer."""
    tally.note(refusal.reason)
    body = body_of(refusal, rpc=rpc)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers_of(refusal, body)})
    await send({"type": "http.response.body", "body": body})
