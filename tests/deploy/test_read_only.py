"""A replica runs where nothing can be written and nothing is permitted: what compose.yaml asks of an engine.

No engine is needed for that: in namespaces of its own, every file system is mounted read-only, /tmp and /dev/shm
included, every capability is dropped and none can be gained. What would write fails, and the replica with it.
"""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import redis

from server.embedded.sample import SampleLogin
from tests.open_valkey import OpenValkey
from tests.processes import COMMAND, Process, clean, fields_of, run_command

CONFINE: Final = """
awk '{print $5}' /proc/self/mountinfo | sort -r | while read -r place; do
  mount -o remount,bind,ro "$place" || echo "not confined: $place" >&2
done
for place in "$HOME" "$PWD" /tmp /dev/shm /var/tmp /run; do
  if touch "$place/written" 2>/dev/null; then echo "written: $place" >&2; exit 99; fi
done
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
CONFINED: Final = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", CONFINE, "sh")


def confinement() -> str | None:
    """Return why a process cannot be confined here; None if it can."""
    missing = [tool for tool in ("unshare", "setpriv", "mount", "awk") if shutil.which(tool) is None]
    if missing:
        return f"this machine has no {missing[0]}"
    tried = subprocess.run([*CONFINED, "true"], capture_output=True, text=True, timeout=30, check=False)
    return (
        None if tried.returncode in {0, 99} else f"the kernel lets nobody have namespaces here: {tried.stderr[-200:]}"
    )


@pytest.fixture
def confined(valkey: OpenValkey, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Process]:
    """A replica that may write nowhere."""
    if why := confinement():
        pytest.skip(why)
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    key, log, port = tmp_path / "master.key", tmp_path / "log", free_port()
    assert run_command("keys", "new", "--out", str(key)).returncode == 0
    env = {"REDIS_URL": valkey.tcp_url, "MCP_POSTGRES_KEY_FILE": str(key), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("wb") as out:
        words = [*CONFINED, str(COMMAND), "serve", "--port", str(port)]
        popen = subprocess.Popen(words, env=clean(env), cwd=tmp_path, stdout=out, stderr=out)
    process = Process(port=port, log=log, popen=popen)
    process.wait_ready()
    yield process
    process.stop(signal.SIGKILL)


def test_a_replica_serves_registers_and_leaves_where_it_may_write_nowhere(
    confined: Process, sample: SampleLogin
) -> None:
    status = Path(f"/proc/{confined.popen.pid}/status").read_text()
    told = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "NoNewPrivs")))
    assert {told[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert told["NoNewPrivs"] == "1"

    assert confined.call("register_tenant", **fields_of("acme", sample))["status"] == "registered"
    assert confined.call("execute_query", tenant_id="acme", query="SELECT 1 AS one")["rows"] == [[1]]
    assert confined.call("remove_tenant", tenant_id="acme")["status"] == "removed"
    assert confined.get("/readyz")[0] == 200
    assert confined.request("GET", "/metrics")[0] == 200

    assert confined.stop() == 0
    assert "Read-only file system" not in confined.log.read_text()
