"""One Redis, three replicas of the real program, and a proxy between each of them and it.

Everything that is started is killed when the world is left, and by a watchdog if this process is killed before.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

from server.embedded.binaries import find_valkey
from server.embedded.sockets import is_free
from server.master_keys import make_key_file
from tests.faults.history import Began, Recorder
from tests.faults.proxy import Proxies, Proxy
from tests.processes import COMMAND, Process, clean

if TYPE_CHECKING:
    from tests.faults.aof import RawEntry

NAMES: Final = ("a", "b", "c")
_WATCHDOG: Final = Path(__file__).with_name("watchdog.py")
_PORTS: Final = (20_000, 30_000)
"""Below those that outgoing connections are given, or one of them might sit on a port that is to be listened on."""
_ANSWER_WITHIN: Final = 30.0


class Nursery:
    """Starts processes that end with us."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", _WATCHDOG], stdin=subprocess.PIPE, start_new_session=True
        )

    def start(self, argv: list[str | Path], log: Path, env: dict[str, str]) -> "subprocess.Popen[bytes]":
        """Start a program; what it says goes to `log`."""
        with log.open("ab") as out:
            # In a session of its own: Ctrl-C is for us, who know in which order things end.
            popen = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._running.append(popen)
        self._tell(f"+{popen.pid}")
        return popen

    def kill(self, popen: "subprocess.Popen[bytes]") -> None:
        """Kill it with signal 9, frozen or not, and wait for its end."""
        if popen.poll() is None:
            popen.kill()
        popen.wait(_ANSWER_WITHIN)
        self._tell(f"-{popen.pid}")

    def close(self) -> None:
        """Kill all that is left."""
        for popen in self._running:
            self.kill(popen)
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait(_ANSWER_WITHIN)

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{line}\n".encode())
        self._watchdog.stdin.flush()


class Redis:
    """A Valkey that syncs each append before it answers, so that what it acknowledged it has, whatever kills it."""

    def __init__(self, nursery: Nursery, home: Path) -> None:
        self.port = _quiet_port()
        self.home = home
        self._nursery = nursery
        self._popen: subprocess.Popen[bytes] | None = None
        home.mkdir()
        (home / "port").write_text(str(self.port))

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers."""
        argv: list[str | Path] = [
            *(find_valkey(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.home, "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no"),
            *("--maxmemory-policy", "noeviction"),
        ]
        self._popen = self._nursery.start(argv, self.home / "redis.log", clean({}))
        with self.client() as client:
            await_(lambda: _answers(client), f"Redis does not answer; see {self.home / 'redis.log'}")

    def kill(self) -> None:
        """Kill it with signal 9."""
        if self._popen:
            self._nursery.kill(self._popen)

    @property
    def appended(self) -> Path:
        """The folder of its append-only file."""
        return self.home / "appendonlydir"

    def client(self) -> "redis.Redis":
        """Return a client of its own port, past every proxy."""
        return redis.Redis(port=self.port, socket_timeout=5, protocol=2)


class Replica:
    """One replica over its lives: each process has a port of its own, so an address says which one answered."""

    def __init__(self, name: str, proxy: Proxy, nursery: Nursery, recorder: Recorder, settings: dict[str, str]) -> None:
        self.name = name
        self.proxy = proxy
        self._settings = settings
        self._nursery = nursery
        self._recorder = recorder
        self._folder = recorder.path.parent
        self.now: tuple[int, Process] | None = None
        """The life and its process, changed as one: who reads them may be another thread."""

    @property
    def process(self) -> Process:
        """The process of now, or the last one."""
        assert self.now is not None
        return self.now[1]

    def start(self) -> None:
        """Start the next process; it may take a second or two to listen."""
        life = self.now[0] + 1 if self.now else 1
        port, log = _quiet_port(), self._folder / f"replica-{self.name}.{life}.log"
        env = {
            "REDIS_URL": f"redis://127.0.0.1:{self.proxy.port}/0",
            "MCP_POSTGRES_KEY_FILE": str(self._folder / "master.key"),
            "MCP_POSTGRES_REPAIR_SECONDS": "1",
            "MCP_POSTGRES_LOG_LEVEL": "debug",
            "MCP_POSTGRES_LOG_FORMAT": "json",
            **self._settings,
        }
        popen = self._nursery.start([COMMAND, "serve", "--port", str(port)], log, clean(env))
        self._recorder.tell(Began(replica=self.name, life=life, pid=popen.pid, port=port, at=self._recorder.now()))
        self.now = life, Process(port=port, log=log, popen=popen)

    def kill(self) -> None:
        """Kill the process with signal 9."""
        self._nursery.kill(self.process.popen)

    def freeze(self) -> None:
        """Stop the process where it is."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def readiness(self) -> dict[str, Any]:
        """Return what `/readyz` tells; nothing if it tells nothing."""
        try:
            _, told = self.process.get("/readyz")
        except (OSError, ValueError):
            return {}
        return dict(told)

    def _send(self, number: signal.Signals) -> None:
        if self.process.popen.poll() is None:
            os.kill(self.process.popen.pid, number)


class World:
    """What a run breaks: `redis` and `replicas`. Made by `open_world`.

    Attributes:
        away: Replicas that are killed, frozen or cut off at the moment, where that matters.
        premise: Held by whoever must not meet a loss, or a loss: see `tests/faults/losses.py`.
        steady: Held while nobody may go away.
        ever: Entries of files that Redis no longer has.
    """

    def __init__(self, recorder: Recorder, nursery: Nursery, proxies: Proxies, settings: dict[str, str]) -> None:
        self.folder = recorder.path.parent
        self.recorder = recorder
        self.settings = settings
        self.away: set[str] = set()
        self.premise, self.steady = threading.Lock(), threading.Lock()
        self.ever: list[RawEntry] = []
        self.redis = Redis(nursery, self.folder / "redis")
        self.replicas = tuple(
            Replica(name, proxies.add(self.redis.port), nursery, recorder, settings) for name in NAMES
        )

    def start(self) -> None:
        """Start everything, and wait until it is ready."""
        make_key_file(self.folder / "master.key")
        self.redis.start()
        for replica in self.replicas:
            replica.start()
        await_(lambda: all(replica.readiness().get("ready") for replica in self.replicas), "never ready")


@contextmanager
def open_world(folder: Path, **settings: str) -> Iterator[World]:
    """Run a world whose files are in `folder`, its replicas with `settings`; nothing of it runs afterwards."""
    with contextlib.ExitStack() as stack:
        recorder = Recorder(folder / "history.jsonl")
        stack.callback(recorder.close)
        proxies = stack.enter_context(Proxies())
        nursery = Nursery()
        stack.callback(nursery.close)
        world = World(recorder, nursery, proxies, settings)
        world.start()
        yield world


def await_(true: Callable[[], object], otherwise: str, within: float = _ANSWER_WITHIN) -> None:
    """Wait until it is true; `TimeoutError` if it is not `within` so many seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.02)


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _quiet_port() -> int:
    picks = random.SystemRandom()
    return next(port for port in iter(lambda: picks.randrange(*_PORTS), None) if is_free(port))
