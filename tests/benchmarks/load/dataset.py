"""The database that everybody reads: forty tables, one of which has 100,000 rows, and a login that may read them."""

from pathlib import Path
from typing import Final

import asyncpg

from server.embedded.postgres import EmbeddedPostgres

DATABASE: Final = "bench"
READER: Final = "bench_reader"
PASSWORD: Final = "bench-reader-password"
TABLES: Final = 40
ROWS: Final = 100_000
_CONNECTIONS: Final = 2500
"""For 1,000 tenants with connections of their own, 256 clients of the yardstick, and the pools of the peers."""
_COLUMNS: Final = "id integer PRIMARY KEY, name text NOT NULL, city text, amount numeric(12, 2), created_at timestamptz"


class BenchPostgres(EmbeddedPostgres):
    """An embedded Postgres that lets in as many as are measured."""

    def _options(self, port: int, sockets: Path) -> tuple[str | Path, ...]:
        return (*super()._options(port, sockets), f"--max_connections={_CONNECTIONS}", "--shared_buffers=256MB")


async def make_dataset(postgres: EmbeddedPostgres) -> str:
    """Make the database and the login; return the reader's DSN."""
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    await admin.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'")
    await admin.execute(f"CREATE DATABASE {DATABASE}")
    await admin.close()
    owner = await asyncpg.connect(postgres.dsn(DATABASE))
    await owner.execute(schema())
    await owner.execute("VACUUM ANALYZE")
    await owner.close()
    return postgres.dsn(DATABASE, READER, PASSWORD)


def table(number: int) -> str:
    """Return the name of a table: customers is the one with rows."""
    return "customers" if number == 0 else f"orders_{number:02d}"


def schema() -> str:
    """Return the SQL that makes the tables, the rows and the grants."""
    tables = "".join(f"CREATE TABLE {table(number)} ({_COLUMNS});" for number in range(TABLES))
    return f"""
        {tables}
        INSERT INTO customers
            SELECT n, 'customer ' || n, 'city ' || n % 997, n * 1.37,
                   timestamptz '2024-01-01 00:00Z' + n * interval '1h'
              FROM generate_series(1, {ROWS}) AS n;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER};
    """
