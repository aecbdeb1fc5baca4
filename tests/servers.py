"""Redis servers in the constellations that people run: a primary that Sentinels watch, and a cluster of three.

All are started from one program under the leash of `server.embedded`, so that none outlives the tests, however they
end. Nothing here is mocked, and nobody needs redis-cli.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import redis

from server.embedded import leash

SERVICE: Final = "tenants"
WITHIN: Final = 60.0
"""Seconds in which what must happen has happened, on the busiest machine."""
_PORTS: Final = iter(random.sample(range(15_000, 32_000), 2_000))
"""Ports below those that the system gives to clients: one that is free now is not taken by the next connection. In no
order, so that two runs beside each other rarely meet."""
_LASTING: Final = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


class Server:
    """One server process with a directory of its own, started at once."""

    def __init__(self, program: Path, home: Path, *options: str, sentinel: bool = False) -> None:
        self.port = free_port()
        self.home = home / str(self.port)
        self.home.mkdir()
        self._argv = (
            [str(program), str(self.home / "sentinel.conf"), "--sentinel"] if sentinel else [str(program), *options]
        )
        self._argv += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.home)]
        self._argv += ["--pidfile", str(self.home / "pid")]
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again on what it kept, and wait until it answers."""
        self.launch()
        self.wait_answers()

    def launch(self) -> None:
        """Start it."""
        with (self.home / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", leash.__file__, "SIGTERM", "--", *self._argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_answers(self) -> None:
        eventually(self._answers, f"the server on port {self.port} does not answer: {self.home}/log")

    @property
    def runs(self) -> bool:
        return self._popen is not None

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._popen is None:
            return
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.home / "pid").read_text()), signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
            self._popen.wait(WITHIN)
            self._popen = None

    def run(self, *words: str | int) -> Any:  # noqa: ANN401 - the reply's shape is the command's
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        with self.client() as client:
            told: dict[str, Any] = client.info(section)
            return told

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port, socket_timeout=5, socket_connect_timeout=5, decode_responses=True)

    def _answers(self) -> bool:
        assert self._popen is not None
        assert self._popen.poll() is None, (self.home / "log").read_text()
        with suppress(redis.RedisError):
            return bool(self.run("PING"))
        return False


class SentinelSet:
    """A primary, a replica, and three Sentinels who let the replica take over half a second after the primary died."""

    def __init__(self, program: Path, home: Path) -> None:
        self.servers = [Server(program, home, *_LASTING, "--repl-diskless-sync-delay", "0") for _ in range(2)]
        self.sentinels = [Server(program, home, sentinel=True) for _ in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def start(self) -> None:
        primary, replica = self.servers
        start_together(self.servers)
        replica.run("REPLICAOF", "127.0.0.1", primary.port)
        for sentinel in self.sentinels:
            (sentinel.home / "sentinel.conf").write_text("\n".join(self._configuration(sentinel)))
        start_together(self.sentinels)
        self.wait_healthy()

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def primary(self) -> Server:
        """Return the server that the Sentinels name."""
        port = int(self.sentinels[0].run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return next(server for server in self.servers if server.port == port)

    def replica(self) -> Server:
        primary = self.primary()
        return next(server for server in self.servers if server is not primary)

    def fail_over(self) -> None:
        """Have the replica take over while the primary is well, and hand over what it has not replicated yet.

        The plain command leaves the old primary one for ten seconds, in which it takes writes that are lost.
        """
        before = self.primary()
        for _ in range(5):
            # The Sentinels may elect nobody, and are asked again.
            with suppress(redis.ResponseError):
                self.sentinels[0].run("SENTINEL", "FAILOVER", SERVICE, "COORDINATED")
            if happens(lambda: self.primary() is not before, within=3.0):
                break
        eventually(lambda: before.info("replication")["role"] == "slave", "the old primary was not deposed")

    def wait_healthy(self) -> None:
        """Wait until every Sentinel sees the others, a primary and a replica that follows it."""
        eventually(lambda: all(self._is_content(sentinel) for sentinel in self.sentinels), "the Sentinels disagree")
        eventually(lambda: _follows(self.replica()), "the replica does not follow")

    def _agree(self, sentinel: Server) -> bool:
        with suppress(redis.ResponseError):
            return str(sentinel.run("SENTINEL", "CKQUORUM", SERVICE)).startswith(f"OK {len(self.sentinels)} usable")
        return False

    def _configuration(self, sentinel: Server) -> list[str]:
        """Say what a Sentinel would find out by itself within seconds: the others, and the replica."""
        primary, replica = self.servers
        return [
            f"sentinel myid {sentinel.port:040x}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 2000",
            f"sentinel known-replica {SERVICE} 127.0.0.1 {replica.port}",
            *(
                f"sentinel known-sentinel {SERVICE} 127.0.0.1 {other.port} {other.port:040x}"
                for other in self.sentinels
                if other is not sentinel
            ),
            "",
        ]

    def _is_content(self, sentinel: Server) -> bool:
        state = sentinel.run("SENTINEL", "MASTER", SERVICE)
        replicas = sentinel.run("SENTINEL", "REPLICAS", SERVICE)
        return (
            state["flags"] == "master"
            and self._agree(sentinel)
            and int(state["num-other-sentinels"]) == len(self.sentinels) - 1
            and int(state["port"]) == self.primary().port
            and [replica["flags"] for replica in replicas] == ["slave"]
        )


class ClusterOfThree:
    """Three primaries, and a replica of the one that owns the log's slot when it starts."""

    SLOTS: Final = ((0, 5460), (5461, 10922), (10923, 16383))

    def __init__(self, program: Path, home: Path) -> None:
        self.servers = [self._server(program, home) for _ in range(4)]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])

    def start(self) -> None:
        start_together(self.servers)
        *primaries, replica = self.servers
        for number, (server, (first, last)) in enumerate(zip(primaries, self.SLOTS, strict=True), 1):
            server.run("CLUSTER", "SET-CONFIG-EPOCH", number)
            server.run("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in self.servers[1:]:
            server.run("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port, _bus_of(self.servers[0]))
        eventually(lambda: all(len(self.nodes(server)) == len(self.servers) for server in self.servers), "no meeting")
        eventually(lambda: self._replicates(replica, primaries[2]), "the replica does not follow")
        self.wait_healthy()

    def stop(self) -> None:
        for server in self.servers:
            server.kill()

    def primaries(self) -> list[Server]:
        return [server for server in self.servers if server.runs and server.info("replication")["role"] == "master"]

    def owner(self, key: str) -> Server:
        """Return the primary that serves the key."""
        return next(server for server in self.primaries() if self._serves(server, key))

    def slot(self, key: str) -> int:
        return int(self.servers[0].run("CLUSTER", "KEYSLOT", key))

    def nodes(self, server: Server) -> dict[int, tuple[str, str]]:
        """Return the id and the flags of each server by its port, as `server` sees them."""
        lines = [line.split() for line in server.run("CLUSTER", "NODES").splitlines()]
        return {int(line[1].split("@")[0].rsplit(":")[1]): (line[0], line[2]) for line in lines}

    def wait_healthy(self) -> None:
        """Wait until all agree that every slot is served, and every replica follows."""

        def healthy() -> bool:
            return all(
                "cluster_state:ok" in server.run("CLUSTER", "INFO")
                and len(self.nodes(server)) == len(self.servers)
                and not any("fail" in flags for _, flags in self.nodes(server).values())
                and (server.info("replication")["role"] == "master" or _follows(server))
                for server in self.servers
            )

        eventually(healthy, "the cluster is not well")

    def mend(self) -> None:
        """Bring back what was killed: it finds its place by itself."""
        for server in self.servers:
            if not server.runs:
                server.start()
        self.wait_healthy()

    def moving(self, slot: int, source: Server, target: Server) -> Iterator[str]:
        """Move a slot and what is in it as redis-cli does; yield after each step what the last one was."""
        ids = {port: node for port, (node, _) in self.nodes(source).items()}
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        yield "begun"
        while keys := source.run("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            yield "moved a key"
        yield "moved all keys"
        for server in (target, source, *(each for each in self.primaries() if each not in {source, target})):
            server.run("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
        yield "done"

    def _server(self, program: Path, home: Path) -> Server:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0")
        bus = free_port()
        server = Server(program, home, *_LASTING, *options, "--cluster-port", str(bus))
        (server.home / "bus").write_text(str(bus))
        return server

    def _replicates(self, replica: Server, primary: Server) -> bool:
        """Tell the replica whom to follow, as often as it takes: it must have heard that the primary is one."""
        with suppress(redis.ResponseError):
            replica.run("CLUSTER", "REPLICATE", self.nodes(replica)[primary.port][0])
        return _follows(replica)

    def _serves(self, server: Server, key: str) -> bool:
        with suppress(redis.ResponseError):
            server.run("EXISTS", key)
            return True
        return False


def start_together(servers: Sequence[Server]) -> None:
    for server in servers:
        server.launch()
    for server in servers:
        server.wait_answers()


def eventually(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until it is true; fail if it never is."""
    assert happens(true, WITHIN), otherwise


def happens(true: Callable[[], bool], within: float) -> bool:
    """Return whether it becomes true in that many seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on, and that was not given out before."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _follows(server: Server) -> bool:
    told = server.info("replication")
    return (told["role"], told.get("master_link_status")) == ("slave", "up")


def _bus_of(server: Server) -> int:
    return int((server.home / "bus").read_text())
