"""What one run of load came to: when calls ended, how long they took, what the servers spent on them."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import msgspec

from tests.benchmarks.load.figures import percentile
from tests.benchmarks.load.processes import Cost, costs_of


class Pace(msgspec.Struct, frozen=True):
    """For how long a run loads: `warm_up` seconds that are not timed, then `seconds`."""

    seconds: float
    warm_up: float = 0.3


class Watched(msgspec.Struct, frozen=True):
    """Whose costs are told apart: the processes of the server that is measured, and those of Postgres.

    Without a server (the yardstick) the client's own process is the one that is measured.
    """

    server: tuple[int, ...]
    postgres: tuple[int, ...]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run. Milliseconds and microseconds are of one call; nan (null in JSON) is unknown."""

    calls: int
    errors: int
    seconds: float
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    server_cpu_us: float | None
    postgres_cpu_us: float | None
    client_cpu_us: float | None
    rss_mb: float | None
    answer_bytes: int
    problem: str | None = None


class Stopwatch:
    """Counts calls, those of the warm-up apart; what they cost is measured from its making to `result`.

    Args:
        pace: For how long calls are begun.
        watched: Whose costs are measured.
    """

    def __init__(self, pace: Pace, watched: Watched) -> None:
        self._watched = watched
        self._latencies: list[float] = []
        self._errors = 0
        self._calls = 0
        self._problem: str | None = None
        self._answer_bytes = 0
        self._before = _spent(watched)
        self._begun = time.perf_counter() + pace.warm_up
        self.deadline = self._begun + pace.seconds
        self._last = self._begun

    def succeeded(self, begun: float, ended: float, answer_bytes: int) -> None:
        """Count a call that was answered as it should be."""
        self._calls += 1
        self._answer_bytes = answer_bytes
        if ended >= self._begun:
            self._latencies.append(ended - begun)
            self._last = ended

    def failed(self, problem: str) -> None:
        """Count a call that was not."""
        self._errors += 1
        self._problem = self._problem or problem

    def result(self) -> Measured:
        """Return what it came to, once the last call has ended."""
        after = _spent(self._watched)
        elapsed = self._last - self._begun
        calls = len(self._latencies)
        client = self._each(after.client - self._before.client)
        return Measured(
            calls=calls,
            errors=self._errors,
            seconds=elapsed,
            per_second=calls / elapsed if elapsed > 0 else 0.0,
            p50_ms=_known(percentile(self._latencies, 0.50) * 1e3),
            p99_ms=_known(percentile(self._latencies, 0.99) * 1e3),
            server_cpu_us=self._each(after.server.cpu - self._before.server.cpu) if self._watched.server else client,
            postgres_cpu_us=self._each(after.postgres.cpu - self._before.postgres.cpu),
            client_cpu_us=client,
            rss_mb=after.server.rss / 2**20 if self._watched.server else None,
            answer_bytes=self._answer_bytes,
            problem=self._problem,
        )

    def _each(self, seconds: float) -> float | None:
        """Return the microseconds of one call."""
        return seconds / self._calls * 1e6 if self._calls else None


class _Spent(NamedTuple):
    server: Cost
    postgres: Cost
    client: float


def _spent(watched: Watched) -> _Spent:
    server, postgres = costs_of(watched.server, watched.postgres)
    return _Spent(server, postgres, time.process_time())


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the client's garbage collector from stopping it in the middle of a run."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


Check: TypeAlias = Callable[[bytes], str | None]
"""Says what is wrong with an answer's body, or None."""


def expecting(texts: Sequence[bytes]) -> Check:
    """Return what looks for all of the texts in an answer, and for the mark of an error."""

    def check(body: bytes) -> str | None:
        if b'"isError":true' in body or b'"error":{' in body[:200]:
            return f"an error: {body[:300]!r}"
        for text in texts:
            if text not in body:
                return f"{text!r} is not in {body[:300]!r}"
        return None

    return check
