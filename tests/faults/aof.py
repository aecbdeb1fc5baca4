"""Reads Redis's append-only file: every entry that the stream ever had, and the stream as if nobody had taken any out.

A file that is cut short is read up to where it is whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec


class RawEntry(NamedTuple):
    """An entry as it was added."""

    id: bytes
    fields: dict[bytes, bytes]


class Stream(msgspec.Struct):
    """A stream as a file tells it.

    Attributes:
        ever: All that was added since the file began, in order.
        now: What was added since the stream was last deleted or emptied, in order; also what was trimmed away since.
    """

    ever: list[RawEntry]
    now: list[RawEntry]


def stream_in(home: Path, name: str) -> Stream:
    """Read what the append-only files below `home` tell of the stream."""
    stream, key = Stream([], []), name.encode()
    for path in sorted((home / "appendonlydir").glob("*.incr.aof")):
        for words in commands(path.read_bytes()):
            _apply(stream, key, words)
    return stream


def commands(raw: bytes) -> Iterator[list[bytes]]:
    """Return the commands in the bytes of a file, without the last one if that is cut off."""
    at = 0
    while (end := _end_of(raw, at)) is not None:
        yield _words(raw[at:end])
        at = end


def _apply(stream: Stream, key: bytes, words: list[bytes]) -> None:
    match words:
        case [b"XADD", name, entry, *rest] if name == key:
            added = RawEntry(entry, dict(zip(rest[::2], rest[1::2], strict=True)))
            stream.ever.append(added)
            stream.now.append(added)
        case [b"FLUSHALL" | b"FLUSHDB", *_]:
            stream.now.clear()
        case [b"DEL" | b"UNLINK", *names] if key in names:
            stream.now.clear()
        case _:
            pass


def _end_of(raw: bytes, at: int) -> int | None:
    """Return where the command that begins at `at` ends; None if it is not there whole."""
    count, at = _number(raw, at)
    for _ in range(count or 0):
        length, at = _number(raw, at)
        if length is None:
            return None
        at += length + 2
    return None if count is None or at > len(raw) else at


def _number(raw: bytes, at: int) -> tuple[int | None, int]:
    """Return the number on the line that begins at `at` (None if it is not whole), and where the next begins."""
    end = raw.find(b"\r\n", at)
    return (None, at) if end < 0 else (int(raw[at + 1 : end]), end + 2)


def _words(command: bytes) -> list[bytes]:
    words, (count, at) = [], _number(command, 0)
    for _ in range(count or 0):
        length, at = _number(command, at)
        words.append(command[at : at + (length or 0)])
        at += (length or 0) + 2
    return words
