"""One read for all who ask the same at the same time, as databases commit for many at once.

When a fleet of agents starts, all of them ask a tenant for its tables, and each of those questions costs its database
much the same as the next. A few of them run at once; who comes while those run waits for the next one, together with
all others who wait for the same.

Invariant: whoever asks is told what was read after it asked, never what somebody had begun to read before. So nothing
is older than it would be without this, and nothing is kept: when nobody waits, nothing is known here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

AT_ONCE: Final = 2
"""Reads of one question that run at the same time: with one, whoever comes second would always wait for the first."""


class _Read(NamedTuple):
    """What somebody else read for this one, too."""

    answer: Any


class _Lead(NamedTuple):
    """It is this one's turn to read, for itself and for the others."""

    others: "list[_Turn]"


class _Alone(NamedTuple):
    """Whoever read for this one failed: that may have been its own bad luck, so each asks for itself."""


_Turn = asyncio.Future[_Read | _Lead | _Alone]


class SharedReads:
    """The questions that are being asked; those of one tenant's pool, for whom the answers are the same."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, _Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    async def ask(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns, or what it returned to somebody with the same question who read for both.

        Args:
            question: Who asks the same is told the same: all that the answer depends on, but for the moment.
            read: Reads it. What it returns is shared, so it is not to be changed.

        Raises what `read` raises. May be cancelled: others who counted on this one then read themselves.
        """
        asked = self._asked.setdefault(question, _Asked())
        try:
            if asked.running < AT_ONCE:
                asked.running += 1
                return await asked.lead([], read)
            told = await asked.turn()
            if isinstance(told, _Lead):
                return await asked.lead(told.others, read)
            if isinstance(told, _Alone):
                return await read()
            answer: T = told.answer
            return answer
        finally:
            if not asked.running and self._asked.get(question) is asked:
                del self._asked[question]


class _Asked:
    """One question: how many read, and who waits for the next to do so."""

    def __init__(self) -> None:
        self.running = 0
        self._waiting: list[_Turn] = []

    async def turn(self) -> _Read | _Lead | _Alone:
        """Wait until somebody has read, or it is this one's turn to. May be cancelled, and then passes its turn on."""
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            told = None if turn.cancelled() else turn.result()
            if isinstance(told, _Lead):  # and cancelled in the same instant
                self._waiting[:0] = told.others
                self._hand_on()
            raise

    async def lead(self, others: list[_Turn], read: Callable[[], Awaitable[T]]) -> T:
        """Read for oneself and the others, and hand on the turn."""
        told: _Read | _Alone = _Alone()
        try:
            answer = await read()
        except asyncio.CancelledError:
            self._waiting[:0], others = others, []
            raise
        else:
            told = _Read(answer)
            return answer
        finally:
            for turn in others:
                if not turn.done():
                    turn.set_result(told)
            self._hand_on()

    def _hand_on(self) -> None:
        waiting, self._waiting = [turn for turn in self._waiting if not turn.done()], []
        if not waiting:
            self.running -= 1
            return
        waiting[0].set_result(_Lead(waiting[1:]))
