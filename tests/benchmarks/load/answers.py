"""HTTP answers as they come in over one connection that has one request under way: length told, or in chunks. Pure."""

import re
from typing import Final, NamedTuple

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_END_OF_HEAD: Final = b"\r\n\r\n"
_END_OF_CHUNKS: Final = b"0\r\n\r\n"


class Answer(NamedTuple):
    """One whole answer."""

    status: int
    head: bytes
    body: bytes


class MalformedAnswer(Exception):
    """What came is no HTTP/1.1 answer whose end can be told."""


class AnswerReader:
    """Puts answers together from whatever arrives. One answer at a time: nothing may come behind it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Answer | None:
        """Return the answer that is whole with `data`, or None. Raises `MalformedAnswer`."""
        if self._held:
            self._held += data
            data = bytes(self._held) if self._may_be_whole() else b""
        answer = whole(data) if data else None
        if answer is not None:
            self._held.clear()
        elif not self._held:
            self._held += data
        return answer

    def _may_be_whole(self) -> bool:
        """Look at the end alone: an answer of megabytes is not copied each time that a piece of it comes."""
        head_end = self._held.find(_END_OF_HEAD)
        if head_end < 0:
            return False
        length = _LENGTH.search(self._held, 0, head_end + 2)
        if length:
            return len(self._held) >= head_end + len(_END_OF_HEAD) + int(length[1])
        return self._held.endswith(_END_OF_CHUNKS)


def whole(data: bytes) -> Answer | None:
    """Return the answer if all of it is there. Raises `MalformedAnswer` if its end cannot be told."""
    head_end = data.find(_END_OF_HEAD)
    if head_end < 0:
        return None
    begin = head_end + len(_END_OF_HEAD)
    if length := _LENGTH.search(data, 0, head_end + 2):
        end = begin + int(length[1])
        return Answer(_status(data), data[:head_end], data[begin:end]) if len(data) >= end else None
    if _CHUNKED.search(data, 0, head_end + 2):
        body = dechunked(data, begin)
        return None if body is None else Answer(_status(data), data[:head_end], body)
    if _status(data) in {202, 204, 304}:
        return Answer(_status(data), data[:head_end], b"")
    raise MalformedAnswer(f"neither a length nor chunks: {data[:head_end]!r}")


def dechunked(data: bytes, begin: int) -> bytes | None:
    """Return what the chunks from `begin` on hold, or None while the last one is missing."""
    parts: list[bytes] = []
    while (line_end := data.find(b"\r\n", begin)) >= 0:
        size = int(data[begin:line_end].split(b";")[0], 16)
        begin = line_end + 2
        if len(data) < begin + size + 2:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(data[begin : begin + size])
        begin += size + 2
    return None


def header(answer: Answer, name: str) -> str | None:
    """Return a header's value, if the answer has it."""
    found = re.search(rb"\r\n" + re.escape(name.encode()) + rb": *([^\r]*)", answer.head, re.IGNORECASE)
    return found[1].decode() if found else None


def _status(data: bytes) -> int:
    try:
        return int(data[9:12])
    except ValueError:
        raise MalformedAnswer(f"no status: {data[:40]!r}") from None
