"""How an answer leaves: head and body in one system call and one packet, where uvicorn makes two of each.

Most answers are a head that tells the length and a body that is all there. Of those the head waits for the body, which
comes in the same turn of the loop; the lines of the head that are always the same are checked once. What is otherwise,
a stream or the end of a connection, goes uvicorn's way.
"""

from functools import lru_cache
from typing import Any, Final, cast

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

_REMEMBERED: Final = 256
_VARYING: Final = frozenset({b"content-length", b"x-request-id", b"date"})
"""Their values are not seen again, or for a while alone."""
_UNIQUE: Final = b"x-request-id"
_SPECIAL: Final = frozenset({b"connection", b"transfer-encoding"})
"""What uvicorn has to see."""


class Cycle(RequestResponseCycle):
    """uvicorn's side of one request."""

    _head: bytes | None = None
    _told = False
    """Whether all of the body was."""

    async def receive(self) -> Any:  # noqa: ANN401 - uvicorn's ASGI
        """Tell what comes, at once if it is all there."""
        if self._told or self.more_body or self.disconnected or self.waiting_for_100_continue:
            message = await super().receive()
            if not self.more_body:  # a large last part has paused it, and nobody may ask again
                self.flow.resume_reading()
        else:
            message = {"type": "http.request", "body": bytes(self.body), "more_body": False}
            self.body = bytearray()
            self.message_event.clear()
            self.flow.resume_reading()
        self._told = not self.more_body
        return message

    async def send(self, message: Any) -> None:  # noqa: ANN401 - uvicorn's ASGI
        """Send a part of the answer, or keep the head for a moment."""
        if self._head is not None:
            if self._is_all(message):
                self._answer(self._head, message["body"])
                return
            message = self._with_head(message)
        elif not (self.response_started or self.disconnected or self.flow.write_paused or not self.keep_alive):
            self._head = self._plain_head(message)
            if self._head is not None:
                self.response_started = True
                return
        await super().send(message)

    def _is_all(self, message: Message) -> bool:
        """Whether the answer is complete with this, and may be written now."""
        return (
            len(message.get("body", b"")) == self.expected_content_length
            and not (message.get("more_body", False) or self.disconnected or self.flow.write_paused)
            and message["type"] == "http.response.body"
        )

    def _answer(self, head: bytes, body: bytes) -> None:
        """Do what uvicorn does with the last part of an answer."""
        self._head, self.expected_content_length = None, 0
        self.transport.write(head + body)
        self.response_complete = True
        self.message_event.set()
        self.on_response()

    def _with_head(self, message: Message) -> Message:
        """Return the message with the head before its body; of a wrong length, one that uvicorn breaks on.

        uvicorn writes it and is done: whoever waited until it is taken would keep a place among the requests in flight.
        """
        head, self._head = cast("bytes", self._head), None
        body = message.get("body", b"")
        if message.get("more_body", False) or len(body) == self.expected_content_length:
            self.expected_content_length += len(head)
            return {**message, "body": head + body}
        self.expected_content_length -= len(body)
        return {**message, "body": b""}

    def _plain_head(self, message: Message) -> bytes | None:
        """Return the head of an answer that is all there; None for any other."""
        length, lines, fixed = None, [STATUS_LINE[message["status"]]], []
        for name, value in (*self.default_headers, *message.get("headers", ())):
            if name not in _VARYING:
                fixed.append((name, value))
                continue
            lines.append(_checked(name, value) if name == _UNIQUE else _line(name, value))
            if name == b"content-length":
                length = int(value)
        plain = _plain_lines(tuple(fixed))
        if plain is None or length is None or self.scope["method"] == "HEAD":
            return None
        self.expected_content_length, self.chunked_encoding = length, False
        lines += (plain, b"\r\n")
        return b"".join(lines)


def _checked(name: bytes, value: bytes) -> bytes:
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise ValueError("a header of an answer holds what no header may hold")
    return b"%b: %b\r\n" % (name, value)


_line: Final = lru_cache(_REMEMBERED)(_checked)


@lru_cache(_REMEMBERED)
def _plain_lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes | None:
    """Return the lines of a head that are the same in many answers; None where uvicorn has to see one of them."""
    if any(name in _SPECIAL or not name.islower() for name, _ in headers):
        return None
    return b"".join(_checked(name, value) for name, value in headers)
