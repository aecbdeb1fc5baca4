"""A client that waits long for what goes down the SDK's road is shown life, or a proxy closes its connection."""

import asyncio
import json
from typing import Any, Final

import msgspec
import pytest

from server import attendance
from server.admission import Admission, Doorman, caller_of
from server.authentication import Everybody
from server.challenge import Challenge
from server.http_intake import BODY
from server.mcp_server import StreamableHttp, build_server
from server.signs_of_life import signs_of_life
from server.tool_permission import ToolPermission
from server.toolbox import Call, Hints, Toolbox, tool

STREAMS: Final = b"application/json, text/event-stream"


class Nothing(msgspec.Struct, frozen=True):
    """Takes no arguments."""


class Waiting:
    """A tool that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    @tool(Hints(read_only=True), "tenants:read")
    async def wait(self, args: Nothing, call: Call) -> Nothing:  # noqa: ARG002 - a tool's arguments
        """Wait."""
        await self.go.wait()
        return Nothing()


class Client:
    """Sends one request, and hears the answer."""

    def __init__(self, message: object, revision: bytes, accept: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"accept", accept), (b"mcp-protocol-version", revision)]
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/mcp",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            BODY: json.dumps(message).encode(),
        }
        self.sent: list[dict[str, Any]] = []
        self.alive = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI
        self.sent.append(message)
        if message.get("body") == attendance.ALIVE:
            self.alive.set()

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.sent)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "ALIVE_EVERY", 0.002)


async def answered(client: Client, waiting: Waiting, *, until_alive: bool) -> None:
    doorman = Doorman(Challenge(None, None), 1)
    endpoint = StreamableHttp(build_server(Toolbox.of(waiting), caller_of), 10_000, ToolPermission({}, doorman))
    admitted = Admission(endpoint, Everybody(), doorman)
    async with endpoint.run():
        answering = asyncio.create_task(admitted(client.scope, client.receive, client.send))
        if until_alive:
            await client.alive.wait()
        else:
            await asyncio.sleep(0.01)
            assert client.sent == []
        waiting.go.set()
        await answering


def request(number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "wait", "arguments": {}}}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("revision", [b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"])
async def test_a_long_call_is_shown_life_in_every_revision_of_the_handshake(revision: bytes) -> None:
    client = Client(request(7), revision, STREAMS)
    await answered(client, Waiting(), until_alive=True)
    head, *rest = client.sent
    assert (head["status"], head["headers"]) == (200, attendance.STREAM)
    assert [each for each in client.sent if each["type"] == "http.response.start"] == [head]
    assert not rest[-1].get("more_body", False)
    comments, _, event = client.body.rpartition(attendance.ALIVE)
    assert comments.replace(attendance.ALIVE, b"") == b""
    kind, data = event.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert kind == b"event: message"
    told = json.loads(data.removeprefix(b"data: "))
    assert (told["id"], told["result"]["isError"]) == (7, False)


@pytest.mark.usefixtures("often")
async def test_a_long_batch_is_one_event_with_all_answers() -> None:
    client = Client([request(1), request(2)], b"2025-03-26", STREAMS)
    await answered(client, Waiting(), until_alive=True)
    told = json.loads(client.body.rpartition(b"data: ")[2])
    assert [each["id"] for each in told] == [1, 2]


@pytest.mark.usefixtures("often")
async def test_who_reads_no_streams_gets_json_however_long_it_takes() -> None:
    client = Client(request(7), b"2025-11-25", b"application/json")
    await answered(client, Waiting(), until_alive=False)
    assert client.sent[0]["status"] == 200
    assert json.loads(client.body)["id"] == 7


async def test_an_answer_that_comes_soon_is_json_for_those_too_who_read_streams() -> None:
    client = Client(request(7), b"2025-11-25", STREAMS)
    await answered(client, Waiting(), until_alive=False)
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"application/json"
    assert json.loads(client.body)["id"] == 7


@pytest.mark.usefixtures("often")
async def test_what_needs_no_answer_ends_a_stream_that_has_begun_without_an_event() -> None:
    client = Client(request(7), b"2025-11-25", STREAMS)
    async with signs_of_life(client.send) as send:
        await client.alive.wait()
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    assert client.body.replace(attendance.ALIVE, b"") == b""
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}
