"""One read for all who ask the same at the same time, as databases commit for many at once.

When a fleet of agents starts, all of them ask a tenant for its tables, and each of those questions costs its database
much the same as the next. A few of them run at once; who comes while those run waits for the next one, together with
all others who wait for the same.

Invariant: a caller gets what was read after it asked, never a read that had begun before. So nothing is older than it
would be without this, and nothing is kept: when nobody waits, nothing is known here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from registry.errors import TenancyError

T = TypeVar("T")

AT_ONCE: Final = 2
"""Reads of one question that run at the same time. With one, the second caller would always wait for the first."""


class _Read(NamedTuple):
    """What another caller read for this one, too."""

    answer: Any


class _Lead(NamedTuple):
    """It is this one's turn to read, for itself and for the others."""

    others: "list[_Turn]"


class _Failed(NamedTuple):
    """The error that the caller got who read for this one, too."""

    error: TenancyError


class _Alone(NamedTuple):
    """The read that was made for this one, too, broke unexpectedly, so this one asks for itself."""


_Told: TypeAlias = _Read | _Lead | _Failed | _Alone
_Turn: TypeAlias = asyncio.Future[_Told]


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

        Raises what `read` raises, or raised for both. May be cancelled: the next who waits then reads.
        """
        asked = self._asked.setdefault(question, _Asked())
        try:
            if asked.running < AT_ONCE:
                asked.running += 1
                return await asked.lead([], read)
            match await asked.turn():
                case _Lead(others):
                    return await asked.lead(others, read)
                case _Failed(error):
                    raise error.again()
                case _Alone():
                    return await read()
                case _Read(answer):
                    told: T = answer
                    return told
        finally:
            if not asked.running and self._asked.get(question) is asked:
                del self._asked[question]


class _Asked:
    """One question: how many read, and who waits for the next to do so."""

    def __init__(self) -> None:
        self.running = 0
        self._waiting: list[_Turn] = []

    async def turn(self) -> _Told:
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
        told: _Told = _Alone()
        try:
            answer = await read()
        except asyncio.CancelledError:
            self._waiting[:0], others = others, []
            raise
        except TenancyError as error:
            told = _Failed(error)
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
