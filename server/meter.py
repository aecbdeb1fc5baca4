"""What stands between a tenant's server and the driver: every message is looked at before the driver believes it.

The driver trusts its server. A message of type zero sends it round in circles on the event loop, a length of zero has
it read what is not there, and it reads a whole step of rows before anybody sees one: sixty-four rows of a hundred
megabytes each would take the process. All of that would hit every other tenant's calls, so the server is not trusted.
And what is in order takes its time, too: it is handed on in slices, each when it is its tenant's turn
(`server/turns.py`, `backlog.py`).

Rules: no I/O but `abort`. What is wrong with a server ends its connection; `fault` then says what it was.
"""

import asyncio
import math
import struct
from typing import Any, Final, Literal, TypeAlias, cast

from asyncpg import Connection

from server.asides import Asides, Line
from server.backlog import SLICE, Backlog
from server.login_cost import is_bearable
from server.turns import Turns

LOGIN_BYTES: Final = 1 << 20
"""What a server may send until somebody allows more: a login takes less than a thousandth of it."""
MESSAGE_BYTES: Final = 1 << 20
"""The largest message that is not a row of a fetch."""
LOGIN_MESSAGES: Final = 10_000
QUIET_MESSAGES: Final = 100_000
"""What may come that is no row, until somebody allows more: the smallest messages cost the most a byte."""
QUIET_ROWS: Final = 10_000
"""Rows that may come when none were fetched: answers to the driver's own questions about types."""

Fault: TypeAlias = Literal["protocol", "size", "amount"]
"""Bytes that are not Postgres's protocol, a message that is too large, or too many messages that are not."""

_HEADER: Final = struct.Struct(">Bi")
_KINDS: Final = tuple(b"123ACDEGHIKNRSTVWZcdnstv")
_LENGTH_AT_LEAST: Final = 4
"""It counts itself."""
_MAY_BE_LARGE: Final = frozenset(b"DENT")
_LARGEST_OF_ALL: Final = 1 << 30
"""Postgres makes no larger message."""
_ENDS_IN_NULL: Final = frozenset(b"ACENS")
"""The driver looks for the end of their last string without regard to the end of the message."""
_ROW, _AUTHENTICATION, _ERROR, _READY, _COMPLETE = b"DREZC"
_BREAK: Final = frozenset(b"EZ")
"""What ends statements that run in one go before all of them have run; Postgres sends the first before the other."""
_DESCRIBES: Final = frozenset(b"tTn")
_UNASKED: Final = frozenset(b"ANS")
"""What comes at any time, and means the driver even in an answer that it does not see."""
_LOOKED_AT: Final = _ENDS_IN_NULL | {_AUTHENTICATION}
_AUTHENTICATION_BYTES: Final = 1 << 13


class Meter(asyncio.Protocol):
    """Reads along what a server sends, and cuts the connection when it is not Postgres's protocol or too much.

    Attributes:
        fault: Why it cut; the driver only reports a lost connection.
        dropped: Whether rows were left out since `allow`.
        rows: How many came since the connection was made.
        driver: What it guards.
        line: What the driver writes to; None if this was put before a driver that was connected already.
    """

    def __init__(self, driver: asyncio.Protocol, transport: asyncio.Transport | None = None) -> None:
        self.fault: Fault | None = None
        self.dropped = False
        self.rows = 0
        self.driver = driver
        self.line: Line | None = None
        self._transport = transport
        self._left: float = LOGIN_BYTES
        self._largest = dict.fromkeys(_KINDS, MESSAGE_BYTES) | {_AUTHENTICATION: _AUTHENTICATION_BYTES}
        self._rows_left: float = math.inf
        self._due = QUIET_ROWS
        self._others = LOGIN_MESSAGES
        self._backlog: Backlog | None = None
        # Where in a message the last piece ended: a header that was cut in two, or a body with so many bytes to come.
        self._held = b""
        self._rest = 0
        self._null_at_end = False
        self._skipping = False
        self._asides = Asides()

    def allow(self, size: float, *, row: int = MESSAGE_BYTES, rows: float = math.inf, due: int | None = None) -> None:
        """Set the limits from now on.

        Args:
            size: Bytes that may come.
            row: The largest row; a larger one is a fault, and never decoded.
            rows: Bytes of rows that reach the driver, which must be waiting for some; what comes beyond is left out.
            due: How many rows were asked for, and what was asked for before has come; without it, some may still come.
        """
        self._left, self._largest[_ROW], self._rows_left = size, row, rows
        self._due = max(self._due, 0) + QUIET_ROWS if due is None else due
        self._others = QUIET_MESSAGES
        self.dropped = False

    def take_turns(self, turns: Turns, tenant: str) -> None:
        """Read from now on only when it is the tenant's turn; the connection must have been made."""
        self._backlog = Backlog(turns, tenant, cast("asyncio.Transport", self._transport))

    async def breathe(self, begun: float) -> None:
        """Let others run, after work over what came that took since `begun` (`time.perf_counter`). May be cancelled."""
        if self._backlog is None:
            await asyncio.sleep(0)
            return
        turns, tenant = self._backlog.turns, self._backlog.tenant
        turns.spent(tenant, begun)
        await turns.turn(tenant)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it on."""
        self._transport = cast("asyncio.Transport", transport)
        self.line = Line(transport, self._asides)
        self.driver.connection_made(cast("asyncio.Transport", self.line))

    def data_received(self, data: bytes) -> None:
        """Hand on what is in order, now or when it is its turn, or cut."""
        backlog = self._backlog
        if backlog is None:
            self._take(data)
            return
        begun = None if backlog.slices or len(data) > SLICE else backlog.turns.begin(backlog.tenant)
        if begun is None:
            backlog.put(data, self._take)
        else:
            self._take(data)
            backlog.turns.spent(backlog.tenant, begun)

    def _take(self, data: bytes) -> bool:
        """Hand on what is in order, or cut; return whether it is in order so far."""
        if self.fault is not None:
            return False
        try:
            self._read(data)
        except _Refused as refusal:
            self.fault = refusal.fault
            if self._transport is not None:
                self._transport.abort()
            return False
        return True

    def eof_received(self) -> bool | None:
        """Hand it on."""
        return self.driver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        if self._backlog is not None:
            self._backlog.slices.clear()
        self._asides.lose()
        self.driver.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand it on."""
        self.driver.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self.driver.resume_writing()

    def _read(self, data: bytes) -> None:
        passed = self._pass(self._held + data)
        self._left -= len(data)
        if self._left < 0:
            raise _Refused("amount")
        if passed:
            try:
                self.driver.data_received(passed if self.line is None else self.line.statements.described(passed))
            except Exception:  # noqa: BLE001 - the driver raises anything over bytes that only look like messages
                raise _Refused("protocol") from None

    def _pass(  # noqa: C901, PLR0912, PLR0915 - one loop over all messages, with its names at hand: it runs for every row there is
        self, data: bytes
    ) -> bytes:
        """Return what of `data` goes to the driver now, and hold back what is no whole header yet."""
        kept: list[bytes] = []
        begin, at, end = 0, self._rest, len(data)
        if self._null_at_end and 0 < at <= end and data[at - 1]:
            raise _Refused("protocol")
        header, largest, row, skipping = _HEADER.unpack_from, self._largest, _ROW, self._skipping
        asides = self._asides
        if asides and not at:
            at, begin = asides.recognise(data, 0)
        last, kind, heard, aside = end - _HEADER.size, 0, at, asides.current
        rows = others = 0
        while at <= last:
            kind, length = header(data, at)
            if length < _LENGTH_AT_LEAST or length > largest.get(kind, 0):
                raise _refusal(kind, length)
            start, at = at, at + 1 + length
            if kind == row and aside is None:
                rows += 1
                self._rows_left -= length
                if (self._rows_left < 0) is skipping:
                    continue
                skipping = not skipping
                if skipping:
                    kept.append(data[begin:start])
                begin = start
                continue
            others += 1
            if aside is not None and aside.steps and kind in _BREAK:
                if kind != _ERROR:
                    raise _Refused("protocol")
                asides.break_off()
                heard, aside = start, asides.current
            ready = kind == _READY and bool(asides)
            if ready and at > end:
                at = start
                break  # what it says of the transaction is looked at
            if skipping is (aside is not None if ready else kind in _UNASKED or aside is None):
                skipping = not skipping
                if skipping:
                    kept.append(data[begin:start])
                begin = start
            if kind in _LOOKED_AT and at <= end:
                self._look(kind, data[start:at])
            elif kind == _AUTHENTICATION:
                at = start
                break  # what it asks for is looked at as a whole
            elif kind in _DESCRIBES and aside is None and not self._is_noted(data[start:at], whole=at <= end):
                at = start
                break
            if ready:
                asides.ready(data[heard:at] if aside is not None else b"")
                if not skipping:
                    kept.append(data[begin:at])
                skipping = False
                at, begin = asides.recognise(data, at)
                heard, aside = at, asides.current
            elif aside is not None and kind == _COMPLETE and aside.steps:
                if asides.step(data[heard:at] if at <= end else b""):
                    heard, aside = at, asides.current
            elif aside is not None and (kind == _ERROR or kind in _UNASKED):
                aside.note(error=kind == _ERROR)
        if at < end and data[at] not in largest:
            raise _Refused("protocol")
        self._count(rows, others)
        if aside is not None and at > heard:
            aside.begun = True
        if kind:
            self._null_at_end, self._skipping = kind in _ENDS_IN_NULL, skipping
        self.dropped = self.dropped or self._rows_left < 0
        self._held, self._rest = data[at:], max(0, at - end)
        if not skipping:
            kept.append(data[begin:at])
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def _is_noted(self, message: bytes, *, whole: bool) -> bool:
        """Note what is said of a statement, if that is waited for; return whether that could be done.

        Rows of a result that is another one than the driver takes it for are left out.
        """
        if self.line is None or not self.line.statements.awaits_description:
            return True
        if whole and self.line.statements.differ_by(message):
            self._rows_left = -math.inf
        return whole

    def _count(self, rows: int, others: int) -> None:
        self.rows += rows
        self._due -= rows
        self._others -= others
        if self._due < 0:
            raise _Refused("protocol")
        if self._others < 0:
            raise _Refused("amount")

    def _look(self, kind: int, message: bytes) -> None:
        in_order = is_bearable(message[_HEADER.size :]) if kind == _AUTHENTICATION else not message[-1]
        if not in_order:
            raise _Refused("protocol")


class _Refused(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def meter_of(connection: Connection) -> Meter:
    """Return the meter of a connection that is idle, put there if it has none yet."""
    driver: Any = connection
    transport: asyncio.Transport = driver._transport  # noqa: SLF001 - the driver has no public way to its socket
    protocol: Any = transport.get_protocol()
    if isinstance(protocol, Meter):
        return protocol
    meter = Meter(protocol, transport)
    transport.set_protocol(meter)
    return meter


def _refusal(kind: int, length: int) -> _Refused:
    may_be_large = kind in _MAY_BE_LARGE and _LENGTH_AT_LEAST <= length <= _LARGEST_OF_ALL
    return _Refused("size" if may_be_large else "protocol")
