"""`--workers`: several processes on one port, of which any may die, and none outlives the one that started them."""

import http.client
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from server.embedded.sample import SampleLogin
from tests.processes import Process, Start, eventually, fields_of, run_command


class Connection:
    """One that is kept, and so stays with the worker that has taken it."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.worker: int = self.ask("GET", "/readyz")["worker"]

    def ask(self, method: str, path: str, message: object = None) -> Any:  # noqa: ANN401 - JSON
        body = None if message is None else json.dumps(message)
        self._http.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        return json.loads(self._http.getresponse().read())

    def call(self, tool: str, **arguments: Any) -> Any:  # noqa: ANN401 - the tool's answer
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        return self.ask("POST", "/mcp", message)["result"]["structuredContent"]

    def close(self) -> None:
        self._http.close()


@contextmanager
def connected(server: Process, clients: int) -> Iterator[list[Connection]]:
    made = [Connection(server.port) for _ in range(clients)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


@contextmanager
def of_both(server: Process) -> Iterator[list[Connection]]:
    """One client of each worker, however busy the machine is."""
    with connected(server, 8) as clients:
        found = {client.worker: client for client in clients}
        assert sorted(found) == [1, 2]
        yield [found[1], found[2]]


def all_ready(server: Process, workers: int) -> bool:
    return bool(server.get("/readyz")[1]["workers_ready"] == workers)


@pytest.fixture
def pair(serve: Start) -> Process:
    """Two workers, both ready."""
    server = serve("--workers", "2")
    eventually(lambda: all_ready(server, 2), "not both were ready")
    return server


def workers_of(server: Process) -> list[int]:
    """Return the process ids of the workers that live."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[1]) == server.popen.pid and words[0] != "Z":
                found.append(int(folder.name))
    return sorted(found)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_clients_are_spread_evenly_and_what_one_worker_registers_the_other_serves_at_once(
    pair: Process, sample: SampleLogin
) -> None:
    with connected(pair, 16) as clients:
        taken = [client.worker for client in clients]
        assert min(taken.count(1), taken.count(2)) > 4, "8 each, but for one that a busy machine let miss its turn"

        one, other = clients[taken.index(1)], clients[taken.index(2)]
        one.call("register_tenant", **fields_of("acme", sample))
        assert other.call("execute_query", tenant_id="acme", query="SELECT 1 AS x")["rows"]
        removed = other.call("remove_tenant", tenant_id="acme")
        assert re.findall(r'"worker": ?"(\d)".*"tool call"|"tool call".*"worker": ?"(\d)"', pair.log.read_text())
        assert len(removed["confirmed"]) == 2, "each worker is a replica of its own, and confirms by itself"


def test_a_worker_that_is_killed_takes_nothing_along_and_comes_back_and_none_outlives_its_supervisor(
    pair: Process, sample: SampleLogin
) -> None:
    with of_both(pair) as clients:
        for client in clients:
            client.call("register_tenant", **fields_of(f"by-{client.worker}", sample))
    victim = workers_of(pair)[0]

    os.kill(victim, signal.SIGKILL)

    assert pair.call("list_tenants")["total"] == 2, "who is left answers"
    eventually(lambda: "worker ended; another is started" in pair.log.read_text(), "nobody told of it")
    eventually(lambda: all_ready(pair, 2), "no other was started")
    assert victim not in workers_of(pair)
    with of_both(pair) as clients:
        assert [client.call("list_tenants")["total"] for client in clients] == [2, 2]
    workers = workers_of(pair)
    assert len(workers) == 2

    pair.popen.kill()
    pair.popen.wait()

    eventually(lambda: not any(map(lives, workers)), "a worker outlived its supervisor")


def test_a_signal_ends_all_of_them_once_their_answers_are_given(pair: Process, sample: SampleLogin) -> None:
    workers = workers_of(pair)
    with connected(pair, 2) as clients:
        clients[0].call("register_tenant", **fields_of("acme", sample))
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "execute_query",
                "arguments": {"tenant_id": "acme", "query": "SELECT pg_sleep(1), 7 AS x"},
            },
        }
        for client in clients:
            client._http.request("POST", "/mcp", json.dumps(message), {"Content-Type": "application/json"})
        time.sleep(0.3)

        pair.popen.send_signal(signal.SIGTERM)

        answers = [json.loads(client._http.getresponse().read()) for client in clients]
    assert ["7" in json.dumps(answer["result"]["structuredContent"]) for answer in answers] == [True, True]
    assert pair.popen.wait(20) == 0
    assert not [pid for pid in workers if lives(pid)]


def test_metrics_tell_of_all_workers_and_neither_they_nor_clients_wait_for_one_that_stands_still(pair: Process) -> None:
    with of_both(pair) as clients:
        for client in clients:
            client.call("list_tenants")
        text = pair.request("GET", "/metrics")[1].decode()
    calls = {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "mcp_postgres_tool_calls_total" and sample.labels["tool"] == "list_tenants"
    }
    assert calls == Counter(str(client.worker) for client in clients)
    assert up(text) == ["1", "1"]

    frozen = workers_of(pair)[0]
    os.kill(frozen, signal.SIGSTOP)
    try:
        with connected(pair, 6) as clients:
            assert len({client.worker for client in clients}) == 1
        assert sorted(up(pair.request("GET", "/metrics")[1].decode())) == ["0", "1"]
    finally:
        os.kill(frozen, signal.SIGCONT)


def up(text: str) -> list[str]:
    return re.findall(r'^mcp_postgres_worker_up{worker="\d"} (\d)$', text, re.MULTILINE)


def test_a_worker_that_cannot_start_stops_the_start(serve: Start, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    server = serve("--workers", "2", "--audit-file", str(tmp_path / "audit"), ready=False)

    assert server.popen.wait(20) == 1
    assert "MCP_POSTGRES_AUDIT_FILE names" in server.log.read_text()
    assert "cannot start" in server.log.read_text()


def test_workers_are_refused_over_stdio(env: dict[str, str]) -> None:
    refused = run_command("serve", "--stdio", "--workers", "2", env=env)
    assert refused.returncode == 2
    assert "MCP_POSTGRES_WORKERS" in refused.stderr


def test_any_free_port_is_announced_once_and_keys_of_the_environment_reach_the_workers_unseen(
    serve: Start, key_file: Path, redis_url: str, sample: SampleLogin
) -> None:
    key = key_file.read_text().split()[-1]
    server = serve("--workers", "2", "--port", "0", ready=False, MCP_POSTGRES_KEYS=key, MCP_POSTGRES_KEY_FILE="")
    eventually(lambda: '"listening"' in server.log.read_text(), "nobody announced it")
    told = re.findall(r'"url": ?"http://127\.0\.0\.1:(\d+)"', server.log.read_text())
    server.port = int(told[0])
    eventually(lambda: all_ready(server, 2), "not both were ready")
    server.call("register_tenant", **fields_of("acme", sample))

    assert redis.Redis.from_url(redis_url).hlen("{mcp:postgres:tenant-events}:keys") == 1
    for pid in workers_of(server):
        assert key.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert len(told) == 1
