"""The front alone: what leaves it when something behind it breaks, and what its crowd does when it is full."""

import asyncio
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from server.admission import Admission, Doorman, caller_of
from server.authentication import Everybody
from server.challenge import Challenge
from server.crowd import Crowd
from server.http_front import Front, Outside
from server.http_intake import BODY, Intake, Limits
from server.http_names import LOOPBACK, Names
from server.mcp_server import StreamableHttp, build_server
from server.refusals import HttpTally
from server.tool_permission import ToolPermission
from server.toolbox import Answer, Arguments, Call, Toolbox

SECRET = "hunter2-in-an-exception"


async def broken(_scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401 - ASGI
    raise RuntimeError(SECRET)


async def broken_late(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError(SECRET)


class Exchange:
    """One request, and what was sent for it."""

    def __init__(self, path: str = "/mcp", body: bytes = b"{}") -> None:
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"x-request-id", b"the-id")]
        target = {"method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
        ends = {"scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2)}
        self.scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "headers": headers, "state": {}}
        self.scope |= target | ends
        self.sent: list[dict[str, Any]] = []
        self._coming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> dict[str, Any]:
        if not self._coming:
            await asyncio.Event().wait()
        return self._coming.pop()

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI
        self.sent.append(message)

    @property
    def told(self) -> Any:  # noqa: ANN401 - any JSON
        return msgspec.json.decode(self.sent[1]["body"])


def front(mcp: Any, pages: Any = broken) -> Front:  # noqa: ANN401 - ASGI
    return Front(mcp, pages, frozenset({"/mcp"}), frozenset({"/livez"}), Outside(Names(LOOPBACK, []), HttpTally()))


@pytest.mark.parametrize("path", ["/mcp", "/livez"])
async def test_what_breaks_behind_it_is_told_by_the_requests_id_alone_and_its_text_goes_to_the_log(path: str) -> None:
    exchange = Exchange(path)
    with capture_logs() as lines:
        await front(broken)(exchange.scope, exchange.receive, exchange.send)
    assert exchange.sent[0]["status"] == 500
    assert (b"x-request-id", b"the-id") in exchange.sent[0]["headers"]
    message = exchange.told["error"]["message"] if path == "/mcp" else exchange.told["error"]
    assert "the-id" in message
    assert SECRET not in str(exchange.sent)
    assert [line["event"] for line in lines] == ["request broke", "request"]


class Broken(Toolbox):
    """A toolbox whose one tool's error escapes it, which none should."""

    def __init__(self) -> None:
        super().__init__(())

    async def call(self, name: str, arguments: Arguments, call: Call) -> Answer:
        raise RuntimeError(f"{SECRET} {name} {arguments} {call}")


@pytest.mark.parametrize("revision", [b"2025-11-25", b"2026-07-28"])
async def test_an_error_that_escapes_the_tools_tells_the_client_nothing_of_itself(revision: bytes) -> None:
    doorman = Doorman(Challenge(None, None), 1)
    endpoint = StreamableHttp(build_server(Broken(), caller_of), 10_000, ToolPermission({}, doorman))
    intake = Intake(endpoint, Limits(max_body=10_000, seconds=1, max_requests=1), HttpTally())
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": revision.decode(),
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    call = {"name": "list_tables", "arguments": {}, "_meta": meta}
    exchange = Exchange(body=msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}))
    exchange.scope["headers"] += [
        *((b"mcp-protocol-version", revision), (b"mcp-method", b"tools/call")),
        *((b"mcp-name", b"list_tables"), (b"accept", b"*/*")),
    ]
    with capture_logs() as lines:
        async with endpoint.run():
            await front(Admission(intake, Everybody(), doorman))(exchange.scope, exchange.receive, exchange.send)
    assert exchange.told["error"]["code"] == -32603
    assert "broke in the server" in exchange.told["error"]["message"]
    assert SECRET not in str(exchange.sent)
    assert "call broke" in [line["event"] for line in lines]


async def test_an_answer_that_breaks_in_the_middle_is_left_to_be_cut_off() -> None:
    exchange = Exchange()
    with capture_logs(), pytest.raises(RuntimeError):
        await front(broken_late)(exchange.scope, exchange.receive, exchange.send)
    assert len(exchange.sent) == 1


async def test_a_place_among_the_requests_in_flight_is_given_back_however_one_ends() -> None:
    tally = HttpTally()
    intake = Intake(broken, Limits(max_body=100, seconds=1, max_requests=1), tally)
    for _ in range(3):
        exchange = Exchange()
        with pytest.raises(RuntimeError):
            await intake(exchange.scope, exchange.receive, exchange.send)
    started, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401 - ASGI
        assert scope[BODY] == b"{}"
        started.set()
        await go.wait()

    intake = Intake(slow, Limits(max_body=100, seconds=1, max_requests=1), tally)
    first, second = Exchange(), Exchange()
    running = asyncio.create_task(intake(first.scope, first.receive, first.send))
    await started.wait()
    assert tally.running == 1
    await intake(second.scope, second.receive, second.send)
    assert second.sent[0]["status"] == 503
    running.cancel()
    await asyncio.wait([running])
    assert (tally.running, tally.refused["busy"]) == (0, 1)


class Slow(Exchange):
    """A request of somebody, whose body comes in two parts: half of what a body may have, and the rest when it may."""

    def __init__(self, caller: str, rest: asyncio.Event) -> None:
        super().__init__()
        self.scope["caller"] = caller
        self._rest = rest
        self._parts = [b" " * 50, b"{}"]

    async def receive(self) -> dict[str, Any]:
        if len(self._parts) == 1:
            await self._rest.wait()
        part = self._parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}


async def test_whose_bodies_arrive_slowly_has_no_more_of_them_held_than_they_leave_to_others() -> None:
    async def fine(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        await send({"type": "http.response.start", "status": 200, "headers": []})

    limits = Limits(max_body=100, seconds=30, max_requests=4)
    intake = Intake(fine, limits, HttpTally(), lambda scope: str(scope["caller"]))
    rest = asyncio.Event()
    greedy, other = [Slow("greedy", rest) for _ in range(20)], Slow("other", rest)
    tasks = []
    for each in (*greedy, other):
        tasks.append(asyncio.create_task(intake(each.scope, each.receive, each.send)))
        await asyncio.sleep(0)
    rest.set()
    await asyncio.wait(tasks)

    assert other.sent[0]["status"] == 200
    assert [each.sent[0]["status"] for each in greedy] == [200] * 5 + [503] * 15


class Somebody:
    dropped = False

    def drop(self) -> None:
        self.dropped = True


def test_when_it_is_crowded_the_longest_idle_goes_and_nobody_who_waits_for_an_answer() -> None:
    tally = HttpTally()
    crowd = Crowd(3, tally)
    waiting, idle, later, newcomer, last = (Somebody() for _ in range(5))
    assert all(crowd.enter(each) for each in (waiting, idle, later))
    crowd.wait(waiting)
    assert crowd.enter(newcomer)
    assert [each.dropped for each in (waiting, idle, later, newcomer)] == [False, True, False, False]
    assert not crowd.leave(idle)
    for each in (later, newcomer):
        crowd.wait(each)
    assert not crowd.enter(last)
    crowd.rest(waiting)
    assert crowd.enter(last)
    assert waiting.dropped
    crowd.rest(waiting)
    assert (tally.clients, tally.refused["too_many_clients"]) == (3, 2)
    assert crowd.leave(newcomer)
    assert tally.clients == 2
