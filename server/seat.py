"""What a worker is given by its supervisor, and how: the settings, and what it shares with its siblings.

It comes over the worker's standard input, a socket. That stays open for as long as the supervisor lives and wants the
worker: its end, however it comes, is what stops a worker. The other way goes one byte, once the worker takes clients.
"""

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from registry.secrets import Secret
from server.settings import Settings

LISTENING: Final = b"L"
_HEAD: Final = struct.Struct("!I")


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's place.

    Attributes:
        number: Which one, from 1.
        workers: How many there are.
        settings: Checked, and with a Redis and keys that are there.
        listener: The descriptor of the socket that all take clients from.
        board: The descriptor of the memory they share.
        mailbox: The descriptor at which its siblings ask for its metrics.
        siblings: Those at which it asks for theirs, by number.
        patience: Seconds that it may take to end.
    """

    number: int
    workers: int
    settings: Settings
    listener: int
    board: int
    mailbox: int
    siblings: Mapping[int, int]
    patience: float

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that the worker needs."""
        return (self.listener, self.board, self.mailbox, *self.siblings.values())


def encode(seat: Seat) -> bytes:
    """Return what is sent to the worker. It may hold keys in clear: it is for its socket alone."""
    body = msgspec.msgpack.encode(seat, enc_hook=_plain)
    return _HEAD.pack(len(body)) + body


def take(line: socket.socket) -> Seat:
    """Read what `encode` made. Blocks. Raises `EOFError` if the supervisor has gone."""
    (size,) = _HEAD.unpack(_exactly(line, _HEAD.size))
    return msgspec.msgpack.decode(_exactly(line, size), type=Seat, dec_hook=_made)


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _plain(value: object) -> str:
    match value:
        case Secret():
            return value.reveal()
        case Path():
            return os.fspath(value)
        case _:
            raise NotImplementedError(type(value))


def _made(kind: type, value: object) -> object:
    made = {Secret: Secret, Path: Path}.get(kind)
    if made is None:
        raise NotImplementedError(kind)
    return made(str(value))
