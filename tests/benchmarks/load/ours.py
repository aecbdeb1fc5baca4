"""The project's own server as it is measured: with every guard on, on a log of as many tenants as are asked for."""

import asyncio
import subprocess
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sockets import free_port
from server.master_keys import load_master_keys
from tests.benchmarks.load.answers import MalformedAnswer
from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.client import ask
from tests.benchmarks.load.dataset import DATABASE, PASSWORD, READER
from tests.benchmarks.load.filling import fill
from tests.benchmarks.load.messages import Endpoint, tool_call
from tests.benchmarks.load.place import Place
from tests.benchmarks.load.programs import Program
from tests.benchmarks.load.targets import Target, WrongAnswer
from tests.processes import COMMAND, Fields, run_command

PATH: Final = "/postgres/mcp"
CALLERS: Final = 512
"""Calls that may be under way, in all and of one tenant: 256 clients must find room, as with servers without bounds."""


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is run.

    Args:
        workers: Processes on one port.
        registered: Tenants in the log, those that are called included.
        called: Tenants that calls may be spread over.
        pool: The most connections of each process to one tenant.
        flags: More of `serve`'s.
        command: What runs `mcp-postgres`.
    """

    workers: int = 1
    registered: int = 1
    called: int = 1
    pool: int = 10
    flags: tuple[str, ...] = ()
    command: tuple[str | Path, ...] = (COMMAND,)

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return "ours" if self.workers == 1 else f"ours x{self.workers}"


def workers_are_known() -> bool:
    """Tell whether this version of the server runs several processes on one port."""
    return "--workers" in run_command("serve", "--help").stdout


async def start_ours(ours: Ours, place: Place) -> Target:
    """Start the server on a log with its tenants; return it, at rest, when those that are called are registered.

    `start_seconds` of its program is the time until it was ready, the registry read.
    """
    key = await asyncio.to_thread(_key, place.folder)
    filled = max(0, ours.registered - ours.called)
    if filled:
        await fill(place.redis_url, load_master_keys(key), filled)
    endpoint = Endpoint(free_port(), PATH)
    program = Program(_argv(ours, endpoint), _environment(place, key), place.folder / f"{endpoint.port}.log")
    await program.until(lambda: _ready(endpoint, ours.workers))
    tenants = [f"called-{number:04d}" for number in range(ours.called)]
    await _register(endpoint, place.postgres, tenants, ours.pool)
    await program.settle()
    return Target(
        name=ours.name,
        program=program,
        endpoint=endpoint,
        calls={name: case.ours for name, case in CASES.items()},
        tenants=tenants,
        capped=True,
    )


def _key(folder: Path) -> Path:
    path = folder / "master.key"
    if not path.exists():
        subprocess.run([COMMAND, "keys", "new", "--out", path], check=True, capture_output=True)
    return path


def _argv(ours: Ours, endpoint: Endpoint) -> list[str | Path]:
    workers = ("--workers", str(ours.workers)) if ours.workers > 1 else ()
    bounds = ("--max-requests", str(2 * CALLERS), "--max-pools", "2000", "--max-connections", "2000")
    serve = ("serve", "--port", str(endpoint.port), "--log-level", "warning")
    return [*ours.command, *serve, *bounds, *workers, *ours.flags]


def _environment(place: Place, key: Path) -> dict[str, str]:
    return {"REDIS_URL": place.redis_url, "MCP_POSTGRES_KEY_FILE": str(key), "MCP_POSTGRES_LOG_FORMAT": "json"}


async def _ready(endpoint: Endpoint, workers: int) -> bool:
    """Tell whether the registry is read, asking often enough to have met each worker."""
    probe = f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\n\r\n".encode()
    for _ in range(1 if workers == 1 else 4 * workers):
        try:
            if (await ask(endpoint.port, probe)).status != HTTPStatus.OK:
                return False
        except (OSError, MalformedAnswer):
            return False
    return True


async def _register(endpoint: Endpoint, postgres: EmbeddedPostgres, tenants: Sequence[str], pool: int) -> None:
    waiting = asyncio.Semaphore(16)

    async def register(tenant: str) -> None:
        arguments = _registration(tenant, postgres, pool)
        async with waiting:
            answer = await ask(endpoint.port, tool_call(endpoint, "register_tenant", arguments))
        if answer.status != HTTPStatus.OK or b'"isError":true' in answer.body:
            raise WrongAnswer(f"{tenant} was not registered: {answer.body[:500]!r}")

    await asyncio.gather(*map(register, tenants))


def _registration(tenant: str, postgres: EmbeddedPostgres, pool: int) -> Fields:
    return {
        "tenant_id": tenant,
        "host": postgres.host,
        "port": postgres.port,
        "database": DATABASE,
        "user": READER,
        "password": PASSWORD,
        "ssl": "disable",
        "max_pool_size": pool,
        "max_concurrent_requests": CALLERS,
        "verify": False,
    }
