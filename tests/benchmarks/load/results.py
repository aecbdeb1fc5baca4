"""What a bench leaves behind: one JSON file from which tables, plots and verdicts are made at any later time. Pure."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from tests.benchmarks.load.figures import median, ratio
from tests.benchmarks.load.timing import Measured

Part: TypeAlias = Literal["compare", "registered", "spread", "soak"]
"""`compare`: all servers, side by side. `registered`: the project's with ever more tenants in the log. `spread`: the
same, with calls spread over ever more of them. `soak`: very many calls of all kinds, and what becomes of the memory."""
PARTS: Final[tuple[Part, ...]] = get_args(Part)
YARDSTICK: Final = "asyncpg"
UNKNOWN: Final = float("nan")


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: whom, what was asked, by how many clients, with so many tenants, so many of them in turn."""

    target: str
    case: str
    clients: int
    registered: int = 1
    spread: int = 1
    part: Part = "compare"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one point."""

    round: int
    point: Point
    measured: Measured


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with what it was measured."""

    date: str
    cores: int
    cpu: str
    memory_gb: float
    system: str
    python: str
    postgres: str
    valkey: str
    commit: str
    load_before: float
    load_after: float


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it was before any load."""

    target: str
    about: str
    version: str
    seconds: float
    rss_mb: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All of one bench.

    Args:
        how: The command that it was run by, and what it chose.
        missing: What could not be measured, and why.
    """

    machine: Machine
    how: str
    rounds: int
    seconds: float
    started: list[Started]
    missing: list[str]
    samples: list[Sample]


class Memory(msgspec.Struct, frozen=True):
    """What a server held in memory, in MB, after so many calls."""

    calls: int
    rss_mb: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The medians of a point over all rounds; `errors` is their sum, nan is unknown."""

    point: Point
    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    postgres_cpu_us: float
    client_cpu_us: float
    rss_mb: float
    answer_bytes: float
    errors: int


def rows_of(samples: Iterable[Sample]) -> dict[Point, Row]:
    """Return a row for each point, in the order in which points were first measured."""
    runs: dict[Point, list[Measured]] = {}
    for sample in samples:
        runs.setdefault(sample.point, []).append(sample.measured)
    return {point: _row(point, measured) for point, measured in runs.items()}


Figure: TypeAlias = Callable[[Measured], float | None]
"""Takes what is looked at out of a run."""


def rate(run: Measured) -> float:
    """Return the calls a second."""
    return run.per_second


def half(run: Measured) -> float | None:
    """Return the median latency."""
    return run.p50_ms


def paired(samples: Iterable[Sample], point: Point, base: Point, figure: Figure) -> float:
    """Return how many times the base a point is: the median of the rounds' own ratios, nan where none has both."""
    rounds: dict[int, dict[Point, float]] = {}
    for sample in samples:
        if sample.point in {point, base} and (value := figure(sample.measured)) is not None:
            rounds.setdefault(sample.round, {})[sample.point] = value
    return median([ratio(found[point], found[base]) for found in rounds.values() if {point, base} <= set(found)])


def soaked(samples: Iterable[Sample]) -> list[Memory]:
    """Return how the memory went while very many calls were made, run by run."""
    runs = [sample.measured for sample in samples if sample.point.part == "soak"]
    calls = accumulate(run.calls for run in runs)
    return [Memory(so_far, run.rss_mb or UNKNOWN) for so_far, run in zip(calls, runs, strict=True)]


def grown_since(memory: Sequence[Memory]) -> float:
    """Return by how many MB it grew after a tenth of the calls: until then pools and caches fill. Nan if unknown."""
    settled = next((each for each in memory if each.calls * 10 >= memory[-1].calls), None)
    return memory[-1].rss_mb - settled.rss_mb if settled else UNKNOWN


def save(results: Results, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))


def read(path: Path) -> Results:
    """Read a file that `save` wrote. Raises `msgspec.ValidationError` for another one."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def _row(point: Point, runs: Sequence[Measured]) -> Row:
    def middle(values: Iterable[float | None]) -> float:
        return median([UNKNOWN if value is None else value for value in values])

    return Row(
        point=point,
        per_second=middle(run.per_second for run in runs),
        p50_ms=middle(run.p50_ms for run in runs),
        p99_ms=middle(run.p99_ms for run in runs),
        server_cpu_us=middle(run.server_cpu_us for run in runs),
        postgres_cpu_us=middle(run.postgres_cpu_us for run in runs),
        client_cpu_us=middle(run.client_cpu_us for run in runs),
        rss_mb=middle(run.rss_mb for run in runs),
        answer_bytes=middle(float(run.answer_bytes) for run in runs),
        errors=sum(run.errors for run in runs),
    )
