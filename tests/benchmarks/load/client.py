"""A client that costs little: it shares two cores with what it measures.

Plain sockets on uvloop's transports, requests that were encoded before, and answers that are framed and searched for
what they must hold, but not parsed. Some thirty microseconds a call, most of them the kernel's; each run tells them.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, cast

from tests.benchmarks.load.answers import Answer, AnswerReader, MalformedAnswer
from tests.benchmarks.load.timing import Check, Measured, Pace, Stopwatch, Watched, undisturbed

_PATIENCE: Final = 30.0
"""Seconds that the last calls may take after the run's own."""


class Work(NamedTuple):
    """What a client does: the requests that it takes in turn with others, what looks at answers, and the watch."""

    requests: Iterator[bytes]
    check: Check
    watch: Stopwatch


class Client(asyncio.Protocol):
    """One connection with one call under way at a time, from `begin` on until the watch says that it is over."""

    def __init__(self) -> None:
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._work: Work | None = None
        self._begun = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, work: Work) -> None:
        """Make the first call."""
        self._work = work
        self._call(work)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._reader.feed(data)
        except (MalformedAnswer, ValueError) as error:
            self._end(str(error))
            return
        if answer is not None:
            self._answered(answer, time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._end(f"the connection was lost: {exc}")

    def close(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.abort()

    def _answered(self, answer: Answer, now: float) -> None:
        work = self._work
        assert work is not None
        problem = work.check(answer.body) if answer.status == 200 else f"{answer.status} {answer.body[:300]!r}"
        if problem is None:
            work.watch.succeeded(self._begun, now, len(answer.body))
        else:
            work.watch.failed(problem)
        if now < work.watch.deadline:
            self._call(work)
        elif not self.done.done():
            self.done.set_result(None)

    def _call(self, work: Work) -> None:
        assert self._transport is not None
        self._begun = time.perf_counter()
        self._transport.write(next(work.requests))

    def _end(self, problem: str) -> None:
        if self._work is not None:
            self._work.watch.failed(problem)
        if not self.done.done():
            self.done.set_result(None)
        self.close()


async def load(
    port: int, requests: Sequence[Iterator[bytes]], check: Check, *, pace: Pace, watched: Watched
) -> Measured:
    """Have one client for each of `requests` call, as soon as its last call is answered; return what it came to.

    Raises `TimeoutError` if some calls are not answered at all.
    """
    loop = asyncio.get_running_loop()
    protocols = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in requests]
    with undisturbed():
        watch = Stopwatch(pace, watched)
        for protocol, taken in zip(protocols, requests, strict=True):
            protocol.begin(Work(taken, check, watch))
        _, late = await asyncio.wait([each.done for each in protocols], timeout=pace.warm_up + pace.seconds + _PATIENCE)
        result = watch.result()
    for protocol in protocols:
        protocol.close()
    if late:
        raise TimeoutError(f"{len(late)} of {len(protocols)} calls were not answered within {_PATIENCE:.0f} s")
    return result


async def ask(port: int, request: bytes) -> Answer:
    """Send one request on a connection of its own and return the answer. Raises `OSError` or `MalformedAnswer`."""
    (answer,) = await ask_again(port, request, 1)
    return answer


async def ask_again(port: int, request: bytes, times: int) -> list[Answer]:
    """Send a request so many times on one connection, each when the one before is answered. Raises as `ask`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return [await _asked(reader, writer, request) for _ in range(times)]
    finally:
        writer.close()


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Answer:
    writer.write(request)
    framing = AnswerReader()
    while data := await reader.read(1 << 20):
        if answer := framing.feed(data):
            return answer
    raise MalformedAnswer("the connection was closed without a whole answer")
