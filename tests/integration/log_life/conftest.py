"""What the tests of a log's life share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from registry.redis_client import RedisClient
from registry.secrets import new_master_key
from server.log_access import LogAccess, open_log
from server.replica import Replica
from server.settings import Settings
from tests.log_lives import Files, Open, running


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The key files of one test."""
    paths = {"key_file": tmp_path / "master.key", "signing_key_file": tmp_path / "signing.key"}
    for name, path in paths.items():
        path.write_text(new_master_key(name.split("_", 1)[0]) + "\n")
        path.chmod(0o600)
    return paths


@pytest.fixture
async def access(redis_url: str, files: Files) -> AsyncIterator[LogAccess]:
    """An operator's hold on the log, with all keys."""
    async with open_log(Settings(redis_url=redis_url, **files)) as access:
        yield access


@pytest.fixture
async def redis(access: LogAccess) -> RedisClient:
    """A client for whoever changes Redis by hand."""
    return access.redis


@pytest.fixture
async def start(redis_url: str, files: Files) -> AsyncIterator[Open]:
    """What starts replicas; they are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Replica:  # noqa: ANN401 - any setting
            return await stack.enter_async_context(running(redis_url, files, **settings))

        yield start
