"""Servers that ask who is calling, and callers with tokens."""

import http.client
import json
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.embedded.sockets import free_port
from server.principal import PERMISSIONS
from server.tokens import RANDOM_BYTES, digest_of, token_of
from tests.processes import COMMAND, Process, clean, run_command

EVERYTHING: Final = tuple(sorted(PERMISSIONS))


class TokenFile:
    """A token file, to which a test adds and from which it takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blocks: dict[str, str] = {}
        path.touch()

    def add(self, subject: str, permissions: Sequence[str], tenants: Sequence[str], more: str = "") -> str:
        """Return a new token."""
        token = token_of(secrets.token_bytes(RANDOM_BYTES))
        self._blocks[token] = (
            f"[[tokens]]\nsubject = {json.dumps(subject)}\npermissions = {json.dumps(list(permissions))}\n"
            f'tenants = {json.dumps(list(tenants))}\nsha256 = "{digest_of(token).hex()}"\n{more}\n'
        )
        self._write()
        return token

    def take(self, token: str) -> None:
        del self._blocks[token]
        self._write()

    def _write(self) -> None:
        self.path.write_text("".join(self._blocks.values()))


@dataclass(frozen=True)
class Told:
    """An HTTP answer: `body` as it came."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """What the call came to: `ok`, or a code of an error."""
        told = self.json
        if "error" in told:
            return str(told["error"]["data"]["code"])
        result = told["result"]
        return str(json.loads(result["content"][0]["text"])["error"]["code"]) if result["isError"] else "ok"

    @property
    def value(self) -> Any:  # noqa: ANN401 - the tool's answer
        return self.json["result"]["structuredContent"]


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, or without."""

    server: Process
    token: str | None = None

    def post(self, message: object, headers: Sequence[tuple[str, str]] = (), path: str = "/postgres/mcp") -> Told:
        return self.request("POST", path, json.dumps(message).encode(), headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> Told:
        bearer = [("Authorization", f"Bearer {self.token}")] if self.token else []
        kind = [("Content-Type", "application/json")] if body else []
        return send(self.server.port, method, path, [*kind, *bearer, *headers], body)

    def call(self, tool: str, **arguments: Any) -> Told:  # noqa: ANN401 - any JSON
        return self.post(call_of(tool, **arguments))

    def tools(self) -> set[str]:
        told = self.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        return {tool["name"] for tool in told.json["result"]["tools"]}


def call_of(tool: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def send(port: int, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None) -> Told:
    """Send exactly these headers, also the same one twice."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Told(response.status, response.read(), {name.lower(): value for name, value in response.getheaders()})
    finally:
        connection.close()


@contextmanager
def serving(home: Path, redis_url: str, **env: str) -> Iterator[Process]:
    """Run a replica of the real program; what it logs is in `home`."""
    key, port = home / "master.key", free_port()
    if not key.exists():
        assert run_command("keys", "new", "--out", str(key)).returncode == 0
    log = home / f"replica-{port}.log"
    around = clean({"REDIS_URL": redis_url, "MCP_POSTGRES_KEY_FILE": str(key), **env})
    with log.open("wb") as out:
        popen = subprocess.Popen([COMMAND, "serve", "--port", str(port)], env=around, stdout=out, stderr=out)
    process = Process(port=port, log=log, popen=popen)
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()
