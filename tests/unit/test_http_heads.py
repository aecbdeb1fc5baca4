"""Heads that are not read again: what follows from one is told of no other, and outlives nothing it depends on."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import uvicorn
from hypothesis import given, strategies as st
from uvicorn.server import ServerState

from server.admission import Admission, Doorman, caller_of
from server.authentication import Authenticator, Bearers, Everybody
from server.challenge import Challenge
from server.crowd import Crowd
from server.deadline import Deadline
from server.fast_head import head_of
from server.http_bounds import Bounds
from server.http_forwarded import Forwarded
from server.http_front import Front, Outside
from server.http_heads import Heads, OfHead
from server.http_intake import BODY, Intake, Limits
from server.http_names import Names
from server.http_protocol import Impatient, impatient
from server.refusals import HttpTally
from server.token_file import watched_grants
from server.tokens import RANDOM_BYTES, line_of, token_of

TOKEN: Final = token_of(b"a" * RANDOM_BYTES)
OTHER: Final = token_of(b"b" * RANDOM_BYTES)
SLOW: Final = b'"slow"'
OWN_ID: Final = re.compile(rb"x-request-id: [0-9a-f]{32}")


class Wire(asyncio.Transport):
    """Takes what is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self.sent += bytes(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        return {"peername": ("127.0.0.1", 2), "sockname": ("127.0.0.1", 1)}.get(name, default)

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


class Connection:
    """One connection to the whole stack, whose endpoint tells what it was asked."""

    def __init__(self, protocol: Impatient) -> None:
        self.protocol = protocol
        self.wire = Wire()
        protocol.connection_made(self.wire)

    async def exchange(self, data: bytes) -> bytes:
        """Send anything, and return all that is answered."""
        self.wire.sent = b""
        if not self.wire.closed:
            self.protocol.data_received(data)
        await turns()
        return self.wire.sent

    async def send(self, request: bytes) -> tuple[int, Any]:
        """Send a request; return the status and the body of the answer."""
        head, _, body = (await self.exchange(request)).partition(b"\r\n\r\n")
        return int(head.split()[1]), msgspec.json.decode(body)

    async def is_read_again(self, request: bytes) -> bool:
        """Tell whether the parser is asked for the head of a request, which must then be answered."""
        before = self.protocol.headers
        assert (await self.send(request))[0] == 200
        return self.protocol.headers is not before


async def turns(number: int = 20) -> None:
    """Give the loop as many turns as requests may need."""
    for _ in range(number):
        await asyncio.sleep(0)


async def telling(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    """Answer with what the request seemed to be."""
    head = head_of(scope)
    if scope[BODY] == SLOW:
        await turns(5)
    told = {
        "scope": [scope[name] for name in ("method", "path", "query_string", "http_version", "client", "scheme")],
        "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        "body": scope[BODY].decode("latin-1"),
        "caller": caller_of(scope).subject,
        "revision": head and head.revision.decode(),
        "streams": head and head.streams,
    }
    body = msgspec.json.encode(told)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connections(authenticator: Authenticator | None = None) -> AsyncIterator[Callable[[], Connection]]:
    """Yield what makes connections to one server."""
    tally, made = HttpTally(), list[Connection]()
    intake = Intake(telling, Limits(max_body=50_000, seconds=9, max_requests=9), tally)
    admitted = Admission(intake, authenticator or Everybody(), Doorman(Challenge(None, None), 1))
    names = Names(["ours.example"], ["https://page.example"])
    front = Front(admitted, admitted, frozenset({"/mcp"}), frozenset(), Outside(names, tally))
    # No program starts uvicorn here: its configuration is all that the protocol needs.
    protocol: Any = impatient(Bounds(9, Crowd(9, tally), tally))
    app: Any = Forwarded(front, "127.0.0.1")
    config = uvicorn.Config(app, "127.0.0.1", interface="asgi3", http=protocol, log_config=None, proxy_headers=False)
    config.load()

    def make() -> Connection:
        made.append(Connection(protocol(config, ServerState(), {})))
        return made[-1]

    yield make
    for each in made:
        each.protocol.connection_lost(None)
    await turns()


def post(*lines: str, body: bytes = b"{}", host: str = "ours.example", target: str = "/mcp") -> bytes:
    head = [f"POST {target} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    return "\r\n".join([*head, *lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


async def test_a_head_that_comes_again_with_another_body_is_not_read_again() -> None:
    async with connections() as connect:
        connection = connect()
        assert await connection.is_read_again(post(body=b"{}"))
        assert not await connection.is_read_again(post(body=b'{"a":1}'))
        status, told = await connection.send(post(body=b" " * 12))
        assert (status, told["body"]) == (200, " " * 12)
        assert ["content-length", "12"] in told["headers"]


async def test_a_request_that_comes_within_the_body_of_another_is_no_request() -> None:
    async with connections() as connect:
        connection = connect()
        await connection.send(post())
        outer = post(body=post())
        assert await connection.exchange(outer[: -len(post())]) == b""
        status, told = await connection.send(post())
        assert (status, told["body"]) == (200, post().decode())
        assert connection.wire.sent.count(b"HTTP/1.1 ") == 1


async def test_a_request_that_comes_in_pieces_waits_for_the_last_and_two_at_once_are_two() -> None:
    async with connections() as connect:
        connection = connect()
        await connection.send(post())
        assert await connection.exchange(post()[:-1]) == b""
        assert (await connection.send(post()[-1:]))[1]["body"] == "{}"
        assert (await connection.exchange(post() + post(body=b"[]"))).count(b"HTTP/1.1 200") == 2
        assert (await connection.send(post(body=b"[1]")))[1]["body"] == "[1]"


@pytest.mark.parametrize("cut", [3, 20, 30, 40])
async def test_a_known_request_that_comes_behind_part_of_a_head_is_more_of_that_head(cut: int) -> None:
    """Else a proxy that passes heads on in pieces and this server would see two different requests."""
    async with connections() as connect:
        connection = connect()
        for _ in range(2):
            assert (await connection.send(post()))[0] == 200
        assert await connection.exchange(post()[:cut]) == b""
        assert not (await connection.exchange(post())).startswith(b"HTTP/1.1 200")


async def test_a_head_of_which_the_connection_ends_is_not_known_again() -> None:
    async with connections() as connect:
        connection = connect()
        answer = await connection.exchange(post("Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200")
        assert connection.wire.closed
        assert await connection.exchange(post("Connection: close")) == b""


async def test_a_request_that_comes_before_the_answer_to_another_is_answered_behind_it() -> None:
    async with connections() as connect:
        connection = connect()
        await connection.send(post())
        connection.protocol.data_received(post(body=SLOW))
        answers = await connection.exchange(post(body=b"[]"))
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.index(b"slow") < answers.index(b'"body":"[]"')


async def test_who_waits_to_be_told_to_go_on_is_told_each_time() -> None:
    async with connections() as connect:
        connection = connect()
        for _ in range(3):
            assert b"HTTP/1.1 100 " in await connection.exchange(post("Expect: 100-continue"))


@pytest.mark.parametrize(
    ("other", "status"),
    [
        pytest.param(post(host="evil.example"), 421, id="host"),
        pytest.param(post("Host: ours.example"), 400, id="a second host"),
        pytest.param(post("Origin: https://evil.example"), 403, id="origin"),
        pytest.param(post("Content-Type: text/plain"), 415, id="a second content type"),
        pytest.param(post().replace(b"application/json", b"application/jsom"), 415, id="content type"),
        pytest.param(post().replace(b"POST", b"PUSH"), 400, id="method"),
        pytest.param(post().replace(b"POST /mcp", b"PUT /mcp"), 405, id="another method"),
        pytest.param(post("Content-Length: 2"), 400, id="a second length"),
        pytest.param(post("Transfer-Encoding: chunked"), 400, id="another framing"),
        pytest.param(post(body=b"x" * 50_001), 413, id="a larger body"),
        pytest.param(post(body=b"[" * 200), 400, id="a deeper body"),
    ],
)
async def test_a_request_that_is_to_be_refused_is_refused_behind_any_number_of_good_ones(
    other: bytes, status: int
) -> None:
    async with connections() as connect:
        connection = connect()
        for _ in range(3):
            assert (await connection.send(post()))[0] == 200
        assert (await connection.send(other))[0] == status
        if not connection.wire.closed:
            assert (await connection.send(other))[0] == status
            assert (await connection.send(post()))[0] == 200


async def test_what_a_head_says_of_revision_streams_and_names_is_told_of_no_other_head() -> None:
    heads = {
        ("MCP-Protocol-Version: 2025-06-18", "Accept: application/json, text/event-stream"): ("2025-06-18", True),
        ("MCP-Protocol-Version: 2025-11-25", "Accept: application/json"): ("2025-11-25", False),
        ("Accept: text/event-stream",): (None, None),
        ("MCP-Protocol-Version: 1999-01-01",): (None, None),
        ("Accept: application/json", "Accept: application/json"): (None, None),
    }
    async with connections() as connect:
        connection = connect()
        for _ in range(3):
            for lines, expected in heads.items():
                told = (await connection.send(post(*lines)))[1]
                assert (told["revision"], told["streams"]) == expected


async def test_each_request_has_the_id_that_it_names_or_one_of_its_own() -> None:
    async with connections() as connect:
        connection = connect()

        async def answered_id(*lines: str) -> bytes:
            await connection.send(post(*lines))
            return connection.wire.sent.partition(b"x-request-id: ")[2].partition(b"\r\n")[0]

        assert [await answered_id(f"X-Request-Id: {name}") for name in "abba"] == [b"a", b"b", b"b", b"a"]
        assert len({await answered_id() for _ in range(5)}) == 5


async def test_a_page_of_ours_is_told_that_it_may_read_its_answers_and_nobody_else_is() -> None:
    async with connections() as connect:
        connection = connect()
        for lines in [("Origin: https://page.example",), (), ("Origin: https://page.example",), ()]:
            await connection.send(post(*lines))
            assert (b"access-control-allow-origin: https://page.example" in connection.wire.sent) is bool(lines)


async def test_the_address_that_a_proxy_tells_is_that_of_each_request() -> None:
    async with connections() as connect:
        connection = connect()
        for address in ["10.0.0.1", "10.0.0.2", "10.0.0.2", None, "10.0.0.1", None]:
            told = (await connection.send(post(*([f"X-Forwarded-For: {address}"] if address else []))))[1]
            assert told["scope"][4] == ([address, 0] if address else ["127.0.0.1", 2])
        told = (await connection.send(post("X-Forwarded-Proto: https")))[1]
        assert told["scope"][5] == "https"


async def test_a_token_is_judged_for_each_request_also_of_a_head_that_is_not_read_again(tmp_path: Path) -> None:
    now, expires = [1_000.0], datetime.fromtimestamp(2_000, UTC)
    file = tmp_path / "tokens.toml"
    lines = [
        line_of(TOKEN, "ann", "reader", ["*"], created=expires, expires=expires),
        line_of(OTHER, "ben", "reader", ["*"], created=expires),
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    grants = watched_grants(file)
    async with connections(Bearers(grants, None, lambda: now[0])) as connect:
        connection = connect()

        async def caller(token: str | None) -> object:
            status, told = await connection.send(post(*([f"Authorization: Bearer {token}"] if token else [])))
            return told["caller"] if status == 200 else status

        assert [await caller(each) for each in (TOKEN, TOKEN, OTHER, None, TOKEN)] == ["ann", "ann", "ben", 401, "ann"]
        now[0] = 2_000.0
        assert [await caller(each) for each in (TOKEN, OTHER)] == [401, "ben"]
        grants.current = {}  # as when it was taken out of the file
        assert await caller(OTHER) == 401


HEAD_LINES: Final = [
    *("Host: ours.example", "Host: evil.example", "host:ours.example", "Content-Type: application/json"),
    *("Content-Length: 2", "content-length:2", "Content-Length: 002", "Content-Length: 3", "Content-Length: 2 "),
    *("X: Content-Length: 2", "X-Content-Length: 2", "X: a\r\n Content-Length: 2", "Transfer-Encoding: chunked"),
    *("Connection: keep-alive", "Connection: close", "Upgrade: websocket", "Connection: upgrade", "X: \xe9"),
    *("Expect: 100-continue", "Content-Length: 2\nX: y", "Accept: */*", "Content-Length : 2", "Content-Length: +2"),
]
FIRST_LINES: Final = ["POST /mcp HTTP/1.1", "POST /mcp?a=b HTTP/1.1", "POST /%6dcp HTTP/1.1", "POST /mcp HTTP/1.0"]
BODIES: Final = [b"{}", b"{}\r\n", b"[]x", b"", b"\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"]


def like_a_request(first: str, lines: list[str], body: bytes) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + body


REQUESTS: Final = st.one_of(
    st.builds(
        like_a_request,
        st.sampled_from(FIRST_LINES),
        st.lists(st.sampled_from(HEAD_LINES), max_size=3).map(lambda more: [*HEAD_LINES[:1], *HEAD_LINES[3:5], *more]),
        st.sampled_from(BODIES),
    ),
    st.builds(
        like_a_request,
        st.sampled_from(FIRST_LINES),
        st.lists(st.sampled_from(HEAD_LINES), max_size=5),
        st.sampled_from(BODIES),
    ),
    st.sampled_from([b"\r\n", post(), post(body=b" {}"), post() + post(), post()[:-1], post()[:40], b"}"]),
)


@given(st.lists(REQUESTS, min_size=1, max_size=3), st.lists(st.integers(0, 2), min_size=2, max_size=8))
async def test_whatever_comes_it_is_answered_as_if_each_head_were_read(drawn: list[bytes], order: list[int]) -> None:
    async with connections() as connect:
        keeping, reading = connect(), connect()
        reading.protocol.__dict__["_heads"] = Forgetful()
        for number in order:
            request = drawn[number % len(drawn)]
            told = [OWN_ID.sub(b"", await each.exchange(request)) for each in (keeping, reading)]
            assert told[0] == told[1]
            assert keeping.wire.closed == reading.wire.closed


class Forgetful(Heads):
    """Keeps no head."""

    def again(self, data: bytes) -> None:  # noqa: ARG002 - whatever it is
        return None


def test_no_more_is_kept_than_a_few_heads_of_some_length() -> None:
    def scope_of(*lines: tuple[bytes, bytes]) -> dict[str, Any]:
        return {"method": "POST", "http_version": "1.1", "headers": [*lines, (b"content-length", b"2")]}

    heads = Heads()
    requests = [post(f"X: {number}") for number in range(20)]
    for request in requests:
        heads.keep(request, scope_of())
    assert [heads.again(request) is not None for request in requests] == [False] * 16 + [True] * 4
    long = post("X: " + "x" * 5_000)
    heads.keep(long, scope_of())
    assert heads.again(long) is None


def test_what_is_put_into_the_scope_of_one_request_is_not_in_that_of_the_next() -> None:
    heads, scope = Heads(), {"method": "POST", "http_version": "1.1", "headers": [(b"content-length", b"2")]}
    heads.keep(post(), scope)
    scope["caller"] = "ann"
    for _ in range(2):
        again = heads.again(post())
        assert again is not None
        assert "caller" not in again[0]
        again[0]["caller"] = "ben"
        again[0]["headers"].append((b"x", b"y"))
        assert len(scope["headers"]) == 1


def test_what_is_found_of_a_head_is_found_once_if_it_is_kept_and_else_anew() -> None:
    heads, scope = Heads(), {"method": "POST", "http_version": "1.1", "headers": [(b"content-length", b"2")]}
    looks = list[bytes]()
    found = OfHead(lambda scope: looks.append(scope["headers"]))
    for _ in range(2):
        found(scope)
    assert len(looks) == 2
    heads.keep(post(), scope)
    for body in (b"{}", b"[1]", b"{}"):
        again = heads.again(post(body=body))
        assert again is not None
        found(again[0])
    assert len(looks) == 3


async def test_a_deadline_that_is_put_off_is_missed_once_when_nothing_comes_any_more() -> None:
    loop, missed = asyncio.get_running_loop(), asyncio.Event()
    times = list[float]()

    def miss() -> None:
        times.append(loop.time())
        missed.set()

    deadline = Deadline(loop, 0.02, miss)
    for _ in range(5):
        deadline.set()
        await asyncio.sleep(0.005)
    last = loop.time() - 0.006  # the last `set` was before the last sleep, which may take longer
    deadline.set()
    await missed.wait()
    assert len(times) == 1
    assert times[0] > last
    assert not deadline.is_set


async def test_a_deadline_that_is_lifted_or_ended_is_not_missed() -> None:
    missed = list[int]()
    deadline = Deadline(asyncio.get_running_loop(), 0.001, lambda: missed.append(1))
    for end in (deadline.lift, deadline.end):
        deadline.set()
        end()
        await asyncio.sleep(0.005)
    assert missed == []
