"""Where it all happens: a Postgres with the database that everybody reads, and a Valkey, for as long as it takes."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from server.embedded.base import together
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.benchmarks.load.dataset import BenchPostgres, make_dataset


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A folder for logs and keys, the address of a Redis, empty at first, and the database with its reader's DSN."""

    folder: Path
    redis_url: str
    postgres: EmbeddedPostgres
    dsn: str


@asynccontextmanager
async def fresh_place() -> AsyncIterator[Place]:
    """Start both servers, fill the database, and stop them in the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valkey, postgres = EmbeddedValkey(folder), BenchPostgres(folder, durable=False)
        async with together(valkey, postgres):
            dsn = await make_dataset(postgres)
            yield Place(folder=folder, redis_url=valkey.url, postgres=postgres, dsn=dsn)
