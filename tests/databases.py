"""A database of a test's own, and a pool of one connection to it, prepared and reset as a tenant's."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from server.embedded.postgres import EmbeddedPostgres
from server.reads import prepare_connection, reset_connection

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


def one_connection(dsn: str, **settings: Any) -> "Pool[asyncpg.Record]":  # noqa: ANN401 - whatever the driver takes
    """Return a pool of one connection, so that each call gets what the one before left."""
    return asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=1,
        statement_cache_size=0,
        init=prepare_connection,
        reset=reset_connection,
        **settings,
    )
