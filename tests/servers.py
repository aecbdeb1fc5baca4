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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import redis

from server.embedded import leash

SERVICE: Final = "tenants"
WITHIN: Final = 60.0
"""Seconds in which what must happen has happened, on the busiest machine."""
_LOWEST, _HIGHEST = 15_000, 32_000
"""Ports below those that the system gives to clients: one that is free now is not taken by the next connection."""
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
        """Start it, or start it again on what it kept."""
        with (self.home / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", leash.__file__, "SIGTERM", "--", *self._argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, f"the server on port {self.port} does not answer: {self.home}/log")

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
        primary.start()
        replica.start()
        replica.run("REPLICAOF", "127.0.0.1", primary.port)
        eventually(lambda: _follows(replica), "the replica does not follow")
        for sentinel in self.sentinels:
            (sentinel.home / "sentinel.conf").write_text(
                f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} 500\n"
                f"sentinel failover-timeout {SERVICE} 4000\n"
            )
            sentinel.start()
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

    def wait_healthy(self) -> None:
        """Wait until every Sentinel sees the others, a primary and a replica that follows it."""
        eventually(lambda: all(self._is_content(sentinel) for sentinel in self.sentinels), "the Sentinels disagree")
        eventually(lambda: _follows(self.replica()), "the replica does not follow")

    def _is_content(self, sentinel: Server) -> bool:
        state = sentinel.run("SENTINEL", "MASTER", SERVICE)
        replicas = sentinel.run("SENTINEL", "REPLICAS", SERVICE)
        return (
            state["flags"] == "master"
            and int(state["num-other-sentinels"]) == len(self.sentinels) - 1
            and int(state["port"]) == self.primary().port
            and [replica["flags"] for replica in replicas] == ["slave"]
            and replicas[0]["master-link-status"] == "ok"
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
        for server in self.servers:
            server.start()
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
        return [server for server in self.servers if server.info("replication")["role"] == "master"]

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

    def reshard(self, slot: int, source: Server, target: Server, pause: Callable[[], None] = lambda: None) -> None:
        """Move a slot and what is in it as redis-cli does, with a pause between the steps."""
        ids = {port: node for port, (node, _) in self.nodes(source).items()}
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        pause()
        while keys := source.run("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            pause()
        pause()
        for server in (target, source, *(each for each in self.primaries() if each not in {source, target})):
            server.run("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

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


def eventually(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until it is true; fail if it never is."""
    deadline = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on."""
    while True:
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - so that two runs beside each other rarely meet
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _follows(server: Server) -> bool:
    told = server.info("replication")
    return (told["role"], told.get("master_link_status")) == ("slave", "up")


def _bus_of(server: Server) -> int:
    return int((server.home / "bus").read_text())
