"""Two replicas that know nothing of each other, on one Redis."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from projections.phase import Phase
from registry.service import Materialiser
from server.embedded.valkey import EmbeddedValkey
from tests.two_replicas import Replica, Start


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """What starts a replica on a Redis, waits until it is ready, and stops it after the test."""
    async with AsyncExitStack() as stack:

        async def begin(
            url: str, materialiser: Materialiser | None = None, *, ready: bool = True, restores: bool = False
        ) -> Replica:
            replica = await stack.enter_async_context(Replica(url, materialiser, restores=restores).running())
            if ready:
                await replica.follower.complete()
                await replica.reaches(Phase.FOLLOWING)
            return replica

        yield begin


@pytest.fixture
async def a(redis_url: str, start: Start) -> Replica:
    """A replica on an empty Redis."""
    return await start(redis_url)


@pytest.fixture
async def b(redis_url: str, start: Start, a: Replica) -> Replica:
    """Another replica on the same Redis."""
    assert a.follower.status.ready
    return await start(redis_url)


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A Valkey with an append-only file that the test may stop and start."""
    server = await EmbeddedValkey(tmp_path).start()
    yield server
    await server.stop()
