"""One log under two implementations and on every topology, and the ways in which the world damages it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from shutil import which
from typing import Final, TypeAlias

import pytest

from registry.entries import START, Head, Position
from registry.log import Appended, KeepKey, KeyChange, Proposal, TenantLog
from registry.memory_log import MemoryLog
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from tests.logs import append_one

TIME: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
Damage: TypeAlias = Callable[[], Awaitable[None]]
Propose: TypeAlias = Callable[..., Proposal]


@pytest.fixture
def log_url(kind: str, request: pytest.FixtureRequest) -> str:
    """The address of the Redis that the log is on."""
    if kind == "redis-server":
        return f"redis://127.0.0.1:{request.getfixturevalue('redis_server').port}/0"
    fixture = {"sentinel": "sentinels", "cluster": "cluster"}.get(kind)
    return str(request.getfixturevalue(fixture).url if fixture else request.getfixturevalue("redis_url"))


@pytest.fixture
async def commands(log_url: str) -> AsyncIterator[RedisClient]:
    """A client of an empty Redis."""
    client = RedisClient.from_url(log_url)
    await client.on_every_primary("FLUSHALL")
    yield client
    await client.close()


@pytest.fixture
async def redis_log(log_url: str, commands: RedisClient) -> AsyncIterator[RedisLog]:
    """A log on an empty Redis."""
    tail = RedisClient.from_url(log_url, connections=1, timeout=10.0)
    yield RedisLog(commands, tail, Names())
    await tail.close()


@pytest.fixture(params=["memory", "redis", "sentinel", "cluster", *(["redis-server"] if which("redis-server") else [])])
def kind(request: pytest.FixtureRequest) -> str:
    """Which log the contract is put to."""
    return str(request.param)


@pytest.fixture
def log(kind: str, request: pytest.FixtureRequest) -> TenantLog:
    """The log under test, without a first entry."""
    if kind == "memory":
        return MemoryLog()
    log: RedisLog = request.getfixturevalue("redis_log")
    return log


@pytest.fixture
async def start(log: TenantLog) -> Position:
    """The position of the first entry, which the fixture makes."""
    start = await log.create("log_created.v1", b"{}", "epoch")
    assert start is not None
    return start


@pytest.fixture
def lose_stream(log: TenantLog, request: pytest.FixtureRequest) -> Damage:
    """What deletes the entries and leaves the heads."""

    async def lose() -> None:
        if isinstance(log, MemoryLog):
            log._entries.clear()
            log._end = None
        else:
            await _raw(request).run("DEL", Names().stream)

    return lose


@pytest.fixture
def lose_everything(log: TenantLog, request: pytest.FixtureRequest) -> Damage:
    """What leaves nothing of the log, its heads and its keys."""

    async def lose() -> None:
        if isinstance(log, MemoryLog):
            log._entries.clear()
            log._end = log._epoch = None
            log._heads.clear()
            log._keys.clear()
        else:
            await _raw(request).on_every_primary("FLUSHALL")

    return lose


@pytest.fixture
def lose_epoch(log: TenantLog, request: pytest.FixtureRequest) -> Damage:
    """What takes away the note of which log it is."""

    async def lose() -> None:
        if isinstance(log, MemoryLog):
            log._epoch = None
        else:
            await _raw(request).run("DEL", Names().epoch)

    return lose


@pytest.fixture
def lose_head(log: TenantLog, request: pytest.FixtureRequest) -> Callable[[str], Awaitable[None]]:
    """What takes away one tenant's head."""

    async def lose(tenant: str) -> None:
        if isinstance(log, MemoryLog):
            del log._heads[tenant]
        else:
            await _raw(request).run("HDEL", Names().heads, tenant)

    return lose


@pytest.fixture
def trim(log: TenantLog, request: pytest.FixtureRequest) -> Damage:
    """What leaves only the last entry."""

    async def cut() -> None:
        if isinstance(log, MemoryLog):
            del log._entries[:-1]
        else:
            await _raw(request).run("XTRIM", Names().stream, "MAXLEN", 1)

    return cut


@pytest.fixture
def propose() -> Propose:
    """What makes a proposal: of tenant acme, its first, if nothing else is said."""

    def make(
        after: Position,
        *,
        tenant: str = "acme",
        expected: int = 0,
        alive: bool = True,
        command: str = "command",
        digest: str = "digest",
        data: bytes = b"{}",
        key: KeyChange | None = None,
    ) -> Proposal:
        told = (TIME, "ann", None, None, "0d1c2b3a49586776" if alive else None)
        head = Head(START, 1, alive, f"event of {command}", command, digest, *told)
        return Proposal(
            tenant=tenant,
            expected=expected,
            after=after,
            type="t",
            data=data,
            head=head,
            key=key or KeepKey(),
        )

    return make


@pytest.fixture
def append(log: TenantLog) -> Callable[[Proposal], Awaitable[Position]]:
    """What appends a proposal that nothing speaks against."""

    async def add(proposal: Proposal) -> Position:
        outcome = await append_one(log, proposal)
        assert isinstance(outcome, Appended)
        return outcome.position

    return add


def _raw(request: pytest.FixtureRequest) -> RedisClient:
    client: RedisClient = request.getfixturevalue("commands")
    return client
