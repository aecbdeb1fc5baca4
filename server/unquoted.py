"""What the SDK says of a body that is no request, in words that do not repeat the body.

Its own quote what was sent, several times over: what a caller's logs, and a model's context, need not hold again.
"""

from typing import Final

from starlette.types import Message, Send

_BAD_REQUEST: Final = 400
_QUOTES: Final = b'"message":"Validation error: '
_SAID: Final = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Validation error: this is no JSON-RPC 2.0 '
    b'message. Send one object with jsonrpc (\\"2.0\\"), id, method, and params, which is an object; batches are '
    b'not answered."}}'
)


def without_quotes(send: Send) -> Send:
    """Return a `send` that passes every answer on, and the one that quotes the body without the quotation."""
    held: list[Message] = []

    async def passed_on(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == _BAD_REQUEST:
            held.append(message)
            return
        if not held:
            await send(message)
            return
        start = held.pop()
        if _QUOTES in message.get("body", b""):
            start, message = _resized(start, len(_SAID)), {**message, "body": _SAID}
        await send(start)
        await send(message)

    return passed_on


def _resized(start: Message, size: int) -> Message:
    others = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return {**start, "headers": [*others, (b"content-length", str(size).encode())]}
