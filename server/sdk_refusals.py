"""The SDK's refusals in words for a client: JSON always, and nothing of the libraries that found the mistake.

Its parser's report quotes the request, which may hold a password, and links to a library's documentation.
"""

import http
from typing import Final

import msgspec
from starlette.types import Message, Send

from server.json_rpc import NO_MESSAGE

_REFUSED: Final = 400
_REPORT: Final = "Validation error"


class _Error(msgspec.Struct):
    code: int
    message: str


class _Answer(msgspec.Struct):
    error: _Error


def in_our_words(send: Send) -> Send:
    """Return a `send` that says refusals so. What is no refusal passes as it is."""
    held: Message | None = None

    async def say(message: Message) -> None:
        nonlocal held
        if message["type"] == "http.response.start" and message["status"] >= _REFUSED:
            held = message
            return
        if held is None:
            await send(message)
            return
        body = _said(held["status"], message.get("body", b""))
        kept = [each for each in held["headers"] if each[0] not in {b"content-type", b"content-length"}]
        told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({**held, "headers": [*kept, *told]})
        held = None
        await send({**message, "body": body})

    return say


def _said(status: int, body: bytes) -> bytes:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _error(-32600, body.decode("utf-8", "replace") or http.HTTPStatus(status).phrase)
    return _error(answer.error.code, NO_MESSAGE) if answer.error.message.startswith(_REPORT) else body


def _error(code: int, message: str) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}})
