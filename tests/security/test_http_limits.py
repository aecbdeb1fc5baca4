"""Clients that want to exhaust the server: by size, by number, by slowness. Each server here is a real process."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx2
import pytest
import redis
from mcp import Client
from mcp.shared.exceptions import MCPError

from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from tests.processes import Process, eventually, fields_of
from tests.security.raw_http import GET, LIST_TOOLS, Wire, call_of, head, post, refused, running

MAX_BODY = 65_536
MAX_REQUESTS = 3
MAX_CLIENTS = 20
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def server(valkey: EmbeddedValkey, sample: SampleLogin) -> Iterator[Process]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    limits = {
        "body_timeout": "1",
        "max_body_bytes": str(MAX_BODY),
        "max_requests": str(MAX_REQUESTS),
        "max_clients": str(MAX_CLIENTS),
        "max_result_bytes": str(32 << 20),
        "max_rows": "100000",
    }
    with running(valkey.url, limits) as process:
        process.call("register_tenant", **fields_of("acme", sample))
        yield process
        assert process.popen.poll() is None
        assert "Traceback" not in process.log.read_text()


def query(sql: str) -> bytes:
    return call_of("execute_query", tenant_id="acme", query=sql)


def serves(server: Process) -> bool:
    with Wire(server.port) as wire:
        return wire.send(post()).answer().status == 200


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        pytest.param(head("/livez", "X: " + "x" * 40_000, method="GET"), 431, id="one long line"),
        pytest.param(head("/livez", *(f"X-{n}: y" for n in range(150)), method="GET"), 431, id="many lines"),
        pytest.param(head("/livez", "X" * 40_000 + ": y", method="GET"), 431, id="a long name"),
        pytest.param(head("/" + "x" * 9_000, method="GET"), 414, id="a long path"),
        pytest.param(head("/livez?" + "x" * 9_000, method="GET"), 414, id="a long query"),
    ],
)
def test_a_head_that_is_too_large_is_refused_whole_or_in_pieces(
    server: Process, request_head: bytes, status: int
) -> None:
    with Wire(server.port) as whole:
        told = whole.send(request_head).answer()
        assert (told.status, told.headers["connection"]) == (status, "close")
        assert told.headers["content-type"] == "application/json"
    with Wire(server.port) as pieces:
        for start in range(0, len(request_head) - 100, 4_000):
            try:
                pieces.send(request_head[start : start + 4_000])
            except (BrokenPipeError, ConnectionResetError):
                break
        assert b"HTTP/1.1 200" not in pieces.rest()
    assert serves(server)


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(head("/mcp", JSON)[:-2] + b"X: ", id="a line that never ends"),
        pytest.param(head("/mcp", JSON, "Transfer-Encoding: chunked") + b"1;x=", id="a chunk's extension"),
        pytest.param(head("/mcp", JSON, "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\nX: ", id="a trailer"),
        pytest.param(b"GET /", id="a path"),
    ],
)
def test_what_never_ends_is_cut_off_before_it_fills_memory(server: Process, endless: bytes) -> None:
    sent = 0
    with Wire(server.port) as wire:
        wire.send(endless)
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 64 << 20:
                sent += wire.socket.send(b"x" * 65_536)
    assert sent < 64 << 20
    assert serves(server)


def test_trailers_cannot_change_a_head_that_was_checked(server: Process) -> None:
    chunked = head("/mcp", JSON, "Transfer-Encoding: chunked")
    body = b"%x\r\n%s\r\n0\r\nHost: evil.example\r\nX-Request-Id: smuggled\r\nOrigin: null\r\n\r\n" % (
        len(LIST_TOOLS),
        LIST_TOOLS,
    )
    with Wire(server.port) as wire:
        told = wire.send(chunked + body).answer()
        assert told.status == 200
        assert told.headers["x-request-id"] != "smuggled"


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**15])
def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(server: Process, length: int) -> None:
    with Wire(server.port) as wire:
        told = wire.send(head("/mcp", JSON, f"Content-Length: {length}", "Expect: 100-continue")).answer()
        assert told.status == 413
        assert str(MAX_BODY) in told.json["error"]["message"]


def test_a_body_that_turns_out_too_large_is_refused_and_its_rest_is_not_kept(server: Process) -> None:
    with Wire(server.port) as wire:
        wire.send(head("/mcp", JSON, "Transfer-Encoding: chunked"))
        for _ in range(40):
            wire.send(b"1000\r\n" + b" " * 4096 + b"\r\n")
        assert wire.answer().status == 413
        wire.send(b"0\r\n\r\n" + GET)
        assert wire.answer().status == 200


def test_whoever_stops_in_the_middle_of_a_body_that_was_refused_is_not_waited_for(server: Process) -> None:
    with Wire(server.port) as wire:
        wire.send(head("/mcp", JSON, f"Content-Length: {MAX_BODY + 100}"))
        assert wire.answer().status == 413
        wire.send(b"x" * 50)
        assert wire.rest() == b""
    assert refused(server, "rest_late") >= 1


@pytest.mark.parametrize(
    "framing",
    [
        *("Content-Length: -1", "Content-Length: 1e3", "Content-Length: 0x10", "Content-Length: " + "9" * 40),
        *("Content-Length: 1\r\nContent-Length: 2", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        *(
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: xchunked",
            "Content-Length : 5",
            "Content-Length: 1, 1",
        ),
    ],
)
def test_a_body_whose_end_could_be_seen_in_two_ways_is_refused(server: Process, framing: str) -> None:
    with Wire(server.port) as wire:
        wire.send(head("/mcp", JSON, *framing.split("\r\n")) + b"0\r\n\r\n")
        assert wire.answer().status == 400
        assert wire.rest() == b""


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n\r\n", GET + b"\r\n", b"GET", GET + b"POST /mcp HTTP/1.1\r\nHo", b"\x16\x03\x01\x02"]
)
def test_a_connection_that_says_no_more_is_closed(server: Process, sent: bytes) -> None:
    with Wire(server.port) as wire:
        told = wire.send(sent).rest()
        assert told.count(b"HTTP/1.1 200") == sent.count(b"livez")


def test_a_few_requests_sent_together_are_answered_in_order(server: Process) -> None:
    with Wire(server.port) as wire:
        wire.send(b"".join(post(LIST_TOOLS.replace(b'"id":1', b'"id":%d' % number)) for number in range(5)))
        assert [wire.answer().json["id"] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_flood_of_requests_on_one_connection_is_cut_off(server: Process) -> None:
    before = refused(server, "pipelined")
    with Wire(server.port) as wire:
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send(GET * 20_000)
        assert wire.rest().count(b"HTTP/1.1 200") < 20_000
    assert refused(server, "pipelined") == before + 1
    assert serves(server)


def test_clients_that_only_connect_keep_nobody_out(server: Process) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MAX_CLIENTS):
            stack.enter_context(Wire(server.port)).send(b"POST /mcp HT")
        assert all(serves(server) for _ in range(10))
    assert refused(server, "too_many_clients") >= 2 * MAX_CLIENTS


def test_slow_bodies_hold_no_place_among_the_requests_in_flight(server: Process) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MAX_REQUESTS):
            stack.enter_context(Wire(server.port)).send(post()[:-1])
        assert all(serves(server) for _ in range(5))


def test_large_bodies_that_arrive_together_are_bounded_together(server: Process) -> None:
    before = refused(server, "bodies_full")
    with ExitStack() as stack:
        for _ in range(2 * MAX_REQUESTS):
            wire = stack.enter_context(Wire(server.port))
            wire.send(head("/mcp", JSON, f"Content-Length: {MAX_BODY}") + b" " * (MAX_BODY - 1))
        eventually(lambda: refused(server, "bodies_full") > before, "all of them were held")
    assert serves(server)


async def test_too_many_requests_at_once_are_told_to_come_back_and_health_goes_on(server: Process) -> None:
    sleep = post(query("SELECT pg_sleep(20)"))
    before = refused(server, "busy")
    with ExitStack() as stack:
        waiting = [stack.enter_context(Wire(server.port)).send(sleep) for _ in range(MAX_REQUESTS)]
        eventually(lambda: not serves(server), "there is no bound")
        with Wire(server.port) as wire:
            told = wire.send(post()).answer()
            assert (told.status, told.headers["retry-after"]) == (503, "1")
            assert told.json["error"]["data"] == {"retryable": True, "retry_after": 1}
            for path in ("/livez", "/readyz", "/metrics"):
                assert wire.send(head(path, method="GET")).answer().status == 200
        assert refused(server, "busy") >= before + 2
        in_flight = pytest.RaisesExc(MCPError, match="in flight")
        with pytest.RaisesGroup(in_flight, flatten_subgroups=True):
            async with Client(server.url) as client:
                await client.list_tools()
        for wire in waiting:
            wire.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: serves(server), "places were not given back")


def test_an_answer_that_nobody_reads_is_not_kept_for_ever(server: Process) -> None:
    before = refused(server, "answer_not_taken")
    with Wire(server.port, receive_buffer=4096) as wire:
        wire.send(post(query("SELECT repeat('x', 1000000) FROM generate_series(1, 24)")))
        eventually(lambda: refused(server, "answer_not_taken") > before, "the answer is still held")
        taken = len(wire.rest())
    assert taken < 24_000_000
    assert serves(server)


def test_an_answer_that_is_read_slowly_arrives_whole(server: Process) -> None:
    with Wire(server.port, receive_buffer=65_536) as wire:
        wire.send(post(query("SELECT repeat('x', 1000000) FROM generate_series(1, 8)")))
        taken = 0
        while taken < 800_000:  # two seconds, twice the server's patience
            time.sleep(0.1)
            taken += len(wire.read(40_000))
        assert len(wire.answer().body) > 16_000_000


def test_every_answer_says_that_browsers_should_keep_their_hands_off_and_not_what_serves_it(server: Process) -> None:
    requests = {
        200: [GET, post(), head("/metrics", method="GET"), head("/readyz", method="GET")],
        400: [b"nonsense\r\n\r\n", head("/livez", method="GET", host="a@b"), post(b"{")],
        404: [head("/nowhere", method="GET")],
        405: [head("/mcp", method="GET"), head("/livez", method="DELETE")],
        415: [head("/mcp", "Content-Length: 0")],
        421: [head("/mcp", host="evil.example")],
    }
    for status, each in ((status, each) for status, all_of in requests.items() for each in all_of):
        with Wire(server.port) as wire:
            told = wire.send(each).answer()
        assert told.status == status, each
        assert told.headers["x-content-type-options"] == "nosniff"
        assert told.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert told.headers["referrer-policy"] == "no-referrer"
        assert told.headers["cache-control"] == "no-store, no-transform"
        assert not {"server", "x-powered-by", "strict-transport-security"} & set(told.headers)


def test_a_stream_is_not_to_be_stored_either(server: Process) -> None:
    streamed = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {"progressToken": 1}}}
    ).encode()
    told = httpx2.post(
        server.url,
        content=streamed,
        headers={"Content-Type": "application/json", "Accept": "application/json, text/event-stream"},
    )
    assert told.headers["content-type"].startswith("text/event-stream")
    assert "no-store" in told.headers["cache-control"]
