"""What the project wants to reach, against Toolbox and raw asyncpg in the same run, and whether it does. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.figures import shown
from tests.benchmarks.load.plan import FEW
from tests.benchmarks.load.results import (
    UNKNOWN,
    YARDSTICK,
    Memory,
    Point,
    Sample,
    grown_since,
    half,
    paired,
    rate,
    soaked,
)

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


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    """Judge every goal; of the project's servers the one with the best number of workers counts.

    Compared are the runs of one round with each other, and the median of that: what slows the machine for a while slows
    both.
    """
    return [
        *(_against_peer(samples, case, times) for case, times in _TIMES.items()),
        _against_asyncpg(samples),
        _without_error(samples),
        _not_slower(samples),
        _not_larger(soaked(samples)),
    ]


def _ours(samples: Iterable[Sample]) -> set[Point]:
    return {each.point for each in samples if each.point.target.startswith(OURS) and each.point.part == "compare"}


def _against_peer(samples: Sequence[Sample], case: str, times: float) -> Verdict:
    peer = Point(target=_PEER, case=case, clients=FEW)
    ours = [point for point in _ours(samples) if (point.case, point.clients) == (case, FEW)]
    reached = max((paired(samples, point, peer, rate) for point in ours), default=UNKNOWN)
    return Verdict(
        goal=f"{CASES[case].title}, {FEW} clients: {times:g} times Toolbox's calls a second",
        measured=f"{shown(reached)} times",
        met=_judged(reached, reached >= times),
    )


def _against_asyncpg(samples: Sequence[Sample]) -> Verdict:
    raw = Point(target=YARDSTICK, case="select1", clients=1)
    ours = [point for point in _ours(samples) if (point.case, point.clients) == ("select1", 1)]
    reached = min((paired(samples, point, raw, half) for point in ours), default=UNKNOWN)
    return Verdict(
        goal=f"SELECT 1, one client: p50 under {_TIMES_ASYNCPG:g} times raw asyncpg's",
        measured=f"{shown(reached)} times",
        met=_judged(reached, reached < _TIMES_ASYNCPG),
    )


def _without_error(samples: Sequence[Sample]) -> Verdict:
    """Count errors among many clients; a question that fewer were answered and many were not is one, too."""
    ours = _ours(samples)
    many = {point for point in ours if point.clients == _MANY}
    unanswered = {msgspec.structs.replace(point, clients=_MANY) for point in ours} - many
    errors = sum(each.measured.errors for each in samples if each.point in many) + len(unanswered)
    return Verdict(
        goal=f"{_MANY} clients without an error",
        measured=f"{errors} errors" if many else shown(UNKNOWN),
        met=errors == 0 if many else None,
    )


def _not_slower(samples: Sequence[Sample]) -> Verdict:
    grown = {each.point for each in samples if each.point.part == "registered"}
    most = max((point.registered for point in grown), default=1)
    points = {point for point in grown if point.registered == most}
    firsts = {point: msgspec.structs.replace(point, registered=1) for point in points if most > 1}
    worst = min((paired(samples, point, first, rate) for point, first in firsts.items()), default=UNKNOWN)
    return Verdict(
        goal=f"nothing slower with {most:,} tenants registered than with one (but for {_NOISE:.0%} of noise)",
        measured=f"at worst {shown(worst)} times the calls a second",
        met=_judged(worst, worst >= 1 - _NOISE),
    )


def _not_larger(memory: Sequence[Memory]) -> Verdict:
    calls, grown = memory[-1].calls if memory else 0, grown_since(memory)
    return Verdict(
        goal=f"no growth of memory over 1,000,000 calls (but for {_SPECK_MB:g} MB)",
        measured=f"{shown(grown)} MB over {calls:,} calls" if memory else shown(UNKNOWN),
        met=_judged(grown, grown <= _SPECK_MB) if calls >= _MANY_CALLS else None,
    )


def _judged(value: float, met: bool) -> bool | None:  # noqa: FBT001 - what is to be told if the value is known
    return None if math.isnan(value) else met
