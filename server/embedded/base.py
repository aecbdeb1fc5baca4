"""What both embedded servers are: a home that is locked, and a process that is started, waited for and stopped."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from server.embedded.errors import EmbeddedUnavailable
from server.embedded.lock import DirectoryLock, lock_directory
from server.embedded.private import make_data_directory, make_private_directory
from server.embedded.process import LeashedProcess
from server.embedded.sockets import remove_socket_directory

READY_WITHIN = 60.0  # seconds, replaying a log after a crash included


class EmbeddedServer(ABC):
    """A server in a subprocess, with its own directory below `data`; start it, or use it as a context manager.

    It may be stopped and started again, also in another event loop. Not for use by two tasks at once.
    """

    name: ClassVar[str]

    def __init__(self, data: Path) -> None:
        self.home = data.resolve() / self.name
        self._lock: DirectoryLock | None = None
        self._process: LeashedProcess | None = None

    async def start(self) -> Self:
        """Start the server and wait until it answers. Raises EmbeddedUnavailable, and then nothing is left running."""
        if self._lock is not None:
            raise EmbeddedUnavailable(
                f"the {self.name} of {self.home} is already running in this process: use that one"
            )
        try:
            make_data_directory(self.home.parent)
            make_private_directory(self.home)
            self._lock = await lock_directory(self.home)
            await self._launch(self._lock.writers)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise EmbeddedUnavailable(f"{self.name} cannot use its directory: {error}; mend or move it") from error
            raise
        return self

    async def stop(self) -> None:
        """End the server well and give its directory up. Does nothing when it is not running."""
        process, self._process = self._process, None
        lock, self._lock = self._lock, None
        try:
            if process is not None:
                await process.stop()
        finally:
            if lock is not None:
                remove_socket_directory(self.home)
                lock.release()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @abstractmethod
    async def _launch(self, lock: int) -> None:
        """Start the process, let it inherit the lock, set `_process` at once and return when it is ready."""

    async def _wait_until(self, ready: Callable[[], Awaitable[bool]], process: LeashedProcess) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not await ready():
            process.check()
            if time.monotonic() >= deadline:
                raise process.failure(f"did not answer within {READY_WITHIN:.0f} s")
            await asyncio.sleep(0.005)


@asynccontextmanager
async def together(*servers: EmbeddedServer) -> AsyncIterator[None]:
    """Run the servers for as long as the context lasts, started and stopped at the same time.

    Either all of them run in there, or none is left running and the first one's error is raised.
    """
    try:
        outcomes = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        yield
    finally:
        await asyncio.gather(*(server.stop() for server in servers))
