"""Several processes on one port: starts them, starts again what dies, and ends them.

Each is a replica of its own that follows the log by itself; this process serves nothing. It holds the one listening
socket, so a worker that dies takes no client along that had not been taken yet.

Invariant: a worker lives no longer than its line, a socket that this process alone holds the other end of. So none
outlives it, however it ends.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

import msgspec
import structlog

from server import seat
from server.board import Board, new_board
from server.errors import StartError
from server.listening import GRACE, base_of, listen
from server.seat import Seat
from server.settings import Settings

_PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker that died is started again, longer each time."""
_PROVEN: Final = 30.0
"""Seconds after which a worker that dies had been well: it is started again at once."""
_MOST_FAILURES: Final = 5
"""Starts in a row that each worker may fail before all is given up."""
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)

Announce = Callable[[str], Awaitable[None]]


async def run_workers(settings: Settings, announce: Announce) -> None:
    """Run `settings.workers` processes until SIGINT or SIGTERM; a second one does not wait for answers under way.

    Args:
        settings: Checked, and with a Redis and keys that are there for as long as this runs.
        announce: Told the base URL once all of them take clients.

    Raises `StartError` when the port cannot be had, a worker cannot start, none stays, or one had to be killed.
    """
    with ExitStack() as held:
        listener = held.enter_context(listen(settings))
        file = new_board(settings.workers)
        held.callback(os.close, file)
        crew = _Crew(settings, listener, file, held)
        async with _signals(crew):
            await crew.run(lambda: announce(base_of(settings, listener)))


class _Crew:
    """The workers, and what they share."""

    def __init__(self, settings: Settings, listener: socket.socket, file: int, held: ExitStack) -> None:
        self._settings = settings
        self._patience = 2 * GRACE + settings.drain_seconds  # for answers under way, for pools, and for all else
        self._board = Board(file, settings.workers)
        numbers = range(1, settings.workers + 1)
        boxes = {number: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for number in numbers}
        for both in boxes.values():
            for one in both:
                held.enter_context(one)
        # What protects the tenants' databases is shared; what protects a process is each one's own.
        each = msgspec.structs.replace(settings, max_connections=max(1, settings.max_connections // settings.workers))
        self._seats = [
            Seat(
                number=number,
                workers=settings.workers,
                settings=_named(each, number),
                listener=listener.fileno(),
                board=file,
                mailbox=boxes[number][0].fileno(),
                siblings={other: boxes[other][1].fileno() for other in numbers if other != number},
                patience=self._patience,
            )
            for number in numbers
        ]
        self._failures = dict.fromkeys(numbers, 0)
        self._workers: dict[int, _Worker] = {}
        self._listening: set[int] = set()
        self._all_listen = asyncio.Event()
        self._leaving = asyncio.Event()
        self._logger = structlog.get_logger("workers")

    async def run(self, announce: Callable[[], Awaitable[None]]) -> None:
        """Keep all running until `leave` is called; then wait until they have ended."""
        keeping = asyncio.create_task(self._keep_all(announce))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({keeping, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
        finally:
            self._leaving.set()
            keeping.cancel()
            await asyncio.wait({keeping, leaving})
            killed = await self._end()
        if killed:
            raise StartError(f"Workers that did not end within {self._patience:g} seconds and were killed: {killed}.")

    def leave(self) -> None:
        """End them well; if asked again, without waiting for answers under way."""
        if self._leaving.is_set():
            for worker in self._workers.values():
                worker.hurry()
        else:
            self._logger.info("stopping")
            self._leaving.set()

    async def _keep_all(self, announce: Callable[[], Awaitable[None]]) -> None:
        await asyncio.gather(*map(self._keep, self._seats), self._tell(announce))

    async def _keep(self, seat: Seat) -> None:
        number = seat.number
        while not self._leaving.is_set():
            begun = time.monotonic()
            code = await self._run(seat)
            self._board.clear(number)
            if self._leaving.is_set():
                return
            if number not in self._listening:
                raise StartError(f"Worker {number} cannot start ({code}); what it said is above.")
            self._failures[number] = 1 if time.monotonic() - begun > _PROVEN else self._failures[number] + 1
            if min(self._failures.values()) >= _MOST_FAILURES:
                raise StartError("No worker stays; what they said is above.")
            pause = _PAUSES[min(self._failures[number], len(_PAUSES)) - 1]
            self._logger.error("worker ended; another is started", worker=number, how=code, after_seconds=pause)
            await asyncio.sleep(pause)

    async def _run(self, seat: Seat) -> str:
        """Run a worker to its end; return how that came."""
        try:
            worker = self._workers[seat.number] = await _Worker.start(seat)
        except OSError as error:  # too many processes, too little memory: for the moment, as a rule
            return error.strerror or "it cannot be started"
        await worker.listens()
        if worker.is_listening:
            self._listening.add(seat.number)
            if len(self._listening) == len(self._seats):
                self._all_listen.set()
        code = await worker.ended()
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    async def _tell(self, announce: Callable[[], Awaitable[None]]) -> None:
        await self._all_listen.wait()
        await announce()

    async def _end(self) -> str:
        """End all; return the numbers of those that had to be killed."""
        outcomes = await asyncio.gather(*(worker.end(self._patience) for worker in self._workers.values()))
        return ", ".join(str(number) for number, well in zip(self._workers, outcomes, strict=True) if not well)


class _Worker:
    """A process, and its line."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.is_listening = False

    @classmethod
    async def start(cls, given: Seat) -> "_Worker":
        """Start it and tell it what it needs."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", "server.worker"),
                    stdin=theirs.fileno(),
                    pass_fds=given.inherited,
                    start_new_session=True,  # Ctrl-C is for us: we say when it ends
                )
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()  # which ends it, if it has begun
            raise
        writer.write(seat.encode(given))
        return cls(process, reader, writer)

    async def listens(self) -> None:
        """Wait until it takes clients, or has ended without."""
        with suppress(ConnectionError):
            self.is_listening = bool(await self._reader.read(1))

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code, or minus the signal's number."""
        return await self._process.wait()

    def hurry(self) -> None:
        """Have it wait for no answer."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    async def end(self, patience: float) -> bool:
        """Have it end well, and wait for that; kill it after `patience` seconds and return False."""
        self._writer.close()
        try:
            async with asyncio.timeout(patience):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            return False
        return True


@asynccontextmanager
async def _signals(crew: _Crew) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, crew.leave)
    try:
        yield
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)


def _named(settings: Settings, number: int) -> Settings:
    name = settings.replica_name
    return settings if name is None else msgspec.structs.replace(settings, replica_name=f"{name}.{number}")
