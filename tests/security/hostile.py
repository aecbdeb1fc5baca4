"""Servers that want the password and say it again: real sockets, each in a thread of its own."""

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Talk = Callable[[socket.socket], bytes]
"""Talks to one caller; returns what it was told of the password."""

_TLS_REQUEST = 80877103
_CLEAR_PASSWORD = 3
_SASL = 10


class Hostile:
    """A server on a port of the loopback address; `heard` is all that it was told."""

    def __init__(self, port: int, heard: list[bytes]) -> None:
        self.port = port
        self.heard = heard


@contextmanager
def listening(talk: Talk) -> Iterator[Hostile]:
    """Have every caller talked to for as long as the context lasts."""
    heard: list[bytes] = []

    class Visit(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError, EOFError):
                heard.append(talk(self.request))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Visit) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Hostile(server.server_address[1], heard)
        finally:
            server.shutdown()
            thread.join()


def postgres_that_echoes(caller: socket.socket) -> bytes:
    """Ask for the password in clear, and refuse the login with the password in every field that an error has."""
    _begin(caller)
    caller.sendall(_message(b"R", struct.pack(">i", _CLEAR_PASSWORD)))
    password = _told(caller).rstrip(b"\0")
    fields = (b"M", b"D", b"H", b"W", b"s", b"t", b"c", b"d", b"n", b"F", b"R")
    said = b"".join(field + b"no entry for " + password + b"\0" for field in fields)
    refusal = b"SFATAL\0VFATAL\0C28P01\0" + said + b"\0"
    caller.sendall(_message(b"S", b"server_version\0" + password + b"\0") + _message(b"N", refusal))
    caller.sendall(_message(b"E", refusal))
    return password


def postgres_that_echoes_sasl(caller: socket.socket) -> bytes:
    """Ask for SCRAM, and refuse the login with the caller's own message."""
    _begin(caller)
    caller.sendall(_message(b"R", struct.pack(">i", _SASL) + b"SCRAM-SHA-256\0\0"))
    said = _told(caller).replace(b"\0", b"?")
    caller.sendall(_message(b"E", b"SFATAL\0VFATAL\0C28000\0M" + said + b"\0\0"))
    return said


def redis_that_echoes(caller: socket.socket) -> bytes:
    """Refuse every command with all of its words, as Redis does with HELLO where it does not know that."""
    said = b""
    while part := caller.recv(65536):
        said += part
        words = part.replace(b"\r\n", b" ")
        caller.sendall(b"-ERR unknown command 'HELLO', with args beginning with: " + words + b"\r\n")
    return said


def _begin(caller: socket.socket) -> None:
    (asked,) = struct.unpack(">i", _framed(caller)[:4])
    if asked == _TLS_REQUEST:
        caller.sendall(b"N")
        _framed(caller)


def _told(caller: socket.socket) -> bytes:
    _exactly(caller, 1)
    return _framed(caller)


def _framed(caller: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _exactly(caller, 4))
    return _exactly(caller, length - 4)


def _exactly(caller: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = caller.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body
