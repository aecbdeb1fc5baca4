"""A replica with a few tenants for all tests of a file, which change nothing of it, and how clients reach it."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import mcp_types as wire
import redis
from mcp import Client, StdioServerParameters

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from tests.databases import made_database
from tests.processes import COMMAND, Fields, Process, fields_of
from tests.security.doors import serving

ODD: Final = {"a.b": 'c.d / "e" ü%?#', "x y": "z"}
"""Tables by schema, with all in their names that means something in an address."""
PATIENT: Final = {"MCP_POSTGRES_LOCK_TIMEOUT": "100", "MCP_POSTGRES_STATEMENT_TIMEOUT": "100"}
ERAS: Final = ("legacy", "2026-07-28")
"""Over HTTP. What is told over stdio is told by the same handlers, so a part of it is tried there."""
TENANTS: Final = ("acme", "Big.Co_1", "odd")


class World:
    """A replica with a few tenants, and how clients reach it."""

    def __init__(self, server: Process, env: Mapping[str, str], login: Fields) -> None:
        self.server = server
        self.login = login
        self._env = dict(env)

    @asynccontextmanager
    async def client(self, road: str) -> AsyncIterator[Client]:
        stdio = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=self._env)
        client = Client(stdio) if road == "stdio" else Client(self.server.url, mode=road)
        async with client:
            yield client


def made_odd_database(postgres: EmbeddedPostgres) -> str:
    """Make a database with odd names, and a schema that is too wide to be listed whole; return its DSN."""
    odd = [
        f"CREATE SCHEMA {_quoted(schema)}; CREATE TABLE {_quoted(schema)}.{_quoted(table)} (id int DEFAULT 1);"
        for schema, table in ODD.items()
    ]
    wide = [f"CREATE TABLE wide.t_{number} ();" for number in range(30)]
    return made_database(postgres, "odd", "".join([*odd, "CREATE SCHEMA wide;", *wide]))


@contextmanager
def world_of(home: Path, valkey: EmbeddedValkey, sample: SampleLogin, odd: str) -> Iterator[World]:
    """Start the replica, on a Redis that is empty then; its key is made in this folder."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with serving(home, valkey.url, MCP_POSTGRES_MAX_ROWS="20", **PATIENT) as server:
        for tenant in TENANTS:
            login = {"tenant_id": tenant, "dsn": odd} if tenant == "odd" else fields_of(tenant, sample)
            assert "code" not in server.call("register_tenant", **login)
        env = {"REDIS_URL": valkey.url, "MCP_POSTGRES_KEY_FILE": str(home / "master.key")}
        yield World(server, env, fields_of("new", sample))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def read(client: Client, uri: str) -> Any:  # noqa: ANN401 - JSON
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, wire.TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    return json.loads(contents.text)
