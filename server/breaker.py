"""Keeps a database that is down from being asked again and again, and its callers from waiting for it in turn.

Until a first attempt has succeeded, attempts go one at a time; those who waited behind a failure share its answer.
After a failure nobody tries for a while, and everybody is told why at once. Attempts that were under way together and
fail together are one failure. It lasts as long as the login it is about; another one has a breaker of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from registry.errors import LoginRefused, PolicyRefused, TenancyError, TenantUnreachable

COOL_DOWN: Final = (0.5, 1.0, 2.0, 5.0)
"""Seconds without attempts after the first, second, third and every further failure in a row."""

T = TypeVar("T")


class Breaker:
    """One database's record of failed logins."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        self._error: TenancyError | None = None
        self._proven = False
        self._turn = asyncio.Lock()
        self._first = asyncio.Lock()

    @property
    def last_error(self) -> TenancyError | None:
        """Why the last attempt failed; None if it did not."""
        return self._error

    def forget(self) -> None:
        """Allow an attempt at once: a login has just been seen to work."""
        self._failures, self._closed_until, self._error = 0, 0.0, None

    @property
    def proven(self) -> bool:
        """Whether the last login worked."""
        return self._proven

    async def prove(self, attempt: Callable[[], Awaitable[object]]) -> None:
        """Unless the last login worked, have one caller make an attempt, with the others waiting for what comes of it.

        Raises what that raises, or the same again. May be cancelled.
        """
        async with self._first:
            if not self._proven:
                await attempt()

    async def attempt(self, connect: Callable[[], Awaitable[T]]) -> T:
        """Run `connect` unless it failed a moment ago; raises what it raises, or the same again. May be cancelled."""
        if self._proven:
            return await self._try(connect)
        async with self._turn:
            return await self._try(connect)

    async def _try(self, connect: Callable[[], Awaitable[T]]) -> T:
        self._refuse_while_closed()
        failures = self._failures
        try:
            made = await connect()
        except (TenantUnreachable, LoginRefused, PolicyRefused) as error:
            if failures == self._failures:
                self._note(error)
            raise
        self._proven = True
        self.forget()
        return made

    def _note(self, error: TenancyError) -> None:
        self._closed_until = self._clock() + COOL_DOWN[min(self._failures, len(COOL_DOWN) - 1)]
        self._failures += 1
        self._error = error.again()  # the frames of this one hold the password, and it is kept
        self._proven = False

    def _refuse_while_closed(self) -> None:
        left = self._closed_until - self._clock()
        if self._error is not None and left > 0:
            # When to come again is of use only to who may succeed with the same call.
            when = {"retry_after_ms": round(left * 1000)} if self._error.retryable else {}
            raise type(self._error)(
                f"{self._error.message} (Tried a moment ago; not again for {left:.1f} s.)", **self._error.facts, **when
            )
