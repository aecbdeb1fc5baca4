"""The yardstick: asyncpg alone, on connections of its own, with the same SQL; without JSON, and with it.

It runs in the client's process, so what it needs of CPU is the client's.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import asyncpg

from tests.benchmarks.load.timing import Measured, Pace, Stopwatch, Watched, undisturbed

Finish: TypeAlias = Callable[[Sequence[asyncpg.Record]], int]
"""Makes of the rows what the variant makes of them; returns its bytes."""


def no_more(_rows: Sequence[asyncpg.Record]) -> int:
    """Leave the rows as they are."""
    return 0


def as_json(rows: Sequence[asyncpg.Record]) -> int:
    """Write the rows as people do who have no time: objects, and `str` for what JSON does not know."""
    return len(json.dumps([dict(row) for row in rows], default=str))


async def fetch_all(
    dsn: str, sql: str, finish: Finish, *, rows: int, clients: int, pace: Pace, postgres: Sequence[int]
) -> Measured:
    """Have so many connections fetch, each as soon as it is through; return what it came to."""
    connections = [await asyncpg.connect(dsn) for _ in range(clients)]
    try:
        with undisturbed():
            watch = Stopwatch(pace, Watched(server=(), postgres=tuple(postgres)))
            await asyncio.gather(*(_fetch(each, sql, finish, watch, rows) for each in connections))
            return watch.result()
    finally:
        for connection in connections:
            connection.terminate()


async def _fetch(connection: asyncpg.Connection, sql: str, finish: Finish, watch: Stopwatch, rows: int) -> None:
    begun = time.perf_counter()
    while True:
        fetched = await connection.fetch(sql)
        size = finish(fetched)
        ended = time.perf_counter()
        if len(fetched) == rows:
            watch.succeeded(begun, ended, size)
        else:
            watch.failed(f"{len(fetched)} rows instead of {rows}")
        if ended >= watch.deadline:
            return
        begun = ended
