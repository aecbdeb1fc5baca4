"""The embedded Valkey: where the registry's log lives when nobody names another Redis."""

import asyncio
import signal
import socket
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from server.embedded.base import EmbeddedServer
from server.embedded.binaries import find_valkey
from server.embedded.private import read_or_none, write_private
from server.embedded.process import LeashedProcess
from server.embedded.sockets import LOOPBACK, make_socket_directory

# Nothing of the log may be evicted or forgotten: it is appended to a file that is synced every second.
_LASTING = (
    *("--appendonly", "yes"),
    *("--appendfsync", "everysec"),
    *("--save", ""),
    *("--maxmemory-policy", "noeviction"),
)
_ANSWER_WITHIN = 0.5  # seconds for a PING


class EmbeddedValkey(EmbeddedServer):
    """A Valkey on `data`/valkey that only this user reaches, through a Unix socket.

    Args:
        data: Where embedded servers keep their directories.
    """

    name: ClassVar[str] = "valkey"

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """What a Redis client connects to; raises while it has never been started."""
        if self._socket is None:
            raise RuntimeError("an embedded Valkey has no address before it is started")
        return _url_of(self._socket)

    @property
    def pid(self) -> int:
        """The server's own process."""
        return int((self.home / "pid").read_text())

    async def _launch(self, lock: int) -> None:
        program = find_valkey()
        socket_file = make_socket_directory(self.home, self.home.stat().st_uid) / "valkey.sock"
        argv = [program, *self._options(socket_file), *_LASTING]
        process = LeashedProcess(self.name, argv, stop=signal.SIGTERM, log=self.home / "valkey.log", lock=lock)
        self._process, self._socket = process, socket_file
        await self._wait_until(lambda: asyncio.to_thread(_answers, socket_file), process)
        write_private(_noted_socket(self.home), str(socket_file))

    def _options(self, socket_file: Path) -> tuple[str | Path, ...]:
        return (
            *("--port", "0", "--bind", LOOPBACK),
            *("--unixsocket", socket_file, "--unixsocketperm", "700"),
            *("--dir", self.home, "--pidfile", self.home / "pid"),
        )


def log_of(data: Path) -> Path:
    """Return where the Valkey of this data directory keeps what it was given; it is there once the server ran."""
    return data / EmbeddedValkey.name / "appendonlydir"


def running_valkey_url(data: Path) -> str | None:
    """Return how to reach the Valkey that some process runs on this data directory, or None when none answers.

    Blocks for half a second at most.
    """
    noted = read_or_none(_noted_socket(data.resolve() / EmbeddedValkey.name))
    return _url_of(Path(noted)) if noted and _answers(Path(noted)) else None


def _noted_socket(home: Path) -> Path:
    """Where the socket's path is kept: another process may have another TMPDIR and could not work it out."""
    return home / "socket"


def _url_of(socket_file: Path) -> str:
    return f"unix://{quote(str(socket_file))}"


def _answers(socket_file: Path) -> bool:
    """Tell whether commands are answered. One that can be connected to may still be loading, and says so to a PING."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_WITHIN)
        try:
            connection.connect(str(socket_file))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
