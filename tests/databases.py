"""A database of a test's own, and a pool of one connection to it, prepared and reset as a tenant's."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

import asyncpg

from registry.secrets import Secret
from server.embedded.postgres import EmbeddedPostgres
from server.reads import prepare_connection
from server.wire import Wire

if TYPE_CHECKING:
    from asyncpg.pool import Pool

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


def one_connection(
    dsn: str,
    *,
    wired: bool = True,
    **settings: Any,  # noqa: ANN401 - whatever the driver takes
) -> "Pool[asyncpg.Record]":
    """Return a pool of one connection, so that each call gets what the one before left.

    Args:
        dsn: Where to.
        wired: Whether it is made as tenants' connections are; otherwise as the driver makes them.
        settings: For the driver.
    """
    return asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=1,
        statement_cache_size=0,
        connect=_wired if wired else asyncpg.connect,
        init=prepare_connection,
        reset=_leave_as_it_is,
        **settings,
    )


async def _leave_as_it_is(_connection: object) -> None:
    """Do nothing: what uses a connection leaves it clean."""


async def _wired(dsn: str, *, loop: asyncio.AbstractEventLoop, **settings: Any) -> asyncpg.Connection:  # noqa: ANN401
    wire: Any = Wire(loop, Secret(unquote(urlsplit(dsn).password or "")))
    connection: Any = await asyncpg.connect(dsn, loop=wire, **settings)
    connection._loop = loop
    return cast("asyncpg.Connection", connection)
