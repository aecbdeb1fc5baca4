"""The sample tenant's database, a small bookshop, and the login that may only read it.

Either the whole database is there under its name or nothing is: it is made under another name, in one transaction, and
renamed when it is complete.
"""

from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.private import lasting_password

DATABASE = "bookshop"
READER = "demo_reader"

_UNFINISHED = "bookshop_unfinished"
_OWNER = "demo_owner"
_CONTENT = Path(__file__).with_name("sample.sql")


@dataclass(frozen=True, kw_only=True)
class SampleLogin:
    """What it takes to register the sample database as a tenant."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)


async def ensure_sample(postgres: EmbeddedPostgres) -> SampleLogin:
    """Return the sample's login, after making of the sample whatever is missing."""
    password = lasting_password(postgres.home / f"{READER}.password")
    login = SampleLogin(host=postgres.host, port=postgres.port, database=DATABASE, user=READER, password=password)
    if not await _lets_in(postgres, login):
        await _make(postgres, login)
    return login


async def _lets_in(postgres: EmbeddedPostgres, login: SampleLogin) -> bool:
    """Tell whether the login works, which is the last thing to come true when the sample is made."""
    try:
        connection = await asyncpg.connect(postgres.dsn(login.database, login.user, login.password))
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidPasswordError):
        return False
    await connection.close()
    return True


async def _make(postgres: EmbeddedPostgres, login: SampleLogin) -> None:
    admin = await _connect(postgres, "postgres")
    try:
        await admin.execute("SELECT pg_advisory_lock(hashtext('sample'))")  # until the connection ends
        await _ensure_roles(admin, login)
        if not await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
            await _make_database(postgres, admin)
    finally:
        await admin.close()


async def _connect(postgres: EmbeddedPostgres, database: str) -> asyncpg.Connection:
    # A statement that fails is not to be logged: one of them contains a password.
    return await asyncpg.connect(postgres.dsn(database), server_settings={"log_min_error_statement": "panic"})


async def _ensure_roles(admin: asyncpg.Connection, login: SampleLogin) -> None:
    for role in (_OWNER, READER):
        if not await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role):
            await admin.execute(f"CREATE ROLE {role}")
    # No parameters in DDL; the password is our own and has no character that would need quoting.
    await admin.execute(f"ALTER ROLE {READER} LOGIN PASSWORD '{login.password}'")


async def _make_database(postgres: EmbeddedPostgres, admin: asyncpg.Connection) -> None:
    await admin.execute(f"DROP DATABASE IF EXISTS {_UNFINISHED} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {_UNFINISHED} OWNER {_OWNER}")
    await _fill(postgres)
    await admin.execute(f"ALTER DATABASE {_UNFINISHED} RENAME TO {DATABASE}")


async def _fill(postgres: EmbeddedPostgres) -> None:
    connection = await _connect(postgres, _UNFINISHED)
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {_OWNER}")
            await connection.execute(_CONTENT.read_text(encoding="utf-8"))
            await connection.execute(_grants())
    finally:
        await connection.close()


def _grants() -> str:
    return f"""
        REVOKE ALL ON DATABASE {_UNFINISHED} FROM PUBLIC;
        GRANT CONNECT ON DATABASE {_UNFINISHED} TO {READER};
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER};
    """
