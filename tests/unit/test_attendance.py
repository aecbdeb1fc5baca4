"""A client's side of a call: one who leaves is not worked for, one who waits long is shown life, most see neither."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server import attendance, presence
from server.attendance import Attendance
from server.departure import ClientLeft
from server.presence import Presence


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what begins after a while begin at once."""
    monkeypatch.setattr(presence, "GRACE", 0.0)
    monkeypatch.setattr(attendance, "ALIVE_EVERY", 0.001)


class Client:
    """Takes what is sent, and leaves when it is told to."""

    def __init__(self) -> None:
        self.presence = Presence(asyncio.get_running_loop(), 0.001)
        self.sent: list[dict[str, Any]] = []
        self.heard = asyncio.Event()

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI
        self.sent.append(message)
        if b": ping" in message.get("body", b""):
            self.heard.set()

    def attended(self, *, streams: bool = False) -> Attendance:
        return Attendance(self.presence, self.send, streams=streams)


async def until_cancelled(ended: list[str], *, stubborn: bool = False) -> bytes:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ended.append("cancelled")
        if not stubborn:
            raise
    return b"{}"


async def test_a_short_call_is_answered_as_json_and_leaves_nothing_running() -> None:
    client, before = Client(), asyncio.all_tasks()

    async def work() -> bytes:
        return b"{}"

    attended = client.attended(streams=True)
    await attended.answer(await attended.while_there(work()))
    await asyncio.sleep(0.01)
    assert client.sent[0]["headers"] == [(b"content-type", b"application/json"), (b"content-length", b"2")]
    assert client.sent[1:] == [{"type": "http.response.body", "body": b"{}"}]
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("stubborn", [False, True])
async def test_the_call_of_a_client_that_leaves_is_cancelled_and_its_task_may_go_on(stubborn: bool) -> None:  # noqa: FBT001 - a case
    client, ended = Client(), list[str]()
    asyncio.get_running_loop().call_later(0.01, client.presence.leave)
    with pytest.raises(ClientLeft):
        await client.attended().while_there(until_cancelled(ended, stubborn=stubborn))
    await asyncio.sleep(0)  # a cancellation that was left behind would show here
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert ended == ["cancelled"]


async def test_a_call_that_is_nearly_done_when_its_client_leaves_is_not_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To stop it would cost Postgres more than to let it end."""
    monkeypatch.setattr(presence, "GRACE", 60.0)
    client = Client()

    async def work() -> bytes:
        client.presence.leave()
        await asyncio.sleep(0.001)
        return b"{}"

    assert await client.attended().while_there(work()) == b"{}"


async def test_who_works_for_a_client_that_has_left_already_is_told_so() -> None:
    client, ended = Client(), list[str]()
    client.presence.leave()
    with pytest.raises(ClientLeft):
        await client.attended().while_there(until_cancelled(ended))
    assert ended == ["cancelled"]


async def test_a_server_that_stops_cancels_calls_also_of_clients_that_stay() -> None:
    client, ended, before = Client(), list[str](), asyncio.all_tasks()
    call = asyncio.create_task(client.attended(streams=True).while_there(until_cancelled(ended)))
    await client.heard.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0)
    assert ended == ["cancelled"]
    assert asyncio.all_tasks() == before


async def test_a_client_that_leaves_while_the_server_stops_does_not_keep_it_from_stopping() -> None:
    client, ended = Client(), list[str]()
    call = asyncio.create_task(client.attended().while_there(until_cancelled(ended)))
    await asyncio.sleep(0.01)
    client.presence.leave()
    call.cancel()
    with pytest.raises((asyncio.CancelledError, ClientLeft)):
        await call
    assert ended == ["cancelled"]


async def patient(client: Client, *, streams: bool, work: Callable[[], Awaitable[bytes]]) -> list[dict[str, Any]]:
    attended = client.attended(streams=streams)
    await attended.answer(await attended.while_there(work()))
    return client.sent


async def test_a_long_call_begins_its_answer_as_a_stream_that_shows_life_and_ends_with_the_answer() -> None:
    client = Client()

    async def work() -> bytes:
        await client.heard.wait()
        return b'{"id":1}'

    start, *parts = await patient(client, streams=True, work=work)
    assert (b"content-type", b"text/event-stream") in start["headers"]
    assert all(part["body"] == b": ping\r\n\r\n" and part["more_body"] for part in parts[:-1])
    assert parts[-1] == {"type": "http.response.body", "body": b'event: message\r\ndata: {"id":1}\r\n\r\n'}


async def test_a_long_call_of_a_client_that_takes_no_stream_is_answered_as_json() -> None:
    client = Client()

    async def work() -> bytes:
        await asyncio.sleep(0.02)
        return b"{}"

    start, body = await patient(client, streams=False, work=work)
    assert (b"content-type", b"application/json") in start["headers"]
    assert body["body"] == b"{}"


async def test_a_call_that_ends_as_its_stream_is_to_begin_is_answered_once() -> None:
    """However the two fall together, there is one start and one end."""
    for steps in range(12):
        client = Client()

        async def work(steps: int = steps) -> bytes:
            await asyncio.sleep(0.001)
            for _ in range(steps):
                await asyncio.sleep(0)
            return b"{}"

        sent = await patient(client, streams=True, work=work)
        assert [message["type"] for message in sent].count("http.response.start") == 1
        assert sent[0]["type"] == "http.response.start"
        assert b"{}" in sent[-1]["body"]
        assert not sent[-1].get("more_body", False)
