"""What begins and ends a call goes around the driver's own message, and the driver sees none of it."""

import asyncio
import struct
from typing import cast

import pytest

from server.asides import Aside, Line, Pattern, query, steps_of
from server.meter import Meter

SYNC = b"S\0\0\0\4"
PARSE, BIND = b"P....", b"B....E...." + SYNC


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


def ready(status: bytes) -> bytes:
    return message(b"Z", status)


BEGUN = b"".join(message(b"1") + message(b"2") + message(b"C", tag) for tag in (b"BEGIN\0", b"SET\0"))
ROWS = message(b"2") + message(b"D", b"a row") + message(b"D", b"another") + message(b"C", b"SELECT 2\0")
ENDED = (
    message(b"C", b"ROLLBACK\0") + message(b"T", b"\0\2columns") + message(b"D", b"\0\2") + message(b"C", b"RESET\0")
)
TIME_ZONE = message(b"S", b"TimeZone\0UTC\0")
NOTICE = message(b"N", b"SWARNING\0\0")
REFUSED = message(b"E", b"SERROR\0\0")
BEGIN = steps_of(["BEGIN", "SET LOCAL x = 1"])
PIECES = [1, 2, 3, 5, 6, 7, 11, 30, None]


class Driver(asyncio.Protocol):
    """Keeps what reaches it."""

    def __init__(self) -> None:
        self.told = b""

    def data_received(self, data: bytes) -> None:
        self.told += data


class Socket:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.may_end = False

    def write(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def abort(self) -> None:
        assert self.may_end, "cut off"


class Session:
    """A driver on a metered line, and calls on it."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.socket = Socket()
        self.meter = Meter(self.driver)
        self.meter.connection_made(cast("asyncio.Transport", self.socket))
        assert self.meter.line is not None
        self.line: Line = self.meter.line
        self.openings = Pattern()

    def call(self, message: bytes = BIND) -> tuple[Aside, Aside]:
        """Send the driver's message with an aside on either side."""
        begin = Aside(BEGIN, self.openings, steps=2)
        end = Aside(query("ROLLBACK"), self.line.closings)
        self.line.enclose(begin, end)
        self.line.write(memoryview(message))
        return begin, end

    def answer(self, data: bytes, piece: int | None = None) -> bytes:
        """Have it come in pieces; return what the driver sees."""
        self.driver.told = b""
        for start in range(0, len(data), piece or len(data)):
            self.meter.data_received(data[start : start + (piece or len(data))])
        return self.driver.told


@pytest.fixture
def session() -> Session:
    return Session()


def test_they_leave_in_one_packet_with_the_drivers_message_and_only_once(session: Session) -> None:
    session.call()
    session.line.write(b"next")
    assert session.socket.sent == [BEGIN + BIND + query("ROLLBACK"), b"next"]


def test_the_last_waits_for_the_message_that_the_server_answers(session: Session) -> None:
    begin, end = session.call(PARSE)
    assert (begin.sent, end.sent) == (True, False)
    session.line.write(BIND)
    assert session.socket.sent == [BEGIN + PARSE, BIND + query("ROLLBACK")]


def test_nothing_is_sent_that_was_taken_back(session: Session) -> None:
    begin = Aside(BEGIN, session.openings, steps=2)
    session.line.enclose(begin, None)
    session.line.enclose(None, None)
    session.line.write(BIND)
    assert session.socket.sent == [BIND]
    assert not begin.sent


@pytest.mark.parametrize("piece", PIECES)
def test_the_driver_sees_its_own_answer_with_the_end_of_the_last_however_it_is_cut(
    session: Session, piece: int | None
) -> None:
    for _ in range(3):  # from the second time on it is known at a glance what comes
        begin, end = session.call()
        assert session.answer(BEGUN + ROWS + ready(b"T") + ENDED + ready(b"I"), piece) == ROWS + ready(b"I")
        assert (begin.done, begin.refused, end.done, end.refused) == (True, False, True, False)
    assert session.answer(ROWS + ready(b"I"), piece) == ROWS + ready(b"I"), "what was not enclosed passes"


@pytest.mark.parametrize("piece", PIECES)
def test_what_may_come_at_any_time_reaches_the_driver_out_of_an_aside(session: Session, piece: int | None) -> None:
    for _ in range(2):
        _, end = session.call()
        told = session.answer(NOTICE + BEGUN + ROWS + ready(b"T") + TIME_ZONE + ENDED + NOTICE + ready(b"I"), piece)
        assert told == NOTICE + ROWS + TIME_ZONE + NOTICE + ready(b"I")
        assert not end.refused


@pytest.mark.parametrize("piece", PIECES)
def test_one_that_differs_from_what_is_known_is_still_taken_out(session: Session, piece: int | None) -> None:
    session.call()
    session.answer(BEGUN + ROWS + ready(b"T") + ENDED + ready(b"I"))
    _, end = session.call()
    another = message(b"C", b"ROLLBACK\0") + message(b"C", b"DEALLOCATE\0")
    assert session.answer(BEGUN + ROWS + ready(b"T") + another + ready(b"I"), piece) == ROWS + ready(b"I")
    assert not end.refused


@pytest.mark.parametrize("piece", PIECES)
def test_an_error_in_the_drivers_answer_is_its_own(session: Session, piece: int | None) -> None:
    begin, end = session.call()
    assert session.answer(BEGUN + REFUSED + ready(b"E") + ENDED + ready(b"I"), piece) == REFUSED + ready(b"I")
    assert not begin.refused
    assert not end.refused


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("ran", [0, 1, 2, 3, 4, 5])
def test_a_server_that_does_not_begin_is_noticed_and_its_error_is_what_answers_the_driver(
    session: Session, ran: int, piece: int | None
) -> None:
    for _ in range(2):
        begin, end = session.call()
        said = b"".join([message(b"1"), message(b"2"), message(b"C", b"BEGIN\0"), message(b"1"), message(b"2")][:ran])
        assert session.answer(said + REFUSED + ready(b"E") + ENDED + ready(b"I"), piece) == REFUSED + ready(b"I")
        assert (begin.done, begin.refused) == (True, True)
        assert (end.done, end.refused) == (True, False)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("ran", [0, 3, 5])
def test_a_server_that_leaves_out_some_of_what_begins_is_cut_off(session: Session, ran: int, piece: int | None) -> None:
    session.socket.may_end = True
    begin, _ = session.call()
    said = b"".join([message(b"1"), message(b"2"), message(b"C", b"BEGIN\0"), message(b"1"), message(b"2")][:ran])
    assert session.answer(said + ready(b"I"), piece) == b""
    assert session.meter.fault == "protocol"
    assert begin.refused


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("ended", [ENDED + ready(b"T"), ENDED + ready(b"E"), REFUSED + ready(b"I")])
def test_a_session_that_is_not_clean_is_noticed(session: Session, ended: bytes, piece: int | None) -> None:
    for _ in range(2):
        _, end = session.call()
        session.answer(BEGUN + ROWS + ready(b"T") + ended, piece)
        assert (end.done, end.refused) == (True, True)


async def test_whoever_waits_for_a_connection_that_breaks_is_told() -> None:
    whole = BEGUN + ROWS + ready(b"T") + ENDED
    told = [await told_of_a_break_after(whole[:come]) for come in range(1, len(whole))]
    assert told == [(True, True)] * len(told)


async def told_of_a_break_after(come: bytes) -> tuple[bool, bool]:
    """Return whether the last aside is done and refused when the connection breaks behind these bytes."""
    session = Session()
    _, end = session.call()
    session.answer(come)
    waiting = asyncio.ensure_future(end.wait())
    await asyncio.sleep(0)
    session.meter.connection_lost(None)
    await waiting
    return end.done, end.refused


async def test_a_wait_that_was_cancelled_can_be_taken_up_again(session: Session) -> None:
    _, end = session.call()
    waiting = asyncio.ensure_future(end.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    again = asyncio.ensure_future(end.wait())
    await asyncio.sleep(0)
    session.answer(BEGUN + ROWS + ready(b"T") + ENDED + ready(b"I"))
    await again
    assert not end.refused


def test_an_answer_of_another_session_is_told_and_not_known_at_a_glance(session: Session) -> None:
    for number, elsewhere in ((b"7", False), (b"8", True), (b"7", False), (b"8", True)):
        session.line.enclose(None, end := Aside(query("who"), session.line.closings, holding=b"7"))
        session.line.write(BIND)
        session.answer(ROWS + ready(b"T") + message(b"D", number) + ready(b"I"))
        assert (end.refused, end.elsewhere) == (False, elsewhere)
