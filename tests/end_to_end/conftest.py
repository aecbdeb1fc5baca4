"""Replicas of one test, on a Redis that is empty when it begins."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from tests.end_to_end.resource_world import World, made_odd_database, world_of
from tests.processes import COMMAND, Process, Start, clean, run_command


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    made = run_command("keys", "new", "--out", str(path))
    assert made.returncode == 0, made.stderr
    return path


@pytest.fixture
def env(redis_url: str, key_file: Path) -> dict[str, str]:
    """What every replica of one test is started with."""
    return {"REDIS_URL": redis_url, "MCP_POSTGRES_KEY_FILE": str(key_file)}


@pytest.fixture
def serve(env: dict[str, str], tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Start]:
    """Start replicas; all that are left are stopped at the end."""
    started: list[Process] = []

    def start(*arguments: str, ready: bool = True, **more: str) -> Process:
        port = free_port()
        log = tmp_path / f"replica-{len(started)}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [COMMAND, "serve", "--port", str(port), *arguments], env=clean({**env, **more}), stdout=out, stderr=out
            )
        process = Process(port=port, log=log, popen=popen)
        started.append(process)
        if ready:
            process.wait_ready()
        return process

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="session")
def odd_database(postgres: EmbeddedPostgres) -> str:
    """The DSN of a database whose names mean something in addresses."""
    return made_odd_database(postgres)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey, sample: SampleLogin, odd_database: str
) -> Iterator[World]:
    """One replica for all tests of a file, which change nothing of it."""
    with world_of(tmp_path_factory.mktemp("world"), valkey, sample, odd_database) as world:
        yield world
