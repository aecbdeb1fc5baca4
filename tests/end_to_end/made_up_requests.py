"""Requests as nobody would write them and somebody will send them: from right ones, by a few changes each.

What is drawn depends on a seed alone. A change is one function: of the message, of its text, or of the headers.
"""

import base64
import copy
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.end_to_end.changed_headers import HEADERS, Headers
from tests.end_to_end.changed_messages import MESSAGES, Message
from tests.end_to_end.changed_texts import TEXTS
from tests.end_to_end.spoken_revisions import HANDSHAKE, META, STATELESS


@dataclass
class Request:
    """One request: its headers as ASGI has them, and its body."""

    headers: Headers
    body: bytes
    changes: list[str] = field(default_factory=list)


class Maker:
    """Makes requests.

    Args:
        seed: What is drawn depends on it alone.
        calls: Right ones: tools and arguments.
        tokens: What callers bear.
    """

    def __init__(self, seed: int, calls: Sequence[tuple[str, dict[str, Any]]], tokens: Sequence[str]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same again from the same seed
        self._calls = calls
        self._tokens = tokens

    def request(self) -> Request:
        """Return the next one: right in a third of all cases, and else changed once to three times."""
        draw = self._random
        tool, arguments = copy.deepcopy(draw.choice(self._calls))
        revision = draw.choice((None, None, *HANDSHAKE, STATELESS, STATELESS, STATELESS))
        message = _message(draw, tool, arguments, revision)
        headers = _headers(draw, message, revision, draw.choice(self._tokens))
        changes = draw.choices((*MESSAGES, *HEADERS, *TEXTS), k=draw.choice((0, 0, 1, 1, 1, 2, 3)))
        for change in changes:
            if change in MESSAGES:
                change(draw, message)
                message = copy.deepcopy(message)  # what one change put in, and others share, the next one may change
        if changes and draw.random() < 0.5:  # those who change a call may well repeat it in its headers
            headers = _headers(draw, message, revision, draw.choice(self._tokens))
        text = json.dumps(message, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
        for change in changes:
            if change in HEADERS:
                change(draw, headers)
            elif change in TEXTS:
                text = change(draw, text)
        return Request(headers, text, [change.__name__ for change in changes])


def _message(draw: random.Random, tool: str, arguments: dict[str, Any], revision: str | None) -> Message:
    params: Message = {"name": tool, "arguments": arguments}
    if revision == STATELESS:
        params["_meta"] = {
            f"{META}protocolVersion": STATELESS,
            f"{META}clientInfo": {"name": "made-up", "version": "1"},
            f"{META}clientCapabilities": draw.choice(({}, {}, {"elicitation": {}}, {"sampling": {}, "roots": {}})),
        }
    elif draw.random() < 0.2:
        params["_meta"] = draw.choice(({}, {"traceparent": "00-1-2-01"}, {"progressToken": 7}, {"a": {"b": [1]}}))
    return {"jsonrpc": "2.0", "id": draw.choice((1, 7, "a", 0)), "method": "tools/call", "params": params}


def _headers(draw: random.Random, message: Message, revision: str | None, token: str) -> Headers:
    headers: Headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    headers.append((b"authorization", f"Bearer {token}".encode()))
    accept = draw.choice((None, b"*/*", b"application/json", b"application/json, text/event-stream"))
    if accept is not None:
        headers.append((b"accept", accept))
    if revision is not None:
        headers.append((b"mcp-protocol-version", revision.encode()))
    if revision == STATELESS:
        headers += mirrored(message)
    draw.shuffle(headers)
    return headers


def mirrored(message: Message) -> Headers:
    """Return the headers that a stateless request has beside its body."""
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    headers = [(b"mcp-method", _plain(message.get("method"))), (b"mcp-name", _plain(params.get("name")))]
    arguments = params.get("arguments")
    tenant = arguments.get("tenant_id") if isinstance(arguments, dict) else None
    return headers if tenant is None else [*headers, (b"mcp-param-tenant-id", _plain(tenant))]


def _plain(value: object) -> bytes:
    """Return a value as a client writes it into a header: in base64 where it does not fit."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value)
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?"):
        return text.encode()
    return b"=?base64?" + base64.b64encode(text.encode("utf-8", "surrogatepass")) + b"?="
