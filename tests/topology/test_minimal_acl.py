"""The user of docs/redis.md for the server has nothing that it could do without.

Each word that permits something is taken away in turn, and a replica that does everything is refused something then.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import quote

import pytest
from redis import Redis

from projections.phase import Phase
from registry.names import Names
from server.embedded.binaries import find_valkey
from server.replica import Replica, open_replica
from server.settings import Settings
from tests.servers import Server
from tests.topology.conftest import MASTER, call, register
from tests.topology.test_acl import PASSWORD, told

NAMES: Final = Names()
((*WORDS,),) = told("mcp-postgres")[:1]
Grant = tuple[int, str]
"""A word of the command by its place, and the part of it that permits something."""


def grants(words: Sequence[str]) -> Iterator[Grant]:
    """Yield every part that permits something, those of selectors too."""
    for place, word in enumerate(words):
        for part in word.strip("()").split():
            if part.startswith(("+", "~", "%")):
                yield place, part


def without(grant: Grant) -> list[str]:
    """Return the command with one part less."""
    place, part = grant
    word = WORDS[place]
    if not word.startswith("("):
        return [*WORDS[:place], *WORDS[place + 1 :]]
    left = [each for each in word.strip("()").split() if each != part]
    return [*WORDS[:place], f"({' '.join(left)})", *WORDS[place + 1 :]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(find_valkey(), tmp_path_factory.mktemp("acl"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def limited(server: Server) -> Callable[[Sequence[str]], str]:
    """What gives the user its permissions in an empty Redis, and returns where it finds that."""

    def limit(words: Sequence[str]) -> str:
        server.run("FLUSHALL")
        server.run("ACL", "SETUSER", "mcp-postgres", "reset")
        server.run(*words)
        server.run("SCRIPT", "FLUSH")
        server.run("ACL", "LOG", "RESET")
        return f"redis://mcp-postgres:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/1"

    return limit


async def test_with_all_of_them_nothing_is_refused(server: Server, limited: Callable[[Sequence[str]], str]) -> None:
    assert await everything(server, limited(WORDS)) is True
    assert server.run("ACL", "LOG") == []


@pytest.mark.parametrize("grant", list(grants(WORDS)), ids=lambda grant: grant[1])
async def test_without_one_of_them_something_is_refused(
    grant: Grant, server: Server, limited: Callable[[Sequence[str]], str]
) -> None:
    assert len(list(grants(without(grant)))) == len(list(grants(WORDS))) - 1

    assert await everything(server, limited(without(grant))) is False


async def everything(server: Server, url: str) -> bool:
    """Do all that a replica does; return whether it got through without being refused anything."""
    doing = asyncio.create_task(_live(server, url))
    while not doing.done():
        if server.run("ACL", "LOG"):
            doing.cancel()
        await asyncio.wait([doing], timeout=0.02)
    with suppress(asyncio.CancelledError):
        await doing
        return not server.run("ACL", "LOG")
    return False


async def _live(server: Server, url: str) -> None:
    """Adopt, register, replace, repeat, remove, mend, lose all and say it again; begin twice."""
    plain = '{"host": "db", "database": "app", "user": "u", "password": "p"}'
    with Redis(port=server.port, db=1, decode_responses=True) as operator:
        operator.set(NAMES.tenant("old"), plain)
        async with open_replica(Settings(repair_seconds=1), url, MASTER) as a:
            await _until(lambda: a.follower.knows("old"))
            await register(a, "acme", command_id="one")
            await register(a, "acme", host="other", command_id="two")
            await register(a, "acme", command_id="one")
            await call(a, "tenant_history", tenant_id="acme")
            await call(a, "list_tables", tenant_id="nobody")
            operator.delete(NAMES.tenant("old"), NAMES.epoch)
            operator.hdel(NAMES.heads, "acme")
            await _until(lambda: operator.exists(NAMES.tenant("old"), NAMES.epoch) == 2)
            await _until(lambda: operator.hexists(NAMES.heads, "acme"))
            async with open_replica(Settings(full_replay=True), url, MASTER) as b:
                await _until(lambda: b.follower.status.phase is Phase.FOLLOWING)
                await register(b, "gone")
                await call(b, "remove_tenant", tenant_id="gone")
            operator.xtrim(NAMES.stream, maxlen=1, approximate=False)
            await call(a, "tenant_history", tenant_id="acme")
            await _loses(operator.flushdb, a)
            await register(a, "acme", host="after")


async def _loses(lose: Callable[[], object], replica: Replica) -> None:
    """Have something lost, and wait until the replica has found and mended it."""
    before = sum(replica.follower.status.findings.values())
    lose()
    await _until(lambda: sum(replica.follower.status.findings.values()) > before)
    await _until(lambda: replica.follower.status.phase is Phase.FOLLOWING)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not true():  # noqa: ASYNC110 - what is waited for is in Redis, or in another task
            await asyncio.sleep(0.02)
