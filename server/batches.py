"""Batches, which 2025-03-26 has every server answer and no later revision knows: each message as if it came alone."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from server.json_rpc import Batch, judged_of_batch

One = Callable[[Scope, bytes, Receive, Send], Awaitable[None]]
"""Answers one message."""
_JSON: Final = (b"content-type", b"application/json")


async def answer_batch(batch: Batch, scope: Scope, receive: Receive, send: Send, one: One) -> None:
    """Answer all messages with one array, or with 202 if none of them wants an answer.

    They are answered one after the other. A client that leaves is noticed by the message that is being answered.
    """
    alone = {**scope, "headers": [*(each for each in scope["headers"] if each[0] != b"accept"), (b"accept", _JSON[1])]}
    answers = [answer for message in batch if (answer := await _answer(bytes(message), alone, receive, one))]
    body = b"[%b]" % b",".join(answers) if answers else b""
    head = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200 if answers else 202, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _answer(message: bytes, scope: Scope, receive: Receive, one: One) -> bytes:
    problem = judged_of_batch(message)
    if problem is not None:
        return problem.body()
    parts: list[bytes] = []

    async def keep(told: Message) -> None:
        parts.append(told.get("body", b""))

    await one(scope, message, receive, keep)
    return b"".join(parts)
