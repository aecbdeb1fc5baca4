"""Real servers for every test that wants one, started once a session by the classes that `mcp-postgres run` uses."""

import asyncio
import gc
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from server.embedded.base import EmbeddedServer
from server.embedded.binaries import find_valkey
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin, ensure_sample
from server.embedded.sockets import free_port as next_free_port
from tests.open_valkey import OpenValkey
from tests.servers import ClusterOfThree, SentinelSet, Server

_Result = TypeVar("_Result")
_Server = TypeVar("_Server", bound=EmbeddedServer)
_Servers = TypeVar("_Servers", bound=Server | SentinelSet | ClusterOfThree)


def pytest_configure() -> None:
    """Heed Ctrl-C: a shell has its background jobs ignore it, and the programs under test would do the same."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # what is imported and collected stays: nothing to look for yet


def pytest_collection_finish() -> None:
    """Set aside what stays: looking through it again and again would be a tenth of the unit tests' time."""
    gc.freeze()
    gc.set_threshold(10_000)  # as the server's own (server/collector.py)
    gc.enable()


@pytest.fixture(scope="session")
def valkey() -> Iterator[OpenValkey]:
    """A running Valkey, for tests that need the server itself; the others take `redis_url`."""
    with tempfile.TemporaryDirectory() as data, _running(OpenValkey(Path(data), port=next_free_port())) as server:
        yield server


@pytest.fixture
def redis_url(valkey: OpenValkey) -> str:
    """The address of a Redis that is empty when the test begins."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(scope="session")
def sentinels() -> Iterator[SentinelSet]:
    """A primary and a replica that three Sentinels watch. A test that kills something brings it back."""
    with tempfile.TemporaryDirectory() as home, _started(SentinelSet(find_valkey(), Path(home))) as servers:
        yield servers


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterOfThree]:
    """A cluster of three primaries and a replica. A test that kills or moves something brings it back."""
    with tempfile.TemporaryDirectory() as home, _started(ClusterOfThree(find_valkey(), Path(home))) as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """The Redis of this machine, for whoever looked that there is one."""
    program = shutil.which("redis-server")
    assert program is not None
    with tempfile.TemporaryDirectory() as home, _started(Server(Path(program), Path(home))) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running Postgres, in which a test makes the databases and roles it needs."""
    with tempfile.TemporaryDirectory() as data, _running(EmbeddedPostgres(Path(data), durable=False)) as server:
        yield server


@pytest.fixture(scope="session")
def sample(postgres: EmbeddedPostgres) -> SampleLogin:
    """The sample database's login, which may read."""
    return _run_apart(ensure_sample(postgres))


@pytest.fixture
def free_port() -> Callable[[], int]:
    """What returns a TCP port of the loopback address that nobody listens on."""
    return next_free_port


@contextmanager
def _started(servers: _Servers) -> Iterator[_Servers]:
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@contextmanager
def _running(server: _Server) -> Iterator[_Server]:
    _run_apart(server.start())
    try:
        yield server
    finally:
        _run_apart(server.stop())


def _run_apart(work: Coroutine[object, object, _Result]) -> _Result:
    """Run it in a thread with a loop of its own: what lasts a session must not touch the loop of its first test."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
