"""JSON-RPC bodies as an attacker would write them: each is answered in JSON, with no more than it may be told.

A real server answers. What is drawn is fixed (derandomised); `pytest -s` tells how many bodies were tried.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis
from hypothesis import HealthCheck, given, settings, strategies as st

from server.embedded.valkey import EmbeddedValkey
from tests.processes import Process
from tests.security.raw_http import LIST_TOOLS, Answer, Wire, head, running

EXAMPLES: Final = 600
CALL: Final = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "get_tenant", "arguments": {"tenant_id": "nobody"}, "_meta": {"progressToken": 3}},
}
SANE: Final = {200, 202, 400, 404, 406, 413, 415}
TALKATIVE: Final = (
    b"Traceback",
    b'.py", line',
    b"site-packages",
    b"0x7f",
    b" object at 0x",
    b"RecursionError",
    b"pydantic",
)


def events_of(body: bytes) -> list[Any]:
    return [
        json.loads(line.removeprefix("data: ")) for line in body.decode().splitlines() if line.startswith("data: {")
    ]


class Tried:
    """A server under fire, and what it was sent."""

    def __init__(self, server: Process) -> None:
        self.server = server
        self.wire = Wire(server.port)
        self.count = 0
        self.statuses: dict[int, int] = {}

    def send(self, body: bytes, *lines: str) -> Answer:
        """Send a body; check what no answer may fail in."""
        given = lines or ("Content-Type: application/json",)
        told = self.wire.send(head("/mcp", f"Content-Length: {len(body)}", *given) + body).answer()
        self.count += 1
        self.statuses[told.status] = self.statuses.get(told.status, 0) + 1
        assert told.status in SANE, (body[:500], told)
        if told.status == 202:  # a notification has no answer
            assert told.body in {b"", b"null"}, (body[:500], told)
        elif told.headers["content-type"].startswith("text/event-stream"):
            assert all(isinstance(event, dict) for event in events_of(told.body)), (body[:500], told)
        else:
            answers = told.json if body.lstrip().startswith(b"[") and told.status == 200 else [told.json]
            assert all(isinstance(answer, dict) for answer in answers), (body[:500], told)
        assert not any(word in told.body for word in TALKATIVE), (body[:500], told.body[:2000])
        return told

    def still_serves(self) -> None:
        assert self.send(LIST_TOOLS).status == 200


@pytest.fixture(scope="module")
def tried(valkey: EmbeddedValkey) -> Iterator[Tried]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with running(valkey.url, {}) as process:
        tried = Tried(process)
        yield tried
        tried.wire.socket.close()
        assert process.popen.poll() is None
        log = process.log.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") - 1500 :][:4000]
        print(f"\n{tried.count} bodies tried; answers by status: {dict(sorted(tried.statuses.items()))}")  # noqa: T201


def nested(opening: str, closing: str, depth: int, inside: str = "") -> bytes:
    return (opening * depth + inside + closing * depth).encode()


def in_arguments(text: str) -> bytes:
    """Put a piece of JSON where a tool's arguments are."""
    return json.dumps(CALL).replace('"nobody"', text).encode()


def in_params(text: str) -> bytes:
    return json.dumps({**CALL, "params": "HERE"}).replace('"HERE"', text).encode()


DEEP: Final = [
    *(nested("[", "]", depth) for depth in (129, 500, 1_000, 100_000)),
    *(nested('{"a":', "}", depth, "1") for depth in (129, 1_000, 100_000)),
    *(nested('[{"a":', "}]", depth, "1") for depth in (65, 50_000)),
    *(place(nested("[", "]", 100_000).decode()) for place in (in_arguments, in_params)),
    b"[" * 1_000_000,
    b'{"a":' * 200_000,
    b'"\\"[",' + b"[" * 200_000,
    b'\\"' + b"[" * 200_000,
]


@pytest.mark.parametrize("number", range(len(DEEP)))
def test_a_body_that_nests_too_deep_is_refused_before_anything_recurses(tried: Tried, number: int) -> None:
    told = tried.send(DEEP[number])
    assert (told.status, told.json["error"]["code"]) == (400, -32700)
    assert "128" in told.json["error"]["message"]
    tried.still_serves()


def test_brackets_in_strings_are_no_nesting(tried: Tried) -> None:
    for text in ("[" * 5000, '\\"[{' * 500, "\\\\" * 3 + "[" * 500, "\\u005b[" * 300):
        told = tried.send(in_arguments(f'"{text}"'))
        assert told.status == 200, text
        assert told.json["result"]["isError"], text


ODD: Final = {
    "a number of a million digits": in_arguments("9" * 1_000_000),
    "the same as an id": json.dumps({**CALL, "id": "HERE"}).replace('"HERE"', "9" * 900_000).encode(),
    "an id that no double holds": b'{"jsonrpc":"2.0","id":1e999,"method":"tools/list"}',
    "a fraction as an id": b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}',
    "no id": b'{"jsonrpc":"2.0","method":"tools/list"}',
    "null as an id": b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
    "true as an id": b'{"jsonrpc":"2.0","id":true,"method":"tools/list"}',
    "NaN": in_arguments("NaN"),
    "Infinity": in_arguments("-Infinity"),
    "an exponent without end": in_arguments("1e" + "9" * 1000),
    "a lone surrogate": in_arguments('"\\ud800"'),
    "a surrogate as a method": b'{"jsonrpc":"2.0","id":1,"method":"\\udfff"}',
    "a surrogate as an id": b'{"jsonrpc":"2.0","id":"\\ud800","method":"tools/list"}',
    "a surrogate as a key": in_params('{"\\ud800":1,"name":"get_tenant"}'),
    "a surrogate as a tool": in_params('{"name":"\\ud800","arguments":{}}'),
    "a null character": in_arguments('"a\\u0000b"'),
    "no UTF-8": in_arguments('"\x80"').replace(b"\\u0080", b"\xff\xfe").replace(b"\xc2\x80", b"\xff"),
    "an overlong encoding": b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(CALL).encode(),
    "UTF-16": json.dumps(CALL).encode("utf-16"),
    "UTF-32": json.dumps(CALL).encode("utf-32-be"),
    "nothing": b"",
    "spaces": b" " * 1000,
    "null": b"null",
    "a number": b"1",
    "a string": b'"tools/list"',
    "two objects": LIST_TOOLS * 2,
    "an empty batch": b"[]",
    "a batch": b"[" + b",".join([LIST_TOOLS] * 3) + b"]",
    "a large batch": b"[" + b",".join([LIST_TOOLS] * 5000) + b"]",
    "an answer": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "an error": b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
    "a name twice": b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x","method":"tools/list"}',
    "arguments twice": in_params('{"name":"get_tenant","arguments":{"tenant_id":"a"},"arguments":{"tenant_id":"b"}}'),
    "many keys": in_params("{" + ",".join(f'"k{number}":1' for number in range(50_000)) + ',"name":"get_tenant"}'),
    "keys that collide": in_params("{" + ",".join(f'"{number * (2**61 - 1)}":1' for number in range(20_000)) + "}"),
    "a key without end": in_params('{"' + "k" * 900_000 + '":1,"name":"get_tenant"}'),
    "params as a list": in_params("[1,2]"),
    "params as a number": in_params("5"),
    "arguments as a list": in_params('{"name":"get_tenant","arguments":[1]}'),
    "arguments as a string": in_params('{"name":"get_tenant","arguments":"x"}'),
    "a name that is none": in_params('{"name":{"a":1},"arguments":{}}'),
    "another version": b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
    "a progress token that is none": in_params('{"name":"get_tenant","arguments":{},"_meta":{"progressToken":{}}}'),
    "a method of the machinery": b'{"jsonrpc":"2.0","id":1,"method":"__class__"}',
    "initialize with nonsense": b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":{}}}',
    "a log level": b'{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}',
    "a cancellation": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}',
}
HEADS: Final = {
    "plain": ("Content-Type: application/json",),
    "a stream": ("Content-Type: application/json", "Accept: application/json, text/event-stream"),
    "2026": (
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: get_tenant",
    ),
}


@pytest.mark.parametrize("how", ["plain", "2026"])
@pytest.mark.parametrize("what", ODD)
def test_an_odd_body_is_answered_and_the_next_call_works(tried: Tried, what: str, how: str) -> None:
    tried.send(ODD[what], *HEADS[how])
    tried.still_serves()


@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "application/jsonp", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("", "json", "application", "application/json, text/plain", "text/plain; application/json", "\xff"),
    ],
)
def test_a_body_that_is_not_said_to_be_json_is_not_read_as_such(tried: Tried, kind: str) -> None:
    assert tried.send(LIST_TOOLS, f"Content-Type: {kind}").status == 415


def test_a_body_that_is_said_to_be_two_things_is_neither(tried: Tried) -> None:
    assert tried.send(LIST_TOOLS, "Content-Type: application/json", "Content-Type: text/plain").status == 415
    assert tried.send(LIST_TOOLS).status == 200
    assert tried.send(LIST_TOOLS, "Content-Type: Application/JSON; charset=utf-8").status == 200


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/xml", ",", ";;;"])
@pytest.mark.parametrize("how", ["plain", "2026"])
def test_a_client_that_reads_no_json_is_told_so_in_json(tried: Tried, accept: str, how: str) -> None:
    lines = [line for line in HEADS[how] if not line.startswith("Accept")]
    assert tried.send(LIST_TOOLS, *lines, f"Accept: {accept}").status in {200, 406}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_refused_and_told_which_one_is_served(tried: Tried, method: str) -> None:
    with Wire(tried.server.port) as wire:
        told = wire.send(head("/mcp", "Content-Length: 0", method=method)).answer()
    assert (told.status, told.headers["allow"]) == (405, "POST")
    assert "error" in told.json


WORDS: Final = st.sampled_from(
    [
        *("jsonrpc", "id", "method", "params", "name", "arguments", "_meta", "progressToken", "tenant_id", "2.0"),
        *("tools/call", "tools/list", "initialize", "ping", "get_tenant", "list_tenants", "registry_status", "result"),
        *(
            "server/discover",
            "resources/list",
            "completion/complete",
            "notifications/initialized",
            "subscriptions/listen",
        ),
    ]
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | WORDS, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def changed_calls(draw: st.DrawFn) -> bytes:
    """Draw a valid call in which some places hold something else, or that lost or gained a place."""
    call: Any = json.loads(json.dumps(CALL))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = call, draw(st.sampled_from(sorted(call)))
        while isinstance(holder[key], dict) and holder[key] and draw(st.booleans()):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder, key=str)))
        match draw(st.integers(0, 2)):
            case 0:
                holder[key] = draw(VALUES)
            case 1 if len(call) > 1:
                del holder[key]
            case _:
                holder[draw(WORDS)] = draw(VALUES)
    return json.dumps(call).encode()


@st.composite
def damaged_texts(draw: st.DrawFn) -> bytes:
    """Draw a call's text in which some bytes are others, twice there, or gone."""
    text = bytearray(draw(changed_calls()))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        piece = draw(
            st.binary(max_size=4) | st.sampled_from([b"[", b"{", b'"', b"\\", b"\\u", b",", b":", b"1e9", b"\x00"])
        )
        text[start : start + draw(st.integers(0, 5))] = piece
    return bytes(text)


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(body=changed_calls() | damaged_texts(), how=st.sampled_from(sorted(HEADS)))
def test_whatever_is_changed_in_a_call_the_answer_is_json_and_the_server_goes_on(
    tried: Tried, body: bytes, how: str
) -> None:
    tried.send(body, *HEADS[how])
    tried.still_serves()
