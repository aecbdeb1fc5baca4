"""Queries of ours that travel with the driver's, in the same packet, and that the driver never learns of.

The driver waits for each answer before it asks on. What begins and ends a call is the same each time and says nothing
that the driver needs, so it goes out around the driver's own message (`Line`), and the meter takes its answers out of
what comes back (`server/meter.py`): a call then costs the round trips of its statement alone.
"""

import asyncio
import struct
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final, cast

from server.prepared import Description, Statements

_LENGTH: Final = struct.Struct(">i")
_IDLE: Final = ord("I")
_READY_BYTES: Final = 6
_SYNC: Final = b"S\0\0\0\4"
_DESCRIBE: Final = b"D\0\0\0\6S\0"
"""Of the statement without a name."""
_BIND_EXECUTE: Final = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0"
"""Of the same, without parameters, to its end."""


def steps_of(texts: Sequence[str]) -> bytes:
    """Return the messages that have these statements run in one go with what follows, up to its Sync.

    Where one of them is refused, nothing of what follows is run. They have no names: what a name stands for in a
    session, a function of the tenant's can change.
    """
    encoded = [text.encode() for text in texts]
    return b"".join(b"P%b\0%b\0\0\0%b" % (_LENGTH.pack(len(each) + 8), each, _BIND_EXECUTE) for each in encoded)


def query(text: str) -> bytes:
    """Return the message that has these statements run; there is no NUL in it."""
    body = text.encode()
    return b"Q%b%b\0" % (_LENGTH.pack(len(body) + 5), body)


class Pattern:
    """The bytes of an answer that was in order, so that the next one like it is known at a glance.

    Attributes:
        known: The whole answer; empty as long as none was seen in one piece.
    """

    def __init__(self) -> None:
        self.known = b""


class Aside:
    """Some statements of ours, and what became of them.

    Args:
        message: What `query` made of them; out of a transaction afterwards. Or what `steps_of` made of them.
        pattern: What answers to statements of this kind look like.
        steps: How many statements there are, if they run in one go with the driver's message that follows. Otherwise
            it follows the driver's, and the end of its answer is the end of the driver's: that is told when all is
            over, and with it that there is no transaction any more.
        holding: What the answer holds unless it comes from another session than the connection was made to.

    Attributes:
        sent: Whether it went out.
        done: Whether its answer has come, or never will.
        refused: Whether the answer was an error, or not what it must be; so as long as it has not come.
        begun: Whether a part of it has come, or something in between that means the driver.
        elsewhere: Whether it came from another session, as far as that was seen.
    """

    __slots__ = (
        *("_failed", "_holding", "_left", "_waiter", "begun", "done", "elsewhere"),
        *("message", "pattern", "refused", "sent", "steps"),
    )

    def __init__(self, message: bytes, pattern: Pattern, *, steps: int = 0, holding: bytes = b"") -> None:
        self.message = message
        self.steps = self._left = steps
        self.pattern = pattern
        self.sent = self.done = False
        self.refused = True
        self.begun = self.elsewhere = False
        self._holding = holding
        self._failed = False
        self._waiter: asyncio.Future[None] | None = None

    def is_known(self, data: bytes, at: int) -> bool:
        """Whether its whole answer stands there, byte for byte as an earlier one that was in order."""
        return not self.begun and bool(self.pattern.known) and data.startswith(self.pattern.known, at)

    def learn(self, answer: bytes) -> None:
        """Remember what the answer looks like, if it was in order and nothing else came in between."""
        if self.refused or self.begun:
            return
        self.elsewhere = self._holding not in answer
        if not self.elsewhere:
            self.pattern.known = answer

    def note(self, *, error: bool) -> None:
        """Note that an error is in the answer, or something that means the driver."""
        self._failed, self.begun = self._failed or error, True

    def step(self) -> bool:
        """Note that one of its statements has run; return whether that was the last."""
        self._left -= 1
        if not self._left:
            self.end()
        return self.done

    def end(self, status: int = _IDLE) -> None:
        """Note that the answer is whole, and what it says of the transaction."""
        self.refused = self._failed or status != _IDLE
        self._settle()

    def lose(self) -> None:
        """Note that the answer will not come."""
        self._settle()

    async def wait(self) -> None:
        """Wait until it is done; one waits at a time. May be cancelled."""
        if not self.done:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _settle(self) -> None:
        self.done = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Asides:
    """Whose answers come next, as far as some of them are asides'.

    Attributes:
        current: The aside whose answer comes now; None when it is the driver's.
    """

    def __init__(self) -> None:
        self.current: Aside | None = None
        self._due: deque[Aside | None] = deque()

    def __bool__(self) -> bool:
        return bool(self._due)

    def expect(self, *answers: Aside | None) -> None:
        """Note what was sent: asides, and None for a message of the driver's."""
        self._due += answers
        self.current = self._due[0] if self._due else None

    def recognise(self, data: bytes, at: int) -> tuple[int, int]:
        """Return where the answer that stands at `at` ends, and where what the driver is to see of it begins.

        Both are `at` unless it is an aside's that is known.
        """
        aside = self.current
        if aside is None or not aside.is_known(data, at):
            return at, at
        aside.end()
        self._next()
        end = at + len(aside.pattern.known)
        return end, end if aside.steps else end - _READY_BYTES

    def ready(self, answer: bytes) -> None:
        """Note that the answer that comes now has ended; `answer` are its bytes, or the last of them, if an aside's."""
        if self.current is not None:
            self.current.end(answer[-1])
            self.current.learn(answer)
        self._next()

    def step(self, answer: bytes) -> bool:
        """Note that a statement of an aside has run; return whether that was the last of it.

        Args:
            answer: All of the aside's answer so far; empty if it came in pieces.
        """
        aside = self.current
        if aside is None or not aside.step():
            return False
        if answer:
            aside.learn(answer)
        self._next()
        return True

    def break_off(self) -> None:
        """Note that an error comes in place of what is left of an aside that runs in one go with the driver's message.

        That is not run either, so the error is what answers it.
        """
        if self.current is not None:
            self.current.lose()
        self._next()

    def lose(self) -> None:
        """Note that nothing more will come."""
        for aside in self._due:
            if aside is not None:
                aside.lose()
        self._due.clear()
        self.current = None

    def _next(self) -> None:
        self._due.popleft()
        self.current = self._due[0] if self._due else None


class Line:
    """The transport that the driver writes to, with a place before and after its next message.

    Attributes:
        statements: What is prepared in the session behind it.
        openings, closings: What answers to what begins and ends a call look like here; the former by what begins it.
    """

    def __init__(self, transport: asyncio.BaseTransport, asides: Asides) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._asides = asides
        self._before: Aside | None = None
        self._after: Aside | None = None
        self._asks = False
        self.statements = Statements()
        self.openings, self.closings = defaultdict[bytes, Pattern](Pattern), Pattern()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def enclose(self, before: Aside | None, after: Aside | None) -> None:
        """Send the one before the driver's next message, the other behind its next Sync; nothing else so."""
        self._before, self._after = before, after
        self._asks = False

    def ask_again(self, told: bytes) -> Description:
        """Have the statement without a name described again before the driver's next run of it, which parses it anew.

        The driver heeds that as little as any other message that it did not ask for. Until the next `enclose`.

        Args:
            told: Of the description by which the driver will read the result.
        """
        self._asks = True
        self.statements.coming = coming = Description(told)
        return coming

    def write(self, data: "bytes | memoryview") -> None:
        """Send what the driver says, with what is to go around it."""
        before, after = self._before, self._after
        if before is None and after is None:
            self._transport.write(data)
            return
        self._before, parts = None, [data]
        if before is not None:
            before.sent = True
            self._asides.expect(before)
            parts.insert(0, before.message)
        # Otherwise the driver has more to say before it waits.
        if after is not None and data[-len(_SYNC) :] == _SYNC:
            self._after, after.sent = None, True
            # The driver's own answer counts where something comes behind it; that to one it prepares has no end.
            self._asides.expect(None, after)
            parts.append(after.message)
            if self._asks:
                self._asks = False
                parts.insert(-2, _DESCRIBE)
        self._transport.write(b"".join(parts))
