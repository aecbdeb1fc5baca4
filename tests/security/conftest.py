"""Postgres servers that the corpora are run against: the embedded one, and Debian's 15 where it is installed."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from server.embedded.binaries import POSTGRES_VARIABLE
from server.embedded.postgres import EmbeddedPostgres
from server.sql_guard import Guard
from tests.databases import apart, one_connection
from tests.security.sql_cases import CORPUS, Stage
from tests.security.write_builtins import DEBIAN_15

SERVERS: Final = ("embedded", "debian 15") if DEBIAN_15.exists() else ("embedded",)
DATABASE: Final = "corpus"
LOGINS: Final = {"superuser": None, "ordinary": ("mcp_ro", "ropw")}


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server with the corpus's schema in a database of its own."""
    if request.param == "embedded":
        apart(_make(postgres))
        yield postgres
        return
    with tempfile.TemporaryDirectory() as data, pytest.MonkeyPatch.context() as environment:
        environment.setenv(POSTGRES_VARIABLE, str(DEBIAN_15))
        debian = EmbeddedPostgres(Path(data), durable=False)
        apart(debian.start())
        environment.undo()
        try:
            apart(_make(debian))
            yield debian
        finally:
            apart(debian.stop())


@pytest.fixture
async def admin(server: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    """A superuser who looks at what was done."""
    connection = await asyncpg.connect(server.dsn(DATABASE))
    yield connection
    await connection.close()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder that a server may write to which runs as somebody else."""
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture(params=LOGINS)
async def stage(
    request: pytest.FixtureRequest, server: EmbeddedPostgres, admin: asyncpg.Connection, scratch: Path
) -> AsyncIterator[Stage]:
    """The guard before one connection, as a superuser and as an ordinary role; and a session that must not be hurt."""
    login = LOGINS[request.param]
    # Roles of earlier tests may have had autovacuum sample their hashes, and a case is about a server where it has not.
    await admin.execute("DELETE FROM pg_statistic WHERE starelid = 'pg_authid'::regclass")
    decoy = await asyncpg.connect(server.dsn(DATABASE), server_settings={"application_name": "decoy"})
    under_test = {"application_name": "under test"}
    async with one_connection(server.dsn(DATABASE, *(login or ())), server_settings=under_test) as pool:
        yield Stage(pool=pool, admin=admin, scratch=scratch, superuser=login is None, guard=Guard())
    await decoy.close()


async def _make(server: EmbeddedPostgres) -> None:
    admin = await asyncpg.connect(server.dsn("postgres"))
    made = await admin.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE)
    if not made:
        await admin.execute(f"CREATE DATABASE {DATABASE}")
    await admin.close()
    if made:  # for another file, whose cases have left it as it was
        return
    connection = await asyncpg.connect(server.dsn(DATABASE))
    for file in sorted(CORPUS.glob("*.sql")):
        await connection.execute(file.read_text())
    await connection.close()
