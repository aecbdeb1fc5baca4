"""Replicas on every topology, and somebody who writes all the while."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from projections.phase import Phase
from registry.names import Names
from registry.redis_client import RedisClient
from registry.secrets import MasterKeys, new_master_key
from server.embedded.binaries import find_valkey
from server.principal import Principal
from server.replica import Replica, open_replica
from server.settings import Settings
from server.toolbox import Call
from tests.servers import ClusterOfThree, SentinelSet

ONE: Final = new_master_key("one")
MASTER: Final = MasterKeys.parse(ONE)
WITHIN: Final = 15.0
"""Seconds in which what must happen has happened, on the busiest machine."""

Open: TypeAlias = Callable[[str], Awaitable[Replica]]
OpenClient: TypeAlias = Callable[..., RedisClient]


@pytest.fixture
async def open_client() -> AsyncIterator[OpenClient]:
    """What makes a client and closes it after the test."""
    async with AsyncExitStack() as stack:

        def make(url: str, **options: Any) -> RedisClient:  # noqa: ANN401 - as from_url takes them
            client = RedisClient.from_url(url, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def open_on() -> AsyncIterator[Open]:
    """What opens a replica, wired as the server wires it, and waits until it follows."""
    async with AsyncExitStack() as stack:

        async def begin(url: str) -> Replica:
            replica = await stack.enter_async_context(open_replica(Settings(), url, MASTER))
            await eventually(lambda: replica.follower.status.phase is Phase.FOLLOWING)
            return replica

        yield begin


@pytest.fixture
def sentinel_set(tmp_path: Path) -> Iterator[SentinelSet]:
    """A set of its own for each test: a new one is whole ten seconds before a mended one."""
    servers = SentinelSet(find_valkey(), tmp_path)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
async def whole_cluster(cluster: ClusterOfThree) -> AsyncIterator[ClusterOfThree]:
    """An empty cluster, whole before the test and after it."""
    await asyncio.to_thread(cluster.wait_healthy)
    for primary in cluster.primaries():
        primary.run("FLUSHALL")
    yield cluster
    await asyncio.to_thread(cluster.mend)


class Writer:
    """Registers tenants one after the other, each as often as it takes, and remembers what was acknowledged."""

    def __init__(self, replica: Replica) -> None:
        self.acknowledged: list[str] = []
        self.refusals: set[str] = set()
        self._replica = replica
        self._ending = False

    async def run(self) -> None:
        """Go on until told to stop."""
        number = 0
        while not self._ending:
            number += 1
            await self._register(f"tenant-{number % 7}", f"command-{number}")

    def stop(self) -> None:
        self._ending = True

    async def after(self, more: int) -> None:
        """Wait until so many more were acknowledged."""
        wanted = len(self.acknowledged) + more
        await eventually(lambda: len(self.acknowledged) >= wanted)

    async def _register(self, tenant: str, command: str) -> None:
        while not self._ending:
            answer = await register(self._replica, tenant, host=command, command_id=command)
            if "error" not in answer:
                self.acknowledged.append(command)
                return
            assert answer["error"]["retryable"], answer
            self.refusals.add(answer["error"]["message"])
            await asyncio.sleep(0.02)


async def register(replica: Replica, tenant: str, *, host: str = "db", **more: str) -> dict[str, Any]:
    """Register a tenant without a test login; return the answer."""
    fields = {"tenant_id": tenant, "host": host, "database": "app", "user": "u", "password": "s3cr3t", "verify": False}
    return await call(replica, "register_tenant", **fields, **more)


async def call(replica: Replica, tool: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - as the tool takes them
    answer = await replica.toolbox.call(tool, arguments, Call(principal=Principal("ann")))
    told: dict[str, Any] = json.loads(answer.payload)
    return told


async def commands_in(redis: RedisClient) -> list[str]:
    """Return the id of the command behind each entry of the log, in order."""
    entries = await redis.run("XRANGE", Names().stream, "-", "+")
    events = [json.loads(fields[b"data"]) for _, fields in entries]
    return [event["command_id"] for event in events if "command_id" in event]


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; how long it takes is no part of any promise here."""
    async with asyncio.timeout(WITHIN):
        while not holds():  # noqa: ASYNC110 - what is waited for is not of one place that could tell
            await asyncio.sleep(0.02)
