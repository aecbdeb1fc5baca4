"""Real `mcp-postgres` processes, and the plainest possible HTTP client to talk to them."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from server.embedded.sample import SampleLogin

COMMAND = Path(sys.executable).parent / "mcp-postgres"
START_WITHIN = 30.0

Fields: TypeAlias = dict[str, Any]
"""Arguments of a tool call."""


@dataclass(kw_only=True)
class Process:
    """A running `mcp-postgres serve`."""

    port: int
    log: Path
    popen: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/postgres/mcp"

    def get(self, path: str) -> tuple[int, Any]:
        status, body = self.request("GET", path)
        return status, json.loads(body)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        patience: float = 30.0,
    ) -> tuple[int, bytes]:
        """Send exactly these headers; http.client adds Host and Content-Length, and no Accept.

        Leaves with a `TimeoutError` when nothing comes for `patience` seconds.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, message: object, path: str = "/postgres/mcp") -> tuple[int, Any]:
        status, body = self.request("POST", path, json.dumps(message).encode(), {"Content-Type": "application/json"})
        return status, json.loads(body) if body else None

    def call(self, tool: str, **arguments: Any) -> Any:  # noqa: ANN401 - the tool's answer
        """Call a tool without any handshake; return its structured answer, or the error it told."""
        status, told = self.post(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        )
        assert status == 200, told
        result = told["result"]
        return json.loads(result["content"][0]["text"])["error"] if result["isError"] else result["structuredContent"]

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline:
            assert self.popen.poll() is None, self.log.read_text()
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except (ConnectionError, TimeoutError):
                pass
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(20)


def run_command(
    *arguments: str, env: dict[str, str] | None = None, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run `mcp-postgres` to its end, with nothing of the test's environment."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=clean(env or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def eventually(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until it is true; fail if it never is."""
    deadline = time.monotonic() + START_WITHIN
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def fields_of(tenant_id: str, login: SampleLogin) -> Fields:
    """Return the arguments that register the sample database."""
    return {
        "tenant_id": tenant_id,
        "host": login.host,
        "port": login.port,
        "database": login.database,
        "user": login.user,
        "password": login.password,
        "ssl": "disable",
    }


def clean(env: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env}


Start: TypeAlias = Callable[..., Process]
"""Starts a replica: `serve(*flags, ready=True, **environment)`."""
