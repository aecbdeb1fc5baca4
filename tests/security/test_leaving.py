"""Clients that leave while they are worked for: in every way that a connection ends, whatever they sent before."""

import asyncio
import json
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from server.access import Entrance
from server.admission import Admission, caller_of
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from server.http_intake import BODY
from server.mcp_server import StreamableHttp, build_server
from server.settings import Settings
from server.tool_permission import ToolPermission
from tests.certificates import certificate
from tests.databases import sleeping
from tests.processes import Process, eventually, fields_of
from tests.security.raw_http import GET, Wire, call_of, post, running
from tests.security.replicas import key_file, replica

STREAMED: Final = "Accept: application/json, text/event-stream"


LISTEN: Final = post(
    json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "subscriptions/listen",
            "params": {
                "notifications": {"resourcesListChanged": True},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        }
    ).encode(),
    STREAMED,
    "MCP-Protocol-Version: 2026-07-28",
    "Mcp-Method: subscriptions/listen",
)


def closed(wire: Wire) -> None:
    wire.socket.close()


def half_closed(wire: Wire) -> None:
    wire.socket.shutdown(socket.SHUT_WR)


def reset(wire: Wire) -> None:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()


WAYS: Final[tuple[Callable[[Wire], None], ...]] = (closed, half_closed, reset)
ROADS: Final = ("fast", "sdk")
LARGE: Final = post(b" " * 100_000)[:-1]


@pytest.fixture(scope="module", params=["plain", "tls"])
def door(
    request: pytest.FixtureRequest, valkey: EmbeddedValkey, sample: SampleLogin
) -> Iterator[tuple[Process, ssl.SSLContext | None]]:
    """A server, and what its clients need to trust it."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    settings, trusting = {"statement_timeout": "100"}, None
    with tempfile.TemporaryDirectory() as folder:
        if request.param == "tls":
            files = dict(zip(("tls_cert", "tls_key"), certificate(), strict=True))
            trusting = ssl.create_default_context(cadata=files["tls_cert"].decode())
            for name, pem in files.items():
                (Path(folder) / name).write_bytes(pem)
                settings[name] = str(Path(folder) / name)
        with running(valkey.url, settings, ready=False) as process:
            registered = post(call_of("register_tenant", **fields_of("acme", sample)))
            eventually(lambda: b'"registered"' in asked(process, trusting, registered), "it never served")
            yield process, trusting
            log = process.log.read_text()
            assert "Traceback" not in log
            assert '"level":"error"' not in log, "a client that leaves is no error of the server's"


def asked(server: Process, trusting: ssl.SSLContext | None, request: bytes) -> bytes:
    try:
        with Wire(server.port, tls=trusting) as wire:
            return wire.send(request).answer().body
    except (ConnectionError, ssl.SSLError, AssertionError):
        return b""


def asleep(query: str, road: str, padding: int = 0) -> bytes:
    message = json.loads(call_of("execute_query", tenant_id="acme", query=query))
    if road == "sdk":
        message["params"]["_meta"] = {"progressToken": 1}
    body = json.dumps(message).encode() + b" " * padding
    return post(body, STREAMED) if road == "sdk" else post(body)


@pytest.mark.parametrize(
    ("at_once", "later", "padding"),
    [
        pytest.param(b"", b"", 0, id="after a call"),
        pytest.param(GET * 2, b"", 0, id="with more requests behind it in the same packet"),
        pytest.param(b"", GET, 0, id="with another request that came later"),
        pytest.param(LARGE[:200], LARGE[200:], 0, id="with a part of a large request behind it"),
        pytest.param(b"", b"", 700_000, id="that came in many packets"),
    ],
)
def test_whoever_leaves_in_whatever_way_is_not_worked_for(
    door: tuple[Process, ssl.SSLContext | None], postgres: EmbeddedPostgres, at_once: bytes, later: bytes, padding: int
) -> None:
    server, trusting = door
    query = f"SELECT pg_sleep(93) /* {len(at_once)} {len(later)} {padding} */"
    with ExitStack() as stack:
        wires = [
            (leave, stack.enter_context(Wire(server.port, tls=trusting)).send(asleep(query, road, padding) + at_once))
            for leave, road in product(WAYS, ROADS)
        ]
        eventually(lambda: sleeping(postgres, query) == len(wires), "some never began")
        for _, wire in wires:
            wire.send(later)
        eventually(lambda: sleeping(postgres, query) == len(wires), "who is there is worked for")
        for leave, wire in wires:
            leave(wire)
        eventually(lambda: sleeping(postgres, query) == 0, "a query ran on for nobody")


def test_what_is_wrong_behind_an_answer_that_has_begun_is_not_told_in_the_middle_of_it(
    door: tuple[Process, ssl.SSLContext | None], postgres: EmbeddedPostgres
) -> None:
    server, trusting = door
    query = "SELECT pg_sleep(94)"
    with Wire(server.port, tls=trusting) as wire:
        wire.send(asleep(query, "sdk") + GET)
        eventually(lambda: sleeping(postgres, query) == 1, "the query never began")
        wire.read(1 << 16)
        wire.send(b"nonsense\r\n\r\n")
        told = wire.rest()
    assert (told.count(b"HTTP/1.1 "), told.count(b" 400 ")) == (1, 0), "an answer was written into another one"


async def test_whoever_leaves_while_it_begins_to_listen_takes_no_listeners_place_with_it(
    tmp_path: Path, redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url, key_file=key_file(tmp_path / "master.key", "one"))
    async with replica(settings) as running:
        entrance, toolbox, announcements = Entrance.of(settings), running.toolbox, running.beyond.announcements
        sdk = StreamableHttp(
            build_server(toolbox, caller_of, running.beyond), 1 << 20, ToolPermission(toolbox.tools, entrance.doorman)
        )
        front = Admission(sdk, entrance.authenticator, entrance.doorman)
        heard = 0
        async with sdk.run():
            for turns in range(40):
                heard += await listened(front, turns)
                assert announcements.listening == 0, f"who left {turns} turns of the loop after asking still listens"
    assert 0 < heard < 40, "some left before they listened, and some after"


async def listened(front: Admission, turns: int) -> bool:
    """Ask to listen, leave after so many turns of the loop; return whether the server had begun to answer."""
    left, sent = asyncio.Event(), list[Any]()

    async def receive() -> Any:  # noqa: ANN401 - ASGI
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        sent.append(message)

    head_, _, body = LISTEN.partition(b"\r\n\r\n")
    lines = (line.split(b": ", 1) for line in head_.split(b"\r\n")[1:])
    headers = [(name.lower(), value) for name, value in lines]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers, BODY: body, "query_string": b""}
    scope |= {"http_version": "1.1", "client": ("127.0.0.1", 2), "server": ("127.0.0.1", 1), "scheme": "http"}
    answering = asyncio.create_task(front({**scope, "state": {}, "root_path": ""}, receive, send))
    for _ in range(turns):
        await asyncio.sleep(0)
    left.set()
    await answering
    return bool(sent)
