"""Who gets in over HTTP, and what those are told who do not, at real servers."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest
import redis
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from server.embedded.valkey import EmbeddedValkey
from server.tokens import RANDOM_BYTES, token_of
from tests.processes import Process, eventually
from tests.security.doors import EVERYTHING, Caller, TokenFile, call_of, send, serving

STRANGER: Final = token_of(b"\x07" * RANDOM_BYTES)
"""A token of the right form that no file has."""
LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def tokens(home: Path) -> TokenFile:
    return TokenFile(home / "tokens.toml")


@pytest.fixture(scope="module")
def people(tokens: TokenFile) -> dict[str, str]:
    """Who has which token when the server starts."""
    return {
        "admin": tokens.add("admin", EVERYTHING, ["*"]),
        "ann": tokens.add("ann", ("query:read",), ["*"]),
        "auditor": tokens.add("auditor", ("audit:read",), ["*"]),
        "auditor of one": tokens.add("auditor of one", EVERYTHING, ["acme"]),
        "expired": tokens.add("expired", EVERYTHING, ["*"], "expires = 2026-01-31T00:00:00Z"),
        "expires": tokens.add("expires", EVERYTHING, ["*"], "expires = 2999-01-31T00:00:00Z"),
    }


@pytest.fixture
def admin_token(people: dict[str, str]) -> str:
    return people["admin"]


@pytest.fixture(scope="module")
def server(home: Path, tokens: TokenFile, people: dict[str, str], valkey: EmbeddedValkey) -> Iterator[Process]:
    """One for all tests of this file."""
    assert people
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with serving(home, valkey.url, MCP_POSTGRES_TOKENS_FILE=str(tokens.path)) as server:
        yield server


@pytest.fixture
def admin(server: Process, admin_token: str) -> Caller:
    return Caller(server, admin_token)


@pytest.fixture
def ann(server: Process, people: dict[str, str]) -> Caller:
    return Caller(server, people["ann"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", "/postgres/mcp"), ("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("OPTIONS", "/mcp")),
        *(("GET", "/metrics"), ("GET", "/"), ("GET", "/nothing"), ("POST", "/livez/"), ("GET", "//livez")),
        *(("GET", "/Livez"), ("GET", "/livez/../metrics"), ("GET", "/%2e/metrics"), ("GET", "/metrics?x=/livez")),
    ],
)
def test_every_path_wants_a_token(server: Process, method: str, path: str) -> None:
    told = send(server.port, method, path)

    assert (told.status, told.code) == (401, "no_token")
    assert told.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/.well-known/../mcp", "/.well-known/%2e%2e/mcp", "/.well-known//mcp", "/.well-known/"]
)
def test_nothing_is_reached_through_what_is_open(server: Process, path: str) -> None:
    told = send(server.port, "POST", path, [("Content-Type", "application/json")], json.dumps(LIST).encode())

    assert (told.status, set(told.json)) == (404, {"error"})


@pytest.mark.parametrize("method", ["initialize", "server/discover", "ping", "tools/list", "notifications/x", "x"])
def test_every_message_wants_a_token(server: Process, method: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}

    assert Caller(server).post(message).status == 401


def test_health_is_told_to_everybody_and_no_more_than_that(server: Process, admin: Caller) -> None:
    assert send(server.port, "GET", "/livez").json == {"status": "ok"}
    assert set(send(server.port, "GET", "/readyz").json) == {"phase", "ready", "position"}
    assert admin.call("registry_status").value["ready"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([("Authorization", "Basic {token}")], 401, "no_token"),
        ([("Authorization", "{token}")], 401, "no_token"),
        ([("Authorization", "Bearer")], 401, "no_token"),
        ([("Authorization", "Bearer ")], 401, "no_token"),
        ([("Authorization", "")], 401, "no_token"),
        ([("X-Authorization", "Bearer {token}")], 401, "no_token"),
        ([("Cookie", "Authorization=Bearer {token}")], 401, "no_token"),
        ([("Authorization", "Bearer {token}"), ("Authorization", "Bearer {token}")], 400, "bad_request"),
        ([("Authorization", "Bearer x"), ("authorization", "Bearer {token}")], 400, "bad_request"),
        ([("Authorization", "Bearer {token}")], 200, None),
        ([("authorization", "bearer {token}")], 200, None),
        ([("AUTHORIZATION", "BEARER   {token}  ")], 200, None),
    ],
)
def test_a_token_is_taken_from_the_one_authorization_header(
    server: Process, admin_token: str, headers: list[tuple[str, str]], status: int, code: str | None
) -> None:
    sent = [(name, value.format(token=admin_token)) for name, value in headers]
    told = send(server.port, "POST", "/mcp", [("Content-Type", "application/json"), *sent], json.dumps(LIST).encode())

    assert told.status == status
    assert code is None or told.code == code


def test_a_token_in_the_address_lets_nobody_in(server: Process, admin_token: str) -> None:
    told = send(server.port, "POST", f"/mcp?access_token={admin_token}&token={admin_token}", body=b"{}")

    assert (told.status, told.code) == (401, "no_token")
    assert admin_token not in server.log.read_text()


async def test_the_official_client_gets_in_with_a_token(server: Process, admin_token: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {admin_token}"}) as http,
        streamable_http_client(server.url, http_client=http) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        assert (await session.call_tool("list_tenants", {})).is_error is False


def test_the_metrics_are_for_who_may_audit_every_tenant(server: Process, people: dict[str, str]) -> None:
    told = {name: Caller(server, people[name]).request("GET", "/metrics") for name in people if name != "expired"}

    assert {name for name, each in told.items() if each.status == 200} == {"admin", "auditor", "expires"}
    assert {told[name].status for name in ("ann", "auditor of one")} == {403}
    assert 'scope="audit:read"' in told["ann"].headers["www-authenticate"]


def test_a_missing_permission_is_told_by_http_with_the_one_that_would_do(ann: Caller) -> None:
    told = ann.post({**call_of("remove_tenant", tenant_id="x"), "id": "seven"})

    assert (told.status, told.json["id"]) == (403, "seven")
    assert 'error="insufficient_scope"' in told.headers["www-authenticate"]
    assert 'scope="tenants:write"' in told.headers["www-authenticate"]
    assert "tenants:write" in told.json["error"]["message"]


REMOVE: Final = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"remove_tenant","arguments":{"tenant_id":"x"}}}'
)


@pytest.mark.parametrize(
    "body",
    [
        REMOVE,
        REMOVE.replace(b'"name"', b'"name":"list_schemas","name"'),
        REMOVE.replace(b'"arguments"', b'"name":"list_schemas","arguments"'),
        REMOVE.replace(b'"method"', b'"method":"tools/list","method"'),
        REMOVE.replace(b"remove", rb"\u0072emove"),
        REMOVE.replace(b'"id":1', b'"id":1.0'),
        REMOVE.replace(b'"id":1', b'"id":null'),
        REMOVE.replace(b'"id":1,', b""),
        b"[" + REMOVE + b"]",
        b"\xef\xbb\xbf" + REMOVE,
        REMOVE.decode().encode("utf-16"),
    ],
    ids=range(11),
)
def test_a_call_that_is_written_oddly_is_not_let_by(ann: Caller, body: bytes) -> None:
    """A removal that were carried out would find no tenant; listing the schemas of one may do so."""
    told = ann.request("POST", "/mcp", body)

    assert told.status in (200, 202, 400, 403)
    assert b"unknown_tenant" not in told.body or b'"name":"list_schemas","arguments"' in body


def test_a_refused_request_is_read_to_its_end_so_that_its_connection_serves_the_next(server: Process) -> None:
    connection = http_connection(server)
    try:
        for _ in range(3):
            connection.request("POST", "/mcp", b"x" * 900_000)
            response = connection.getresponse()
            assert (response.status, response.getheader("Connection")) == (401, None)
            assert response.read().startswith(b'{"jsonrpc')
    finally:
        connection.close()


def http_connection(server: Process) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)


def test_who_is_added_gets_in_and_who_is_taken_out_is_refused_without_a_restart(
    server: Process, tokens: TokenFile
) -> None:
    token = tokens.add("new", ("tenants:read",), ["*"])
    caller = Caller(server, token)
    eventually(lambda: caller.post(LIST).status == 200, "who was added is not let in")
    tokens.take(token)
    eventually(lambda: caller.post(LIST).status == 401, "who was taken out is let in")


def test_a_broken_file_changes_nothing_and_is_told_once(server: Process, tokens: TokenFile, admin: Caller) -> None:
    good = tokens.path.read_text()
    tokens.path.write_text("[[tokens]")
    eventually(lambda: "no TOML" in server.log.read_text(), "the fault is not told")
    assert admin.post(LIST).status == 200
    tokens.path.unlink()
    eventually(lambda: "cannot be read" in server.log.read_text(), "the fault is not told")
    assert admin.post(LIST).status == 200
    tokens.path.write_text(good)
    eventually(lambda: server.log.read_text().count("file read anew") > 0, "the good file is not read")
    assert admin.post(LIST).status == 200
    assert server.log.read_text().count("file not used") == 2


def test_a_token_holds_until_it_expires(server: Process, people: dict[str, str]) -> None:
    told = Caller(server, people["expired"]).post(LIST)

    assert Caller(server, people["expires"]).post(LIST).status == 200
    assert (told.status, told.code) == (401, "bad_token")
    assert "expired" in told.headers["www-authenticate"]
