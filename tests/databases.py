"""A database of a test's own, and one connection to it that is kept as a tenant's."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

import asyncpg

from registry.secrets import Secret
from server.embedded.postgres import EmbeddedPostgres
from server.reads import prepare_connection
from server.shelf import Open, Shelf
from server.tenant_pool import IDLE_SECONDS
from server.wire import Wire

T = TypeVar("T")


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread with a loop of its own: what lasts a session must not touch the loop of its first test."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def made_database(postgres: EmbeddedPostgres, name: str, schema: str) -> str:
    """Make a database and what is in it; return its DSN."""

    async def make() -> str:
        admin = await asyncpg.connect(postgres.dsn("postgres"))
        await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()
        connection = await asyncpg.connect(postgres.dsn(name))
        await connection.execute(schema)
        await connection.close()
        return postgres.dsn(name)

    return apart(make())


def sleeping(postgres: EmbeddedPostgres, query: str) -> int:
    """Return how many sessions of a server are running this very statement."""

    async def ask() -> int:
        connection = await asyncpg.connect(postgres.dsn("postgres"))
        try:
            counted = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = $1"
            return int(await connection.fetchval(counted, query))
        finally:
            await connection.close()

    return apart(ask())


class OneConnection:
    """One connection, opened, prepared and kept as a tenant's: each call gets what the one before left."""

    def __init__(self, open_connection: Open) -> None:
        self._alone = asyncio.Lock()
        self._shelf = Shelf(open_connection, prepare_connection, IDLE_SECONDS)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """Hold it."""
        async with self._alone:
            connection = await self._shelf.take()
            try:
                yield connection
            finally:
                self._shelf.give(connection)

    async def open(self) -> None:
        """Log in, so that nothing of that is left to the first call."""
        await self._shelf.fill(1)

    async def close(self) -> None:
        """Close it."""
        await self._shelf.close(2)


@asynccontextmanager
async def one_connection(
    dsn: str,
    *,
    wired: bool = True,
    **settings: Any,  # noqa: ANN401 - whatever the driver takes
) -> AsyncIterator[OneConnection]:
    """Hold one connection.

    Args:
        dsn: Where to.
        wired: Whether it is made as tenants' connections are; otherwise as the driver makes them.
        settings: For the driver.
    """
    connect = _wired if wired else asyncpg.connect
    one = OneConnection(lambda: connect(dsn, statement_cache_size=0, **settings))
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def _wired(dsn: str, **settings: Any) -> asyncpg.Connection:  # noqa: ANN401 - whatever the driver takes
    loop = asyncio.get_running_loop()
    wire: Any = Wire(loop, Secret(unquote(urlsplit(dsn).password or "")))
    connection: Any = await asyncpg.connect(dsn, loop=wire, **settings)
    connection._loop = loop
    return cast("asyncpg.Connection", connection)
