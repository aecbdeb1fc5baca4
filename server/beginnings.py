"""What begins a call, as messages that run in one go with the driver's own, up to its Sync.

Where one of the statements is refused, Postgres runs nothing of what follows: so no statement of a caller's runs
outside of the transaction that keeps it from writing. They stay prepared in a session where names stay: parsing them
each time would cost Postgres more than all the rest of it.
"""

import struct
from hashlib import blake2b
from typing import Final

_LENGTH: Final = struct.Struct(">i")
_AFTER_TEXT: Final = b"\0\0\0"
_AFTER_NAME: Final = b"\0\0\0\0\0\0\0"
_EXECUTE: Final = b"E\0\0\0\x09\0\0\0\0\0"
_NAMED: Final = "mcp_begin_"


class Pattern:
    """The bytes of an answer that was in order, so that the next one like it is known at a glance.

    Attributes:
        known: The whole answer; empty as long as none was seen in one piece.
    """

    def __init__(self) -> None:
        self.known = b""


class Beginning:
    """What begins calls of one kind in one session.

    Attributes:
        texts: The statements.
        message: What has them run.
        prepares: Whether some of them stay prepared once it has run.
        pattern: What the answer looks like.
    """

    __slots__ = ("message", "pattern", "prepares", "texts")

    def __init__(self, texts: tuple[str, ...], message: bytes, *, prepares: bool) -> None:
        self.texts = texts
        self.message = message
        self.prepares = prepares
        self.pattern = Pattern()


class Beginnings:
    """Those of one connection.

    Attributes:
        named: Whether they stay prepared in the server's session.
    """

    def __init__(self) -> None:
        self.named = True
        self._kept: dict[tuple[str, ...], Beginning] = {}
        self._prepared: set[str] = set()

    def of(self, texts: tuple[str, ...]) -> Beginning:
        """Return what begins a call with these statements here and now."""
        kept = self._kept.get(texts)
        if kept is None:
            prepares = self.named and not self._prepared.issuperset(texts)
            kept = self._kept[texts] = Beginning(texts, b"".join(map(self._step, texts)), prepares=prepares)
        return kept

    def ran(self, beginning: Beginning) -> None:
        """Note that it has run as it should: what it prepared is there."""
        if beginning.prepares:
            self._prepared.update(beginning.texts)
            self._kept.clear()

    def forget(self) -> None:
        """Know that nothing is prepared in the session any more."""
        self._prepared.clear()
        self._kept.clear()

    def _step(self, text: str) -> bytes:
        name = _name(text) if self.named else b""
        return (b"" if text in self._prepared else _parse(name, text.encode())) + _run(name)


def _name(text: str) -> bytes:
    return f"{_NAMED}{blake2b(text.encode(), digest_size=10).hexdigest()}".encode()


def _parse(name: bytes, text: bytes) -> bytes:
    return _message(b"P", name + b"\0" + text + _AFTER_TEXT)


def _run(name: bytes) -> bytes:
    return _message(b"B", b"\0" + name + _AFTER_NAME) + _EXECUTE


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + _LENGTH.pack(len(body) + _LENGTH.size) + body
