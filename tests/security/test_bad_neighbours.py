"""One good tenant beside ten bad ones: what their databases do to it, which must be nothing.

Prints how long the good tenant's calls took alone, beside ten tenants that are as busy and well, and beside ten whose
databases are slow, dead or lying. No time is judged here: the figures are for people (`make neighbours`).
"""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.embedded.sample import SampleLogin
from tests.processes import COMMAND, Fields, Process, clean, eventually, fields_of, run_command

CALLS: Final = int(os.environ.get("NEIGHBOURS_CALLS", "150"))
"""Of the good tenant, in each of the three measurements."""
PAUSE: Final = 0.01
CALLERS: Final = 20
THEIR_PAUSE: Final = 2.0
WARM_UP: Final = 4.0
"""Seconds until the bad databases have done their worst: longer than a login may take, and than a statement may."""
GROWTH: Final = 64 << 10
"""KiB of memory that the replica may grow by: forty of the largest answers."""
TOO_SLOW: Final = frozenset({"mute", "trickling"})
"""Of these a call is told `query_timeout`, of the others `tenant_unreachable`."""


@pytest.fixture
def replica(redis_url: str, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Process]:
    key = tmp_path / "master.key"
    assert run_command("keys", "new", "--out", str(key)).returncode == 0
    env = {
        "REDIS_URL": redis_url,
        "MCP_POSTGRES_KEY_FILE": str(key),
        "MCP_POSTGRES_CONNECT_TIMEOUT": "1",
        "MCP_POSTGRES_STATEMENT_TIMEOUT": "1",
        "MCP_POSTGRES_MAX_CONNECTIONS": "60",
    }
    port, log = free_port(), tmp_path / "replica.log"
    with log.open("wb") as out:
        popen = subprocess.Popen([COMMAND, "serve", "--port", str(port)], env=clean(env), stdout=out, stderr=out)
    process = Process(port=port, log=log, popen=popen)
    process.wait_ready()
    yield process
    process.stop()


class Bad:
    """The process of the bad databases and their callers."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._in, self._out = cast("IO[str]", popen.stdin), cast("IO[str]", popen.stdout)
        self.ports: dict[str, int] = json.loads(self._out.readline())

    @contextmanager
    def calling(self, port: int, tenants: list[str]) -> Iterator[dict[str, dict[str, int]]]:
        """Let these tenants' callers call; afterwards, the dict tells what they were answered, and how often."""
        told: dict[str, dict[str, int]] = {}
        self._say(json.dumps({"port": port, "tenants": tenants, "callers": CALLERS, "pause": THEIR_PAUSE}))
        try:
            yield told
        finally:
            self._say("")
            told.update(json.loads(self._out.readline()))

    def _say(self, line: str) -> None:
        self._in.write(line + "\n")
        self._in.flush()


@pytest.fixture
def bad() -> Iterator[Bad]:
    command = [sys.executable, "-m", "tests.security.bad_databases"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as popen:
        yield Bad(popen)
        popen.terminate()


def test_bad_neighbours_cost_a_good_tenant_no_call(
    replica: Process, bad: Bad, sample: SampleLogin, capsys: pytest.CaptureFixture[str]
) -> None:
    register_all(replica, bad, sample)
    figures = {"alone": good_calls(replica)}
    with bad.calling(replica.port, [f"fine-{number}" for number in range(10)]):
        time.sleep(WARM_UP)
        figures["beside ten good ones"] = good_calls(replica)
    before = memory(replica)
    with bad.calling(replica.port, list(bad.ports)) as told:
        time.sleep(WARM_UP)
        figures["beside ten bad ones"] = good_calls(replica)
    with capsys.disabled():
        sys.stdout.write("".join(f"\n  {who}: {in_words(calls)}" for who, calls in figures.items()) + "\n")
    for kind, answers in told.items():
        assert answers, f"nobody who called {kind} was ever answered"
        assert set(answers) == {"query_timeout" if kind in TOO_SLOW else "tenant_unreachable"}, (kind, answers)
    assert memory(replica) - before < GROWTH
    eventually(lambda: in_use(replica) == (0, 0, 0), f"something is held for nobody: {in_use(replica)}")
    assert replica.call("execute_query", tenant_id="good", query="SELECT 1")["rows"] == [[1]]


def register_all(replica: Process, bad: Bad, sample: SampleLogin) -> None:
    for tenant in ("good", *(f"fine-{number}" for number in range(10))):
        registered(replica, fields_of(tenant, sample))
    for kind, port in bad.ports.items():
        fields = {"tenant_id": kind, "host": "127.0.0.1", "port": port, "database": "d", "user": "u"}
        ssl = "require" if kind == "never-tls" else "disable"
        registered(replica, {**fields, "ssl": ssl, "verify": False, "max_pool_size": 50, "max_concurrent_requests": 99})


def registered(replica: Process, fields: Fields) -> None:
    told = replica.call("register_tenant", **fields)
    assert "code" not in told, told


def good_calls(replica: Process) -> list[float]:
    """Call the good tenant, and fail unless each call is answered well; return the calls' milliseconds in order."""
    params = {"name": "execute_query", "arguments": {"tenant_id": "good", "query": "SELECT 1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=60)
    took: list[float] = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        connection.request("POST", "/mcp", body, {"Content-Type": "application/json"})
        told = json.loads(connection.getresponse().read())["result"]
        took.append((time.perf_counter() - begun) * 1000)
        assert not told["isError"], told
        time.sleep(PAUSE)
    connection.close()
    return sorted(took)


def in_words(took: list[float]) -> str:
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    return f"{len(took)} calls, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {took[-1]:.1f} ms"


def memory(replica: Process) -> int:
    """Return the KiB that the replica has in memory."""
    status = Path(f"/proc/{replica.popen.pid}/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def in_use(replica: Process) -> tuple[Any, ...]:
    """Return how many calls run, wait, and how many logins are under way."""
    _, body = replica.request("GET", "/metrics")
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            samples[sample.name] = samples.get(sample.name, 0) + sample.value
    return tuple(samples[f"mcp_postgres_pool_{name}"] for name in ("calls_running", "calls_waiting", "logins"))
