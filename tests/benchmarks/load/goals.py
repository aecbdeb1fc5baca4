"""What the project wants to reach, against Toolbox and raw asyncpg in the same run, and whether it does. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.figures import ratio, shown
from tests.benchmarks.load.plan import FEW
from tests.benchmarks.load.results import UNKNOWN, YARDSTICK, Memory, Point, Row

OURS: Final = "ours"
_PEER: Final = "toolbox"
_TIMES: Final = {"select1": 1.2, "list_tables": 3.0, "rows1000": 2.0}
_TIMES_ASYNCPG: Final = 5.0
_MANY: Final = 256
_NOISE: Final = 0.10
"""By how much two medians of one thing differ on a machine with two cores that others use, too."""

_SPECK_MB: Final = 2.0
"""What a process that is not growing may hold more from one look to the next."""
_MANY_CALLS: Final = 1_000_000


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One goal: what it is, what was measured, and whether that meets it; None if it was not measured."""

    goal: str
    measured: str
    met: bool | None


def verdicts(rows: Mapping[Point, Row], memory: Sequence[Memory] = ()) -> list[Verdict]:
    """Judge every goal; of the project's runs the one with the best number of workers counts."""
    return [
        *(_against_peer(rows, case, times) for case, times in _TIMES.items()),
        _against_asyncpg(rows),
        _without_error(rows),
        _not_slower(rows),
        _not_larger(memory),
    ]


def ours_of(rows: Mapping[Point, Row], case: str, clients: int) -> list[Row]:
    """Return the project's rows of a question, beside the others'."""
    return [
        row
        for point, row in rows.items()
        if point.target.startswith(OURS) and (point.case, point.clients, point.part) == (case, clients, "compare")
    ]


def _against_peer(rows: Mapping[Point, Row], case: str, times: float) -> Verdict:
    peer = rows.get(Point(target=_PEER, case=case, clients=FEW))
    best = max((row.per_second for row in ours_of(rows, case, FEW)), default=UNKNOWN)
    reached = ratio(best, peer.per_second if peer else UNKNOWN)
    return Verdict(
        goal=f"{CASES[case].title}, {FEW} clients: {times:g} times Toolbox's calls a second",
        measured=f"{shown(reached)} times",
        met=_judged(reached, reached >= times),
    )


def _against_asyncpg(rows: Mapping[Point, Row]) -> Verdict:
    raw = rows.get(Point(target=YARDSTICK, case="select1", clients=1))
    best = min((row.p50_ms for row in ours_of(rows, "select1", 1)), default=UNKNOWN)
    reached = ratio(best, raw.p50_ms if raw else UNKNOWN)
    return Verdict(
        goal=f"SELECT 1, one client: p50 under {_TIMES_ASYNCPG:g} times raw asyncpg's",
        measured=f"{shown(reached)} times ({shown(best)} ms)",
        met=_judged(reached, reached < _TIMES_ASYNCPG),
    )


def _without_error(rows: Mapping[Point, Row]) -> Verdict:
    ours = [row for point, row in rows.items() if point.target.startswith(OURS) and point.clients == _MANY]
    errors = sum(row.errors for row in ours)
    return Verdict(
        goal=f"{_MANY} clients without an error",
        measured=f"{errors} errors",
        met=errors == 0 if ours else None,
    )


def _not_slower(rows: Mapping[Point, Row]) -> Verdict:
    worst = min(_shares(rows), default=UNKNOWN)
    return Verdict(
        goal=f"nothing slower with {_most(rows):,} tenants registered than with one (but for {_NOISE:.0%} of noise)",
        measured=f"at worst {shown(worst)} times the calls a second",
        met=_judged(worst, worst >= 1 - _NOISE),
    )


def _not_larger(memory: Sequence[Memory]) -> Verdict:
    """Compare the memory at the end with that after a tenth of the calls: until then pools and caches fill."""
    calls = memory[-1].calls if memory else 0
    settled = next((each for each in memory if each.calls * 10 >= calls), None)
    grown = memory[-1].rss_mb - settled.rss_mb if settled else UNKNOWN
    return Verdict(
        goal=f"no growth of memory over 1,000,000 calls (but for {_SPECK_MB:g} MB)",
        measured=f"{shown(grown)} MB over {calls:,} calls" if memory else shown(UNKNOWN),
        met=_judged(grown, grown <= _SPECK_MB) if calls >= _MANY_CALLS else None,
    )


def _shares(rows: Mapping[Point, Row]) -> Iterable[float]:
    most = _most(rows)
    for point, row in rows.items():
        first = rows.get(msgspec.structs.replace(point, registered=1))
        if point.part == "registered" and point.registered == most > 1 and first:
            yield ratio(row.per_second, first.per_second)


def _most(rows: Mapping[Point, Row]) -> int:
    return max((point.registered for point in rows), default=1)


def _judged(value: float, met: bool) -> bool | None:  # noqa: FBT001 - what is to be told if the value is known
    return None if math.isnan(value) else met
