"""Listening to what changes: driven by the log, so what happens on one replica is announced by all of them."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import httpx2
import pytest
import redis
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import Subscription
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from server import resource_uris as uris
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from tests.processes import Fields, Process, fields_of
from tests.security.doors import EVERYTHING, Caller, TokenFile, serving
from tests.uris import table_uri

WITHIN: Final = 15
MODERN: Final = "2026-07-28"
BOUNDS: Final = {"MCP_POSTGRES_MAX_CLIENTS": "24", "MCP_POSTGRES_MAX_REQUESTS": "3"}
"""Six may listen, and one caller may have three subscriptions and two requests in flight."""


class Scene:
    """Two replicas on one Redis that ask who is calling."""

    def __init__(self, tokens: TokenFile, one: Process, other: Process, login: Fields) -> None:
        self.tokens, self.one, self.other, self._login = tokens, one, other, login
        self._admin = Caller(one, tokens.add("admin", EVERYTHING, ["*"]))
        asyncio.run(until_known(self._admin))

    @asynccontextmanager
    async def client(
        self, subject: str, permissions: Sequence[str] = EVERYTHING, tenants: Sequence[str] = ("*",)
    ) -> AsyncIterator[Client]:
        """Yield a client of the second replica, with a token of its own that the replica has read."""
        token = self.tokens.add(subject, permissions, tenants)
        await until_known(Caller(self.other, token))
        async with client_of(self.other, token) as client:
            yield client

    async def register(self, tenant: str, **more: object) -> None:
        """Register a tenant on the first replica."""
        await self._change("register_tenant", **{**self._login, "tenant_id": tenant, **more})

    async def remove(self, tenant: str) -> None:
        await self._change("remove_tenant", tenant_id=tenant)

    async def _change(self, tool: str, **arguments: Any) -> None:  # noqa: ANN401 - any JSON
        told = await asyncio.to_thread(self._admin.call, tool, **arguments)
        assert told.code == "ok", told


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey, sample: SampleLogin) -> Iterator[Scene]:
    """Two replicas for all tests of this file: each uses tenants and callers of its own; the last one stops one."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    home = tmp_path_factory.mktemp("listening")
    tokens = TokenFile(home / "tokens.toml")
    env = {"MCP_POSTGRES_TOKENS_FILE": str(tokens.path), **BOUNDS}
    with serving(home, valkey.url, **env) as one, serving(home, valkey.url, **env) as other:
        yield Scene(tokens, one, other, {**fields_of("", sample), "verify": False})


async def test_a_tenant_that_comes_changes_and_goes_on_one_replica_is_announced_by_the_other(scene: Scene) -> None:
    wanted = [uris.TENANTS, uris.history_uri("acme"), uris.schemas_uri("acme"), table_uri("acme", "public", "x")]
    async with (
        scene.client("ann") as client,
        client.listen(resources_list_changed=True, resource_subscriptions=[*wanted, uris.REPLICAS, "x"]) as listening,
    ):
        assert listening.honored.resource_subscriptions == wanted, "what will never be announced is not promised"
        await scene.register("acme")
        assert await heard(listening, 5) == {"list", *wanted}
        await scene.register("acme", access="read_write")
        assert await heard(listening, 4) == {*wanted}
        await scene.register("beta")
        assert await heard(listening, 2) == {"list", uris.TENANTS}
        await scene.remove("acme")
        assert await heard(listening, 5) == {"list", *wanted}
        listed = {each.uri for each in (await client.list_resources()).resources}
        assert uris.schemas_uri("beta") in listed, "who was told looks, and finds what was announced"
        assert uris.schemas_uri("acme") not in listed


async def test_a_caller_hears_of_the_tenants_that_are_theirs_and_of_what_they_may_read(scene: Scene) -> None:
    wanted = [uris.TENANTS, *map(uris.schemas_uri, ("own-1", "far-1")), *map(uris.history_uri, ("own-1", "far-1"))]
    async with (
        scene.client("ben", ["tenants:read", "query:read"], ["own-*"]) as client,
        client.listen(resources_list_changed=True, resource_subscriptions=wanted) as listening,
    ):
        assert listening.honored.resource_subscriptions == [uris.TENANTS, uris.schemas_uri("own-1")]
        for tenant in ("far-1", "far-2", "own-1"):
            await scene.register(tenant)
        # Had the first two been announced, their announcements would have come first.
        assert await heard(listening, 3) == {"list", uris.TENANTS, uris.schemas_uri("own-1")}


async def test_a_listener_whose_token_is_taken_back_hears_nothing_more(scene: Scene) -> None:
    token = scene.tokens.add("cat", EVERYTHING, ["*"])
    await until_known(Caller(scene.other, token))
    async with (
        client_of(scene.other, token) as client,
        client.listen(resource_subscriptions=[uris.TENANTS]) as listening,
    ):
        scene.tokens.take(token)
        assert await left(listening) == [], "it ends, and without an error"


async def test_listeners_are_bounded_share_what_there_is_and_take_no_place_from_requests(scene: Scene) -> None:
    async with scene.client("dan") as client:
        async with (
            client.listen(resources_list_changed=True),
            client.listen(resources_list_changed=True),
            client.listen(resources_list_changed=True),
        ):
            with pytest.raises(MCPError, match="As many listen") as refused:
                async with client.listen(resources_list_changed=True):
                    pass
            assert refused.value.error.data["code"] == "too_many_subscriptions"
            assert (await client.list_resources()).resources, "three listen, and there is room for requests"
        async with asyncio.timeout(WITHIN):
            while not await listens(client):  # noqa: ASYNC110 - the server's places are nobody's event
                await asyncio.sleep(0.05)


async def test_a_listener_who_does_not_read_keeps_nobody_from_hearing(scene: Scene) -> None:
    deaf = scene.tokens.add("eve", EVERYTHING, ["*"])
    async with scene.client("fay") as client, client.listen(resources_list_changed=True) as listening:
        with listening_socket(scene.other, deaf):
            for number in range(10):
                await scene.register(f"t-{number}")
                assert await heard(listening, 1) == {"list"}


async def test_only_who_can_read_a_stream_may_listen(scene: Scene) -> None:
    caller = Caller(scene.other, scene.tokens.add("gus", EVERYTHING, ["*"]))
    await until_known(caller)
    headers = [*HEADERS.items(), ("Accept", "application/json")]
    assert caller.post(listen_message(), headers).status == 406


async def test_a_replica_that_stops_tells_its_listeners_the_end_and_does_not_wait_for_them(scene: Scene) -> None:
    async with scene.client("hal") as client, client.listen(resources_list_changed=True) as listening:
        scene.other.popen.send_signal(signal.SIGTERM)
        assert await left(listening) == []
        assert await asyncio.to_thread(scene.other.popen.wait, WITHIN) == 0


@asynccontextmanager
async def client_of(server: Process, token: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=WITHIN) as http,
        Client(streamable_http_client(server.url, http_client=http), mode=MODERN) as client,
    ):
        yield client


async def until_known(caller: Caller) -> None:
    """Wait until the replica has read the caller's token."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with asyncio.timeout(WITHIN):
        while (await asyncio.to_thread(caller.post, message)).status != 200:  # noqa: ASYNC110 - the file is reread
            await asyncio.sleep(0.02)


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


async def left(subscription: Subscription) -> list[object]:
    """Return what is announced until the server ends it."""
    async with asyncio.timeout(WITHIN):
        return [event async for event in subscription]


async def listens(client: Client) -> bool:
    try:
        async with client.listen(resources_list_changed=True):
            return True
    except MCPError:
        return False


HEADERS: Final = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen"}


def listen_message() -> Fields:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    wanted = {"resourcesListChanged": True, "resourceSubscriptions": [uris.TENANTS]}
    params = {"notifications": wanted, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}


@contextmanager
def listening_socket(server: Process, token: str) -> Iterator[None]:
    """Listen, and read nothing but the beginning of the answer."""
    body = json.dumps(listen_message())
    head = {
        "Host": f"127.0.0.1:{server.port}",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept": "application/json, text/event-stream",
        **HEADERS,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=WITHIN) as connection:
        connection.sendall(f"POST /postgres/mcp HTTP/1.1\r\n{lines}\r\n{body}".encode())
        assert b" 200 " in connection.recv(100)
        yield
