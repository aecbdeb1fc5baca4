"""How answers leave: head and body together where both are there, and else as uvicorn sends them."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from server.http_send import Cycle

HEAD = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json\r\n"


class Wire(asyncio.Transport):
    """Keeps what each system call would send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False
        self.full: Callable[[], None] = lambda: None

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        if data:
            self.sent.append(bytes(data))
            self.full()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Exchange:
    """One request at uvicorn's side."""

    def __init__(self, method: str = "POST", *, keep_alive: bool = True) -> None:
        self.wire = Wire()
        self.answered = 0
        scope: Any = {"type": "http", "method": method, "path": "/", "http_version": "1.1", "headers": []}
        self.cycle = Cycle(
            scope=scope,
            transport=self.wire,
            flow=FlowControl(self.wire),
            logger=logging.getLogger("test"),
            access_logger=logging.getLogger("test"),
            access_log=False,
            default_headers=[(b"date", b"today")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._answer,
        )

    async def answer(self, *messages: dict[str, Any]) -> None:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
            for message in messages:
                await send(message)

        answering: Any = app
        await self.cycle.run_asgi(answering)

    def _answer(self) -> None:
        self.answered += 1


def start(length: int | None, *more: tuple[bytes, bytes]) -> dict[str, Any]:
    told = [] if length is None else [(b"content-length", b"%d" % length)]
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), *told, *more],
    }


def head(length: int) -> bytes:
    """Return the head of a plain answer: what varies comes first."""
    return b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n" % length


def body(text: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text, "more_body": more}


async def test_head_and_body_leave_together_and_the_next_request_may_come() -> None:
    exchange = Exchange()
    await exchange.answer(start(2), body(b"{}"))
    assert exchange.wire.sent == [head(2) + b"{}"]
    assert (exchange.answered, exchange.wire.closed) == (1, False)


async def test_a_client_that_does_not_read_its_answer_holds_no_place_among_the_requests_in_flight() -> None:
    """Else a few clients that ask for large answers and take them slowly would keep everybody else out."""
    exchange = Exchange()
    exchange.wire.full = exchange.cycle.flow.pause_writing
    answering = asyncio.create_task(exchange.answer(start(7), body(b"a whole")))
    for _ in range(3):
        await asyncio.sleep(0)
    assert answering.done()
    assert exchange.answered == 1


async def test_a_body_in_parts_leaves_part_by_part() -> None:
    exchange = Exchange()
    await exchange.answer(start(3), body(b"a", more=True), body(b"bc"))
    assert exchange.wire.sent == [head(3) + b"a", b"bc"]
    assert exchange.answered == 1


async def test_an_answer_of_no_known_length_leaves_as_uvicorn_sends_it() -> None:
    exchange = Exchange()
    await exchange.answer(start(None), body(b"a", more=True), body(b""))
    assert b"".join(exchange.wire.sent) == HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    assert exchange.answered == 1


@pytest.mark.parametrize("ending", [Exchange(keep_alive=False), Exchange()], ids=["client's wish", "ours"])
async def test_an_answer_that_is_the_last_says_so_and_ends_the_connection(ending: Exchange) -> None:
    more = [(b"connection", b"close")] if ending.cycle.keep_alive else []
    await ending.answer(start(2, *more), body(b"{}"))
    assert b"connection: close\r\n" in b"".join(ending.wire.sent)
    assert ending.wire.closed


async def test_a_head_is_asked_for_alone() -> None:
    exchange = Exchange("HEAD")
    await exchange.answer(start(2), body(b"{}"))
    assert b"".join(exchange.wire.sent) == HEAD + b"content-length: 2\r\n\r\n"


@pytest.mark.parametrize("told", [b"{", b"{}}"], ids=["shorter", "longer"])
async def test_a_body_that_is_not_as_long_as_its_head_says_is_cut_off(told: bytes) -> None:
    exchange = Exchange()
    await exchange.answer(start(2), body(told))
    assert exchange.wire.sent == []
    assert exchange.wire.closed


async def test_an_answer_that_breaks_after_its_head_is_cut_off() -> None:
    exchange = Exchange()
    await exchange.answer(start(2), {"type": "http.response.start"})
    assert exchange.wire.closed


@pytest.mark.parametrize("line", [(b"x-request-id", b"a\r\nx: y"), (b"x-a", b"a\nb"), (b"x a", b"b"), (b"x:", b"b")])
async def test_nothing_can_be_smuggled_into_a_head(line: tuple[bytes, bytes]) -> None:
    exchange = Exchange()
    await exchange.answer(start(2, line), body(b"{}"))
    assert b"".join(exchange.wire.sent).startswith(b"HTTP/1.1 500 ")
    assert line[1] not in b"".join(exchange.wire.sent)


async def test_nothing_is_sent_to_a_client_that_has_left() -> None:
    exchange = Exchange()
    exchange.cycle.disconnected = True
    await exchange.answer(start(2), body(b"{}"))
    assert exchange.wire.sent == []


async def test_a_body_that_is_there_is_told_at_once_and_once() -> None:
    exchange, told = Exchange(), list[Any]()
    exchange.cycle.body, exchange.cycle.more_body = bytearray(b"{}"), False

    async def app(_scope: Any, receive: Any, _send: Any) -> None:  # noqa: ANN401 - ASGI
        told.append(await receive())
        asyncio.get_running_loop().call_soon(leave)
        told.append(await receive())

    def leave() -> None:
        exchange.cycle.disconnected = True
        exchange.cycle.message_event.set()

    answering: Any = app
    await exchange.cycle.run_asgi(answering)
    assert told == [{"type": "http.request", "body": b"{}", "more_body": False}, {"type": "http.disconnect"}]


async def test_a_body_that_comes_in_two_parts_is_told_in_two_and_no_third() -> None:
    exchange, told = Exchange(), list[Any]()
    cycle = exchange.cycle

    def come(part: bytes, *, more: bool) -> None:
        cycle.body += part
        cycle.more_body = more
        cycle.message_event.set()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:  # noqa: ANN401 - ASGI
        come(b"a", more=True)
        told.append((await receive())["body"])
        come(b"b", more=False)
        told.append((await receive())["body"])
        cycle.disconnected = True
        cycle.message_event.set()
        told.append((await receive())["type"])

    answering: Any = app
    await cycle.run_asgi(answering)
    assert told == [b"a", b"b", "http.disconnect"]
