"""What `mcp-postgres run` keeps on this machine: nothing of its environment in its servers, no password in a log."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.embedded.private import lasting_password
from tests.processes import COMMAND, Process, clean
from tests.security.leaks import Planted, found

SECRETS = {
    name: Planted.at(name)
    for name in ("PGPASSWORD", "REDIS_PASSWORD", "REDIS_URL", "MCP_POSTGRES_ODD", "AWS_SECRET_KEY")
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def running(data: Path, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Process]:
    port, log = free_port(), tmp_path / "log"
    env = {**clean({name: planted.text for name, planted in SECRETS.items()}), "MCP_POSTGRES_LOG_LEVEL": "debug"}
    with log.open("wb") as out:
        words = [str(COMMAND), "run", "--port", str(port), "--data-dir", str(data)]
        process = Process(port=port, log=log, popen=subprocess.Popen(words, env=env, stdout=out, stderr=out))
    process.wait_ready()
    yield process
    process.stop()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux tells a process's environment")
def test_its_servers_get_nothing_of_its_environment_and_its_files_hold_no_password(
    running: Process, data: Path
) -> None:
    assert running.call("execute_query", tenant_id="demo", query="SELECT 1")["rows"] == [[1]]
    servers = descendants(running.popen.pid)
    told = {pid: proc(pid, "environ") + proc(pid, "cmdline") for pid in servers}
    named = b" ".join(told.values())
    assert b"valkey" in named
    assert b"postgres" in named
    assert {pid: name for pid, data in told.items() for name, each in SECRETS.items() if found(each, data)} == {}

    running.stop()
    home = data / "postgres"
    for name in ("password", "demo_reader.password"):
        password = lasting_password(home / name)
        planted = Planted(name, password, password)
        keeping = [file for file in data.rglob("*") if file.is_file() and found(planted, file.read_bytes())]
        assert [file.name for file in keeping] == [name]
        assert found(planted, running.log.read_bytes()) == []
    for planted in SECRETS.values():
        assert found(planted, running.log.read_bytes()) == []


def descendants(pid: int) -> set[int]:
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    parents = {each: parent_of(each) for each in pids}
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return below - {pid}


def parent_of(pid: int) -> int:
    words = proc(pid, "stat").rpartition(b")")[2].split()
    return int(words[1]) if words else 0


def proc(pid: int, what: str) -> bytes:
    """Return what the kernel tells of a process; nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
