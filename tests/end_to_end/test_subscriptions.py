"""Listening to what changes: driven by the log, so what happens on one replica is announced by all of them."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import Subscription
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from server import resource_uris as uris
from server.embedded.sample import SampleLogin
from tests.processes import COMMAND, Fields, Process, Start, fields_of
from tests.security.doors import EVERYTHING, Caller, TokenFile

WITHIN: Final = 15
MODERN: Final = "2026-07-28"


@pytest.fixture
def login(sample: SampleLogin) -> Fields:
    return {**fields_of("", sample), "verify": False}


@asynccontextmanager
async def client_of(server: Process, token: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=WITHIN) as http,
        Client(streamable_http_client(server.url, http_client=http), mode=MODERN) as client,
    ):
        yield client


async def heard(subscription: Subscription, count: int) -> set[str]:
    """Return that many announcements: addresses, and `list` for the list."""
    told = set[str]()
    async with asyncio.timeout(WITHIN):
        async for event in subscription:
            match event:
                case ResourceUpdated(uri):
                    told.add(uri)
                case ResourcesListChanged():
                    told.add("list")
                case other:
                    raise AssertionError(other)
            if len(told) == count:
                return told
    raise AssertionError(f"the server ended it after {told}")


async def on(server: Process, tool: str, **arguments: Any) -> None:  # noqa: ANN401 - any JSON
    told = await asyncio.to_thread(server.call, tool, **arguments)
    assert "code" not in told, told


async def test_a_tenant_that_comes_changes_and_goes_on_one_replica_is_announced_by_the_other(
    serve: Start, login: Fields
) -> None:
    one, other = serve(), serve()
    wanted = [uris.TENANTS, uris.history_uri("acme"), uris.schemas_uri("acme"), uris.table_uri("acme", "public", "x")]
    async with (
        Client(other.url, mode=MODERN) as client,
        client.listen(resources_list_changed=True, resource_subscriptions=[*wanted, uris.REPLICAS, "x"]) as listening,
    ):
        assert listening.honored.resource_subscriptions == wanted, "what will never be announced is not promised"
        for tool, arguments, told in (
            ("register_tenant", {**login, "tenant_id": "acme"}, {"list", *wanted}),
            ("register_tenant", {**login, "tenant_id": "acme", "access": "read_write"}, {*wanted}),
            ("register_tenant", {**login, "tenant_id": "beta"}, {"list", uris.TENANTS}),
            ("remove_tenant", {"tenant_id": "acme"}, {"list", *wanted}),
        ):
            await on(one, tool, **arguments)
            assert await heard(listening, len(told)) == told, tool
        listed = {each.uri for each in (await client.list_resources()).resources}
        assert uris.schemas_uri("beta") in listed, "who was told looks, and finds what was announced"
        assert uris.schemas_uri("acme") not in listed


async def test_a_caller_hears_of_the_tenants_that_are_theirs_and_of_what_they_may_read(
    serve: Start, login: Fields, tmp_path: Path
) -> None:
    tokens = TokenFile(tmp_path / "tokens.toml")
    admin = tokens.add("admin", EVERYTHING, ["*"])
    mine = tokens.add("ann", ["tenants:read", "query:read"], ["own-*"])
    server = serve(MCP_POSTGRES_TOKENS_FILE=str(tokens.path))
    registrar = Caller(server, admin)
    wanted = [uris.TENANTS, *map(uris.schemas_uri, ("own-1", "far-1")), *map(uris.history_uri, ("own-1", "far-1"))]
    async with (
        client_of(server, mine) as client,
        client.listen(resources_list_changed=True, resource_subscriptions=wanted) as listening,
    ):
        assert listening.honored.resource_subscriptions == [uris.TENANTS, uris.schemas_uri("own-1")]
        for tenant in ("far-1", "far-2", "own-1"):
            told = await asyncio.to_thread(registrar.call, "register_tenant", **{**login, "tenant_id": tenant})
            assert told.code == "ok"
        # Had the first two been announced, their announcements would have come first.
        assert await heard(listening, 3) == {"list", uris.TENANTS, uris.schemas_uri("own-1")}


async def test_a_listener_whose_token_is_taken_back_hears_nothing_more(
    serve: Start, login: Fields, tmp_path: Path
) -> None:
    tokens = TokenFile(tmp_path / "tokens.toml")
    admin, other = (tokens.add(name, EVERYTHING, ["*"]) for name in ("admin", "other"))
    server = serve(MCP_POSTGRES_TOKENS_FILE=str(tokens.path))
    async with client_of(server, other) as client, client.listen(resource_subscriptions=[uris.TENANTS]) as listening:
        tokens.take(other)
        async with asyncio.timeout(WITHIN):
            assert [event async for event in listening] == [], "it ends, and without an error"
        told = await asyncio.to_thread(Caller(server, admin).call, "register_tenant", **{**login, "tenant_id": "acme"})
        assert told.code == "ok"


async def test_a_replica_that_stops_tells_its_listeners_the_end_and_does_not_wait_for_them(serve: Start) -> None:
    server = serve()
    async with Client(server.url, mode=MODERN) as client, client.listen(resources_list_changed=True) as listening:
        server.popen.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN):
            assert [event async for event in listening] == []
        assert await asyncio.to_thread(server.popen.wait, WITHIN) == 0


async def test_listeners_are_bounded_share_what_there_is_and_take_no_place_from_requests(serve: Start) -> None:
    server = serve(MCP_POSTGRES_MAX_CLIENTS="24", MCP_POSTGRES_MAX_REQUESTS="2")
    async with (
        Client(server.url, mode=MODERN) as client,
        client.listen(resources_list_changed=True),
        client.listen(resources_list_changed=True),
        client.listen(resources_list_changed=True),
    ):
        with pytest.raises(MCPError, match="As many listen") as refused:
            async with client.listen(resources_list_changed=True):
                pass
        assert refused.value.error.data["code"] == "too_many_subscriptions"
        assert (await client.list_resources()).resources, "three listen, and the two places for requests are free"
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                async with Client(server.url, mode=MODERN) as client, client.listen(resources_list_changed=True):
                    break
            except MCPError:
                await asyncio.sleep(0.05)


async def test_a_listener_who_does_not_read_keeps_nobody_from_hearing(serve: Start, login: Fields) -> None:
    server = serve()
    with listening_socket(server, {"resourcesListChanged": True, "resourceSubscriptions": [uris.TENANTS]}):
        async with Client(server.url, mode=MODERN) as client, client.listen(resources_list_changed=True) as listening:
            for number in range(20):
                await on(server, "register_tenant", **{**login, "tenant_id": f"t-{number}"})
                assert await heard(listening, 1) == {"list"}


async def test_over_stdio_too_it_is_heard_what_happens_on_another_replica(
    serve: Start, env: dict[str, str], login: Fields
) -> None:
    one = serve()
    command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=env)
    async with (
        Client(command, mode=MODERN) as client,
        client.listen(resources_list_changed=True, resource_subscriptions=[uris.TENANTS]) as listening,
    ):
        await on(one, "register_tenant", **{**login, "tenant_id": "acme"})
        assert await heard(listening, 2) == {"list", uris.TENANTS}


def test_only_who_can_read_a_stream_may_listen(serve: Start) -> None:
    server = serve()
    status, _ = server.request("POST", "/postgres/mcp", listen_message({}), modern_headers("application/json"))
    assert status == 406


def listen_message(notifications: Fields) -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": notifications, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}).encode()


def modern_headers(accept: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Accept": accept,
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "subscriptions/listen",
    }


class listening_socket:  # noqa: N801 - a context, as `open` is
    """A client that listens and reads nothing but the head of the answer."""

    def __init__(self, server: Process, notifications: Fields) -> None:
        body = listen_message(notifications)
        head = {**modern_headers("application/json, text/event-stream"), "Host": f"127.0.0.1:{server.port}"}
        head["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=WITHIN)
        self._socket.sendall(f"POST /postgres/mcp HTTP/1.1\r\n{lines}\r\n".encode() + body)
        assert b" 200 " in self._socket.recv(100)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        self._socket.close()
