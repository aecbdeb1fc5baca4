"""Replicas in this process over real servers, for tests of what an attacker gets out of them."""

import base64
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from registry.secrets import new_master_key
from server.backing import backing_of
from server.embedded.postgres import EmbeddedPostgres
from server.first_read import first_read
from server.principal import Principal
from server.replica import Replica, open_replica
from server.settings import Settings
from server.toolbox import Call


def key_file(path: Path, *names: str) -> Path:
    """Write a key file with fresh keys of these names."""
    path.write_text("".join(f"{new_master_key(name)}\n" for name in names))
    path.chmod(0o600)
    return path


@asynccontextmanager
async def replica(settings: Settings) -> AsyncIterator[Replica]:
    """Run a replica as `serve` does."""
    async with (
        backing_of(settings) as backing,
        open_replica(settings, backing.redis_url, backing.master) as running,
    ):
        status = await first_read(running.follower, 10)
        assert status.ready, status
        yield running


async def call(running: Replica, tool: str, **arguments: Any) -> Any:  # noqa: ANN401 - the tool's answer
    answer = await running.toolbox.call(tool, arguments, Call(principal=Principal("ann")))
    return json.loads(answer.payload)


async def one(running: Replica, tenant: str) -> Any:  # noqa: ANN401 - the tool's answer
    """Return the answer to the smallest query on a connection of the tenant's."""
    return await call(running, "execute_query", tenant_id=tenant, query="SELECT 1")


class Role:
    """A login of one test's own, whose password may be changed; nothing here keeps that in clear."""

    def __init__(self, postgres: EmbeddedPostgres, admin: asyncpg.Connection) -> None:
        self.name = f"secrets_{uuid.uuid4().hex[:12]}"
        self._postgres = postgres
        self._admin = admin
        self._databases: list[str] = []

    @property
    def fields(self) -> dict[str, Any]:
        """What a registration says of it, but for the password."""
        postgres = self._postgres
        return {"host": postgres.host, "port": postgres.port, "database": "postgres", "user": self.name, "ssl": False}

    async def change_password(self) -> str:
        """Give the role a new password and return it turned round, so that no search for it finds it here."""
        turned = base64.b64encode(os.urandom(18), b"-_").decode()
        await self._admin.execute(f"ALTER ROLE {self.name} LOGIN PASSWORD '{turned[::-1]}'")
        return turned

    async def take_password(self, password: str) -> None:
        """Give the role this password."""
        quoted = await self._admin.fetchval("SELECT quote_literal($1)", password)
        await self._admin.execute(f"ALTER ROLE {self.name} LOGIN PASSWORD {quoted}")

    async def have_database(self, name: str) -> None:
        """Make a database that goes with the role."""
        await self._admin.execute(f'CREATE DATABASE "{name}"')
        self._databases.append(name)

    async def leave(self) -> None:
        """Take the role away, its connections and its databases."""
        await self.disconnect_all()
        for name in self._databases:
            await self._admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await self._admin.execute(f"DROP ROLE {self.name}")

    async def disconnect_all(self) -> None:
        """End the role's connections from the server's side."""
        await self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", self.name
        )


@asynccontextmanager
async def role(postgres: EmbeddedPostgres) -> AsyncIterator[Role]:
    """Have a role for one test."""
    # A statement that fails is not to be logged: some of them contain a password.
    admin = await asyncpg.connect(postgres.dsn("postgres"), server_settings={"log_min_error_statement": "panic"})
    try:
        made = Role(postgres, admin)
        await admin.execute(f"CREATE ROLE {made.name}")
        try:
            yield made
        finally:
            await made.leave()
    finally:
        await admin.close()
