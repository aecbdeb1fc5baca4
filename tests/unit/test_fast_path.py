"""The parts of the fast path: what it takes for right, what it remembers, and how it tells numbers."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mcp.shared.inbound import (
    MCP_PARAM_HEADER_PREFIX,
    encode_header_value,
    find_invalid_x_mcp_header,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types import version
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from server import revisions
from server.envelopes import Envelopes, Verdict
from server.fast_head import Head, mirrored_of, mirrors
from server.mcp_envelopes import SdkJudge
from server.mcp_server import build_server
from server.principal import Principal
from server.sdk_road import SdkRoad
from server.toolbox import Toolbox
from server.wide_numbers import tamed, values_of
from tests.tables import table
from tests.tools import TOOLBOX

ENVELOPE = "io.modelcontextprotocol/"
STATELESS: dict[str, Any] = {
    f"{ENVELOPE}protocolVersion": "2026-07-28",
    f"{ENVELOPE}clientInfo": {"name": "test", "version": "1"},
    f"{ENVELOPE}clientCapabilities": {},
}


def test_the_revisions_are_those_that_the_sdk_speaks() -> None:
    assert {each.decode() for each in revisions.HANDSHAKE} == set(version.HANDSHAKE_PROTOCOL_VERSIONS)
    assert (revisions.STATELESS.decode(),) == tuple(version.MODERN_PROTOCOL_VERSIONS)


@table("name", TOOLBOX.tools)
def test_the_headers_that_repeat_arguments_are_those_that_the_sdk_compares(name: str) -> None:
    tool = TOOLBOX.tools[name]
    assert find_invalid_x_mcp_header(tool.input_schema) is None
    compared = x_mcp_header_map(tool.input_schema)
    named = {field: f"{MCP_PARAM_HEADER_PREFIX}{header}".lower().encode() for (field,), header in compared.items()}
    assert mirrored_of(tool) == named


VALUES = st.one_of(st.text(max_size=6), st.sampled_from(["acme", "caf\u00e9", "=?base64?YWNtZQ==?=", " a", "1", ""]))


def with_a_header(value: object) -> st.SearchStrategy[tuple[object, bytes | None]]:
    """Draw a header that may be meant for the value, however it is written."""
    text = str(value)
    written = [text.encode(), encode_header_value(text).encode(), text.encode("latin-1", "replace"), b"acme", None]
    return st.tuples(st.just(value), st.sampled_from(written))


@given(st.one_of(VALUES, st.none(), st.integers(), st.booleans()).flatmap(with_a_header))
def test_a_header_that_is_taken_for_its_argument_is_so_by_the_sdk_too(told: tuple[object, bytes | None]) -> None:
    value, header = told
    tool = TOOLBOX.tools["get_tenant"]
    headers = {} if header is None else {b"mcp-param-tenant-id": header}
    names = {b"mcp-method": b"tools/call", b"mcp-name": b"get_tenant"}
    head, arguments = (
        Head({**headers, **names}, revisions.STATELESS, stateless=True, streams=False),
        {"tenant_id": value},
    )
    if mirrors(head, tool, mirrored_of(tool), arguments):
        read = {name.decode(): each.decode("latin-1") for name, each in headers.items()}
        assert validate_mcp_param_headers(tool.input_schema, arguments, read) is None


class Counting:
    """The SDK's judge, which counts what it is asked."""

    def __init__(self) -> None:
        self._judge = SdkJudge(build_server(Toolbox(()), lambda _scope: Principal("ann")))
        self.info = self._judge.info
        self.asked = 0

    def verdict(self, revision: str, meta: bytes) -> Verdict | None:
        self.asked += 1
        return self._judge.verdict(revision, meta)


def test_until_the_sdk_is_there_no_meta_is_known_to_be_right() -> None:
    assert Envelopes().verdict(b"2025-06-18", b"{}") is None


def test_a_meta_is_judged_once_for_each_revision_and_as_many_are_remembered_as_are_bounded() -> None:
    judge, envelopes = Counting(), Envelopes()
    envelopes.ask(judge)
    for _ in range(3):
        assert envelopes.verdict(b"2025-06-18", b'{"a":1}') == Verdict(elicits=False)
        assert envelopes.verdict(b"2025-11-25", b'{"a":1}') == Verdict(elicits=False)
    assert judge.asked == 2
    for number in range(2000):
        envelopes.verdict(b"2025-06-18", b'{"n":%d}' % number)
    assert len(envelopes._known) <= 256
    assert envelopes.verdict(b"2025-06-18", b'{"n":"%b"}' % (b"x" * 3000)) is None
    assert judge.asked == 2002


@table(
    ("more", "verdict"),
    [
        ({}, Verdict(elicits=False)),
        ({"traceparent": "00-1-2-01"}, Verdict(elicits=False)),
        ({f"{ENVELOPE}clientCapabilities": {"elicitation": {}}}, Verdict(elicits=True)),
        ({"progressToken": 1}, None),
        ({f"{ENVELOPE}logLevel": "debug"}, None),
        ({f"{ENVELOPE}clientInfo": {"name": 1}}, None),
        ({f"{ENVELOPE}protocolVersion": "2025-11-25"}, None),
        ({f"{ENVELOPE}clientCapabilities": []}, None),
    ],
)
def test_a_meta_goes_to_the_sdk_if_it_asks_for_more_than_the_call_or_is_wrong(
    more: dict[str, Any], verdict: Verdict | None
) -> None:
    assert Counting().verdict("2026-07-28", json.dumps({**STATELESS, **more}).encode()) == verdict


class Endpoint:
    """Answers with what it was asked, while it runs."""

    def __init__(self) -> None:
        self.open = False

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        self.open = True
        try:
            yield
        finally:
            self.open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        assert self.open
        await send(scope)


async def never() -> Any:  # noqa: ANN401 - it returns nothing
    await asyncio.Event().wait()


async def at_once() -> None:
    pass


async def unasked(_message: Message) -> None:
    raise AssertionError


@pytest.mark.parametrize("quiet", [at_once, never])
async def test_who_needs_the_sdk_before_it_is_there_waits_for_it_and_has_it_imported(
    quiet: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    endpoint, sent = Endpoint(), list[Any]()

    async def send(message: Message) -> None:
        sent.append(message)

    road = SdkRoad(lambda: endpoint, quiet)
    waiting = asyncio.create_task(road({"n": 1}, never, send))
    given_up = asyncio.create_task(road({"n": 2}, never, send))
    await asyncio.sleep(0)
    given_up.cancel()  # a client that leaves takes nothing from the others
    running = asyncio.create_task(road.run())
    await waiting
    await road({"n": 3}, never, send)
    assert sent == [{"n": 1}, {"n": 3}]
    running.cancel()
    await asyncio.wait([running])
    assert not endpoint.open


async def test_if_the_sdk_cannot_be_imported_the_log_has_the_cause_and_each_request_fails() -> None:
    def broken() -> Endpoint:
        raise ImportError("no such library")

    road = SdkRoad(broken, at_once)
    with capture_logs() as lines:
        await road.run()
    assert [line["event"] for line in lines] == ["the SDK cannot be used"]
    for _ in range(2):
        with pytest.raises(ImportError):
            await road({}, never, unasked)


NUMBERS = st.one_of(
    *(st.integers().map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr)),
    st.builds("{}e{}{}".format, st.integers(1, 10**9), st.sampled_from(["", "+", "-"]), st.integers(0, 999)),
    st.builds(lambda digit, count: str(digit) * count, st.integers(1, 9), st.integers(150, 1200)),
    st.builds(lambda count, exponent: f"{'9' * count}e{exponent}", st.integers(190, 320), st.integers(0, 120)),
)


@given(st.lists(NUMBERS, max_size=5), st.text(max_size=8))
def test_a_number_beyond_a_double_is_told_as_its_digits_and_every_other_as_it_stands(
    numbers: list[str], text: str
) -> None:
    payload = f'{{"numbers":[{",".join(numbers)}],"text":{json.dumps(text)}}}'.encode()
    told = json.loads(tamed(payload))
    assert told == values_of(payload)
    assert not [each for each in told["numbers"] if isinstance(each, float) and not math.isfinite(each)]
    if tamed(payload) != payload:
        assert any(isinstance(each, str) for each in told["numbers"])
