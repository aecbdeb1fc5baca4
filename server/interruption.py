"""Stopping work from outside, in a way that is told apart from any other cancellation of its task.

`asyncio.timeout` does the same, for times alone. Of these a call takes three, and each costs a quarter as much.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

_NOT_ENTERED: Final = "there is no task"


class Interruption:
    """Holds work, as a context manager: once it is struck, what is inside is cancelled and `TimeoutError` raised.

    Attributes:
        struck: Whether it was.
    """

    __slots__ = ("_cancelling", "_task", "struck")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.struck = False

    def strike(self) -> None:
        """Stop the work, once; nothing to do where there is none. To be called by another than the work itself."""
        if self._task is not None and not self.struck:
            self.struck = True
            self._task.cancel()

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError(_NOT_ENTERED)
        self._cancelling = task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        # Invariant: uncancel() undoes this object's own cancel() and no other.
        if self.struck and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
