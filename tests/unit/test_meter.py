"""The meter: what reaches the driver, however the network cuts it, and what does not."""

import asyncio
import struct
from typing import TYPE_CHECKING, cast

import pytest

from server.backlog import SLICE
from server.login_cost import ITERATIONS_AT_MOST
from server.meter import (
    LOGIN_BYTES,
    MESSAGE_BYTES,
    QUIET_MESSAGES,
    QUIET_ROWS,
    Meter,
)
from server.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


def header(kind: bytes, length: int) -> bytes:
    return kind + struct.pack(">i", length)


def salt(iterations: int) -> bytes:
    return message(b"R", struct.pack(">i", 11) + b"r=nonce,s=c2FsdA==,i=%d" % iterations)


class Driver(asyncio.Protocol):
    """Keeps what reaches it."""

    def __init__(self) -> None:
        self.told = b""

    def data_received(self, data: bytes) -> None:
        self.told += data
        if b"stumble" in data:
            raise BufferError


class Socket:
    """Knows whether it was cut, and whether it is to bring no more for now."""

    cut = False
    pauses = 0

    def abort(self) -> None:
        self.cut = True

    def is_closing(self) -> bool:
        return self.cut

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.pauses -= 1


class Line:
    """A meter between a socket and a driver."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.socket = Socket()
        self.meter = Meter(self.driver, cast("asyncio.Transport", self.socket))

    def send(self, data: bytes, piece: int | None = None) -> None:
        for start in range(0, len(data), piece or len(data)):
            self.meter.data_received(data[start : start + (piece or len(data))])


@pytest.fixture
def line() -> Line:
    return Line()


ANSWER = (
    message(b"R", struct.pack(">i", 0))
    + message(b"S", b"server_version\x0018\x00")
    + message(b"E", b"Mtext\x00\x00")
    + message(b"D", b"row")
    + message(b"n")
    + message(b"Z", b"I")
)


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 6, 7, 64, None])
def test_what_is_in_order_reaches_the_driver_whole_however_it_is_cut(line: Line, piece: int | None) -> None:
    line.send(ANSWER * 3, piece)
    assert line.driver.told == ANSWER * 3
    assert (line.meter.fault, line.socket.cut) == (None, False)


@pytest.mark.parametrize("piece", [1, 5, None])
@pytest.mark.parametrize(
    "bytes_", [b"\0" * 5, b"\0", b"HTTP/1.1 400 Bad Request", b"-ERR", b"SSH-2.0", b"\x15\x03\x01\x00\x02\x02\x46"]
)
@pytest.mark.parametrize("before", [b"", ANSWER])
def test_bytes_that_are_no_message_are_cut_off(line: Line, before: bytes, bytes_: bytes, piece: int | None) -> None:
    line.send(before + bytes_, piece)
    assert (line.meter.fault, line.socket.cut) == ("protocol", True)
    line.send(ANSWER)
    assert ANSWER not in line.driver.told.removeprefix(before)


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 1, 3, 2**31 - 1])
@pytest.mark.parametrize("kind", [b"R", b"D", b"Z", b"E"])
def test_a_length_that_no_message_has_is_cut_off(line: Line, kind: bytes, length: int) -> None:
    line.send(header(kind, length))
    assert line.meter.fault == "protocol"
    assert line.driver.told == b""


@pytest.mark.parametrize("piece", [1, 6, None])
@pytest.mark.parametrize("kind", [b"E", b"N", b"S", b"A", b"C"])
def test_a_text_that_does_not_end_within_its_message_is_cut_off(line: Line, kind: bytes, piece: int | None) -> None:
    line.send(message(kind, b"Mtext"), piece)
    assert line.meter.fault == "protocol"


@pytest.mark.parametrize("kind", [b"D", b"E", b"N"])
def test_what_postgres_may_make_too_large_is_told_apart_and_never_read(line: Line, kind: bytes) -> None:
    line.send(header(kind, MESSAGE_BYTES + 1))
    assert line.meter.fault == "size"
    assert line.driver.told == b""


def test_a_row_may_be_as_large_as_allowed_and_no_larger(line: Line) -> None:
    line.meter.allow(1 << 20, row=100)
    line.send(message(b"D", b"x" * 96))
    assert line.driver.told
    line.send(message(b"D", b"x" * 97))
    assert (line.meter.fault, line.socket.cut) == ("size", True)


def test_too_many_bytes_are_cut_off_until_more_are_allowed(line: Line) -> None:
    notice = message(b"N", b"x" * 1000 + b"\0")
    line.send(notice * (LOGIN_BYTES // len(notice)))
    line.meter.allow(len(notice))
    line.send(notice)
    assert line.meter.fault is None
    line.send(notice)
    assert line.meter.fault == "amount"


@pytest.mark.parametrize("piece", [1, 3, 8, 17, None])
def test_rows_beyond_what_is_kept_are_left_out_and_nothing_else_is(line: Line, piece: int | None) -> None:
    first, second = message(b"D", b"first"), message(b"D", b"second")
    line.meter.allow(1 << 20, rows=len(first) * 2)
    line.send(first * 2 + second + message(b"N", b"\0") + second * 2 + ANSWER[:9] + second + message(b"Z", b"I"), piece)
    assert line.driver.told == first * 2 + message(b"N", b"\0") + ANSWER[:9] + message(b"Z", b"I")
    assert line.meter.dropped
    line.meter.allow(1 << 20)
    line.send(second, piece)
    assert line.driver.told.endswith(second)
    assert not line.meter.dropped


@pytest.mark.parametrize("piece", [1, 10, None])
def test_a_server_that_asks_for_a_day_of_hashing_is_cut_off(line: Line, piece: int | None) -> None:
    line.send(salt(4096) + salt(ITERATIONS_AT_MOST), piece)
    assert line.meter.fault is None
    assert line.driver.told == salt(4096) + salt(ITERATIONS_AT_MOST)
    line.send(salt(2**31 - 1), piece)
    assert line.meter.fault == "protocol"


def test_a_driver_that_stumbles_over_a_message_loses_its_connection(line: Line) -> None:
    line.send(message(b"T", b"stumble"))
    assert (line.meter.fault, line.socket.cut) == ("protocol", True)


ROW = message(b"D", b"\0\0")


@pytest.mark.parametrize("piece", [1, 10, None])
def test_a_server_that_sends_more_rows_than_were_asked_for_is_cut_off(line: Line, piece: int | None) -> None:
    line.meter.allow(1 << 20, due=64)
    line.send(ROW * 64 + message(b"s"), piece)
    assert not line.socket.cut
    line.send(ROW)
    assert (line.meter.fault, line.socket.cut) == ("protocol", True)


def test_what_is_left_of_a_fetch_may_still_come_after_it_was_given_up(line: Line) -> None:
    line.meter.allow(1 << 24, due=50_000)
    line.meter.allow(1 << 24)
    line.send(ROW * (50_000 + QUIET_ROWS))
    assert line.meter.fault is None
    line.send(ROW)
    assert line.meter.fault == "protocol"


def test_a_flood_of_the_smallest_messages_is_cut_off_long_before_its_bytes_are_too_many(line: Line) -> None:
    line.meter.allow(1 << 24)
    line.send(message(b"n") * QUIET_MESSAGES)
    assert line.meter.fault is None
    line.send(message(b"n"))
    assert line.meter.fault == "amount"


class Desk:
    """A meter that takes turns, on a clock and a timer of the test's."""

    def __init__(self) -> None:
        self.line = Line()
        self.clock = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.turns = Turns(lambda seconds, call: self.due.append((self.clock + seconds, call)), lambda: self.clock)
        self.line.meter.take_turns(self.turns, "acme")

    def go_on(self) -> None:
        at, call = self.due.pop(0)
        self.clock = max(self.clock, at)
        call()


def test_many_bytes_at_once_reach_the_driver_in_slices_with_the_socket_paused_until_they_have() -> None:
    desk = Desk()
    sent = message(b"N", b"x" * (SLICE - 10) + b"\0") * 5
    desk.line.send(sent)
    assert desk.line.driver.told == b""
    for number in range(1, 6):
        assert desk.line.socket.pauses == 1
        desk.go_on()
        assert len(desk.line.driver.told) >= min(len(sent), number * (SLICE - 5))
    assert desk.line.driver.told == sent
    assert desk.line.socket.pauses == 0
    desk.line.send(ANSWER)
    assert desk.line.driver.told == sent + ANSWER, "few bytes of a tenant that read little are read at once"


def test_what_was_put_off_is_forgotten_with_its_connection() -> None:
    desk = Desk()
    desk.line.send(message(b"N", b"x" * SLICE + b"\0") * 3)
    desk.line.meter.connection_lost(None)
    desk.go_on()
    assert desk.line.driver.told == b""
    assert desk.due == []


def test_what_is_out_of_order_ends_what_was_put_off() -> None:
    desk = Desk()
    desk.line.send(b"\0" * (3 * SLICE))
    desk.go_on()
    assert (desk.line.meter.fault, desk.line.socket.cut) == ("protocol", True)
    assert desk.due == []
