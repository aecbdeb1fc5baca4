"""What one caller is told and others share: never another tenant's, nor of an older registration, whoever leaves."""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg
import pytest
import redis

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from server.shared_reads import AT_ONCE
from tests.databases import made_database
from tests.processes import Process, eventually
from tests.security.doors import EVERYTHING, Caller, TokenFile, serving
from tests.security.raw_http import call_of, post

WAITING: Final = 3
WITHIN: Final = 20
"""Seconds after which a test gives up."""


class Scene:
    """A server whose tenant acme moves from one database to another, and those who ask for its tables meanwhile."""

    def __init__(self, server: Process, tokens: TokenFile, databases: dict[str, str]) -> None:
        self._server = server
        self._admin = Caller(server, tokens.add("admin", EVERYTHING, ["*"]))
        self.reader = tokens.add("reader", ["query:read"], ["acme"])
        self.stranger = tokens.add("stranger", ["query:read"], ["beta"])
        self._databases = databases
        asking = Caller(server, self.stranger)
        eventually(lambda: asking.call("list_tables", tenant_id="acme").status == 200, "the tokens were never read")

    async def move(self, name: str) -> None:
        """Register acme where `name` is; from then on it is nowhere else."""
        login = {"tenant_id": "acme", "dsn": self._databases[name], "verify": False}
        told = await asyncio.to_thread(self._admin.call, "register_tenant", **login)
        assert told.code == "ok", told

    async def ask(self, token: str) -> str:
        """Ask for acme's tables; return their database's name, or the code of an error. Leaves when cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(post(call_of("list_tables", tenant_id="acme"), f"Authorization: Bearer {token}"))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
            result = json.loads(await reader.readexactly(int(length.split()[1])))["result"]
        finally:
            writer.transport.abort()
        if result["isError"]:
            return str(json.loads(result["content"][0]["text"])["error"]["code"])
        ((_, name, *_),) = result["structuredContent"]["tables"]
        return str(name)


@pytest.fixture(scope="module")
def databases(postgres: EmbeddedPostgres) -> dict[str, str]:
    """The DSNs of two databases by name; each has a table of that name."""
    return {name: made_database(postgres, f"shared_{name}", f"CREATE TABLE {name} ()") for name in ("first", "second")}


@pytest.fixture(scope="module")
def scene(valkey: EmbeddedValkey, databases: dict[str, str]) -> Iterator[Scene]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with tempfile.TemporaryDirectory() as folder:
        tokens = TokenFile(Path(folder) / "tokens.toml")
        env = {"MCP_POSTGRES_TOKENS_FILE": str(tokens.path), "MCP_POSTGRES_LOCK_TIMEOUT": "100"}
        with serving(Path(folder), valkey.url, **env) as server:
            yield Scene(server, tokens, databases)


class Held:
    """A database whose catalogue nobody can read."""

    def __init__(self, connection: asyncpg.Connection, observer: asyncpg.Connection) -> None:
        self._connection = connection
        self._observer = observer

    async def reading(self) -> set[datetime]:
        """Return when those began who wait to read it."""
        rows = await self._observer.fetch(
            "SELECT query_start FROM pg_stat_activity WHERE datname = 'shared_first' AND wait_event_type = 'Lock'"
        )
        return {row["query_start"] for row in rows}

    async def is_read(self, times: int, beside: Collection[datetime] = ()) -> set[datetime]:
        """Wait until so many do, and others than `beside`."""
        async with asyncio.timeout(WITHIN):
            while len(reading := await self.reading()) != times or reading == beside:  # noqa: ASYNC110 - Postgres tells nobody
                await asyncio.sleep(0.02)
            return reading

    async def release(self) -> None:
        await self._connection.execute("ROLLBACK")


@asynccontextmanager
async def held(postgres: EmbeddedPostgres, dsn: str) -> AsyncIterator[Held]:
    connection, observer = await asyncpg.connect(dsn), await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await connection.execute("BEGIN; LOCK pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE")
        yield Held(connection, observer)
    finally:
        await connection.close()
        await observer.close()


async def test_who_shares_an_answer_is_told_of_their_own_tenant_as_it_was_since_they_asked_whoever_leaves(
    scene: Scene, postgres: EmbeddedPostgres, databases: dict[str, str]
) -> None:
    await scene.move("first")
    assert set(await asyncio.gather(*(scene.ask(scene.reader) for _ in range(5)))) == {"first"}
    async with held(postgres, databases["first"]) as database:
        leads = [asyncio.create_task(scene.ask(scene.reader)) for _ in range(AT_ONCE)]
        before = await database.is_read(AT_ONCE)
        waits = [asyncio.create_task(scene.ask(scene.reader)) for _ in range(WAITING)]
        assert await scene.ask(scene.stranger) == "unknown_tenant", "what is asked already is not theirs to hear"
        leads[0].cancel()  # its client hangs up
        await database.is_read(AT_ONCE, beside=before)  # one of those who waited reads in its place
        await scene.move("second")
        async with asyncio.timeout(WITHIN):
            assert await scene.ask(scene.reader) == "second", "what is read of before is nothing to who asks now"
        await database.release()
        told = Counter(await asyncio.gather(*leads[1:], *waits))
    assert told["second"] == 0
    assert told["first"] + told["tenant_changed"] == AT_ONCE - 1 + WAITING
    assert told["first"] >= AT_ONCE, "who was read for is answered"
