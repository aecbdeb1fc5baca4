"""A tenant that a caller may not touch answers byte for byte as one that nobody ever registered, whatever is asked.

Whatever state the registry is in, too: an error that is told of one and not of the other would tell that there is one.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import redis

from server.embedded.sample import SampleLogin
from server.embedded.sockets import free_port
from tests.open_valkey import OpenValkey
from tests.processes import Fields, Process, eventually, fields_of
from tests.security.doors import EVERYTHING, Caller, TokenFile, Told, send, serving

LIVE, GONE, BENT, NEVER, OWN = "far-live", "far-gone", "far-bent", "far-none", "own-none"
"""Foreign: there, removed, with a damaged head, never there; and one that would be the caller's and never was."""
COMMANDS: Final = ("registered", "removed", "fresh")
_CAUSE: Final = re.compile(rb"(?<=Redis cannot be reached) \([a-z ]+\)")
_QUESTIONS: Final[list[tuple[str, Fields]]] = [
    *((tool, {}) for tool in ("list_schemas", "list_tables", "get_tenant", "tenant_history", "remove_tenant")),
    ("describe_table", {"table": "books"}),
    ("execute_query", {"query": "SELECT 1"}),
    ("execute_query", {"query": "DELETE FROM books", "limit": 1}),
    ("tenant_history", {"limit": 1}),
    *(("remove_tenant", {"expected_version": version}) for version in (0, 1, 2, 9)),
    *(("remove_tenant", {"command_id": command}) for command in COMMANDS),
    ("remove_tenant", {"command_id": "{}"}),
    ("remove_tenant", {"wait_seconds": 0, "reason": "x", "command_id": "fresh", "expected_version": 1}),
    ("list_tables", {"no_such_argument": 1}),
]
_REGISTRATIONS: Final[list[Fields]] = [
    {},
    {"verify": False},
    *({"expected_version": version, "verify": False} for version in (0, 1, 2)),
    *({"command_id": command, "verify": False} for command in COMMANDS),
    {"port": 1},
    {"host": ""},
    {"dsn": "postgresql://x"},
]


def _completing(name: str) -> Fields:
    ref = {"type": "ref/resource", "uri": "postgres://{tenant}/tables/{schema}.{table}"}
    return {"ref": ref, "argument": {"name": name, "value": ""}, "context": {"arguments": {"tenant": "{}"}}}


_BESIDE_TOOLS: Final[list[tuple[str, Fields]]] = [
    ("resources/read", {"uri": "registry://tenants/{}/history"}),
    ("resources/read", {"uri": "postgres://{}/schemas"}),
    ("resources/read", {"uri": "postgres://{}/tables/public.books"}),
    ("completion/complete", _completing("schema")),
    ("completion/complete", _completing("table")),
]


def _compared(told: Told, tenant: str) -> tuple[int, bytes]:
    """Return what may tell tenants apart: not their names, nor why Redis is not reached.

    A connection that was open when Redis went says another cause of that than a new one, whoever asks.
    """
    return told.status, _CAUSE.sub(b"", told.body.replace(tenant.encode(), b"ID"))


def _of(tenant: str, message: Fields) -> Fields:
    told: Fields = json.loads(json.dumps(message).replace("{}", tenant))
    return told


@dataclass
class Scene:
    """A server, whose Redis a test may take away, and somebody to whom nothing in it belongs."""

    server: Process
    valkey: OpenValkey
    stranger: Caller
    admin: Caller
    login: Fields

    def answers(self, tool: str, arguments: Fields, tenants: list[str]) -> dict[str, tuple[int, bytes]]:
        told: dict[str, Told] = {
            tenant: self.stranger.call(tool, **{**arguments, "tenant_id": tenant}) for tenant in tenants
        }
        return {tenant: _compared(each, tenant) for tenant, each in told.items()}

    def asked(self, method: str, params: Fields, tenant: str) -> tuple[int, bytes]:
        told = self.stranger.post(_of(tenant, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        return _compared(told, tenant)

    def differences(self) -> list[str]:
        """Ask everything of everyone; return what was answered differently. Asks something in each way that fails."""
        wrong = []
        for tool, arguments in _QUESTIONS:
            told = self.answers(tool, arguments, [OWN, NEVER, LIVE, GONE, BENT])
            wrong += [f"{tool} {arguments}: {told}"] * (len(set(told.values())) != 1)
        for method, params in _BESIDE_TOOLS:
            read = {tenant: self.asked(method, params, tenant) for tenant in (OWN, NEVER, LIVE, GONE, BENT)}
            wrong += [f"{method} {params}: {read}"] * (len(set(read.values())) != 1)
        for more in _REGISTRATIONS:
            told = self.answers("register_tenant", {**self.login, **more}, [NEVER, LIVE, GONE, BENT])
            wrong += [f"register_tenant {more}: {told}"] * (len(set(told.values())) != 1)
            assert all(b"forbidden" in body for _, body in told.values()) or "dsn" in more or "host" in more, told
        return wrong

    def phase(self) -> str:
        return str(send(self.server.port, "GET", "/readyz").json["phase"])


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path, sample: SampleLogin) -> Iterator[Scene]:
    """A server; a test may say more of its environment by an indirect parameter."""
    tokens = TokenFile(tmp_path / "tokens.toml")
    admin_token = tokens.add("admin", EVERYTHING, ["*"])
    stranger_token = tokens.add("stranger", EVERYTHING, ["own-*"])
    login = fields_of("", sample)
    with own_valkey(tmp_path) as valkey:
        env = {"MCP_POSTGRES_TOKENS_FILE": str(tokens.path), "MCP_POSTGRES_ON_LOG_LOSS": "halt"}
        env |= getattr(request, "param", {})
        with serving(tmp_path, valkey.tcp_url, **env) as server:
            admin = Caller(server, admin_token)
            for tenant in (LIVE, GONE, BENT):
                registered = {**login, "tenant_id": tenant, "verify": False, "command_id": "registered"}
                assert admin.call("register_tenant", **registered).code == "ok"
            assert admin.call("remove_tenant", tenant_id=GONE, command_id="removed").code == "ok"
            yield Scene(server, valkey, Caller(server, stranger_token), admin, login)


@contextmanager
def own_valkey(home: Path) -> Iterator[OpenValkey]:
    server = OpenValkey(home / "valkey", port=free_port())
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.stop())


def bend(scene: Scene) -> None:
    """Damage a head by hand, as nobody should."""
    with redis.Redis.from_url(scene.valkey.tcp_url) as client:
        client.hset("{mcp:postgres:tenant-events}:heads", BENT, "bent")


def test_while_all_is_well(scene: Scene) -> None:
    assert scene.differences() == []
    bend(scene)
    assert scene.differences() == []
    told = scene.answers("get_tenant", {}, [LIVE])
    assert b"unknown_tenant" in told[LIVE][1]


@pytest.mark.parametrize("scene", [{"MCP_POSTGRES_MAX_STALENESS": "0"}], indirect=True)
def test_while_what_is_known_is_too_old_to_be_served(scene: Scene) -> None:
    asyncio.run(scene.valkey.stop())
    eventually(lambda: scene.phase() == "cut_off", "not cut off")
    assert scene.differences() == []
    told = scene.answers("get_tenant", {}, [LIVE])
    assert b"stale_replica" in told[LIVE][1]


def test_while_redis_is_away(scene: Scene) -> None:
    asyncio.run(scene.valkey.stop())
    eventually(lambda: scene.phase() == "cut_off", "not cut off")
    assert scene.differences() == []
    told = scene.answers("get_tenant", {}, [LIVE])
    assert b"registry_unavailable" in told[LIVE][1]


def test_while_the_log_is_lost_and_an_operator_is_waited_for(scene: Scene) -> None:
    with redis.Redis.from_url(scene.valkey.tcp_url) as client:
        client.flushall()
    eventually(lambda: scene.phase() == "diverged", "not diverged")
    assert scene.differences() == []
    told = scene.answers("get_tenant", {}, [LIVE])
    assert b"log_diverged" in told[LIVE][1]


def test_while_the_log_cannot_be_read_for_what_it_says_of_somebody_elses_tenant(scene: Scene) -> None:
    with redis.Redis.from_url(scene.valkey.tcp_url, decode_responses=True) as client:
        (end, last) = client.xrevrange("mcp:postgres:tenant-events", count=1)[0]
        client.xadd("mcp:postgres:tenant-events", {**last, "seq": int(last["seq"]) + 1, "prev": end})
    eventually(lambda: scene.phase() == "halted", "not halted")

    for tool, arguments in _QUESTIONS:
        told = scene.stranger.call(tool, **{**arguments, "tenant_id": OWN}).body
        assert GONE.encode() not in told, tool
    assert GONE.encode() not in scene.stranger.call("registry_status").body
    assert GONE in scene.admin.call("registry_status").value["reason"]
