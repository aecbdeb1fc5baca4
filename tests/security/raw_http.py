"""A running server with small limits, and connections to it that send whatever an attacker would."""

import json
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from prometheus_client.parser import text_string_to_metric_families

from server.embedded.sockets import free_port
from tests.processes import COMMAND, Process, clean, run_command

LIST_TOOLS: Final = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
PATIENCE: Final = 30.0
"""Seconds after which a test gives up, not a bound that is tested."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)


class Wire:
    """One connection, plain or under TLS."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> None:
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(PATIENCE)
        try:
            plain.connect(("127.0.0.1", port))
            self.socket = tls.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
        except OSError:
            plain.close()
            raise
        self._told = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> "Wire":
        self.socket.sendall(data)
        return self

    def answer(self) -> Answer:
        """Return the next answer."""
        while b"\r\n\r\n" not in self._told:
            self._more()
        head, _, self._told = self._told.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            return Answer(int(first.split()[1]), headers, self._chunks())
        length = int(headers.get("content-length", "0"))
        while len(self._told) < length:
            self._more()
        body, self._told = self._told[:length], self._told[length:]
        return Answer(int(first.split()[1]), headers, body)

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._told:
                self._more()
            size, _, self._told = self._told.partition(b"\r\n")
            while len(self._told) < int(size, 16) + 2:
                self._more()
            piece, self._told = self._told[: int(size, 16)], self._told[int(size, 16) + 2 :]
            if not piece:
                return body
            body += piece

    def rest(self) -> bytes:
        """Return what comes until the server ends the connection, in whatever way."""
        try:
            while part := self.socket.recv(65536):
                self._told += part
        except ConnectionResetError:
            pass
        return self._told

    def read(self, most: int) -> bytes:
        """Take at most so many bytes, which `answer` will return with the rest."""
        part = self.socket.recv(most)
        assert part, f"the server closed the connection after {self._told[:1000]!r}"
        self._told += part
        return part

    def _more(self) -> None:
        self.read(1 << 20)


def head(path: str = "/mcp", *lines: str, method: str = "POST", host: str | None = "localhost") -> bytes:
    named = [f"Host: {host}"] if host is not None else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", *named, *lines, "", ""]).encode("latin-1")


def post(body: bytes = LIST_TOOLS, *lines: str) -> bytes:
    return head("/mcp", "Content-Type: application/json", f"Content-Length: {len(body)}", *lines) + body


def call_of(tool: str, **arguments: object) -> bytes:
    call = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode()


GET: Final = head("/livez", method="GET")


def refused(server: Process, reason: str, wire: Wire | None = None) -> float:
    """Return how many the server has refused for this reason, as its metrics tell."""
    with wire or Wire(server.port) as connection:
        text = connection.send(head("/metrics", method="GET")).answer().body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "mcp_postgres_http_refusals_total" and sample.labels == {"reason": reason}:
                return sample.value
    raise AssertionError(reason)


@contextmanager
def running(redis_url: str, settings: dict[str, str], *, ready: bool = True) -> Iterator[Process]:
    """Run a replica with these settings (`body_timeout` is MCP_POSTGRES_BODY_TIMEOUT)."""
    with tempfile.TemporaryDirectory() as folder:
        key, log, port = Path(folder) / "master.key", Path(folder) / "log", free_port()
        assert run_command("keys", "new", "--out", str(key)).returncode == 0
        given = {f"MCP_POSTGRES_{name.upper()}": value for name, value in settings.items()}
        env = clean({"REDIS_URL": redis_url, "MCP_POSTGRES_KEY_FILE": str(key), **given})
        with log.open("wb") as out:
            popen = subprocess.Popen([COMMAND, "serve", "--port", str(port)], env=env, stdout=out, stderr=out)
        process = Process(port=port, log=log, popen=popen)
        try:
            if ready:
                process.wait_ready()
            yield process
        finally:
            process.stop()
