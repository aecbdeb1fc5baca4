"""What a bench measures, in which order: parts, and the rounds in which their points take turns. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.figures import rotated
from tests.benchmarks.load.results import PARTS, Part, Point
from tests.benchmarks.load.timing import Pace


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    Args:
        parts: Which of them.
        cases: What is asked in `compare`; the others ask `SELECT 1`, and `registered` for the tables too.
        clients: How many call at the same time in `compare`; the others have 16.
        registered: Tenants in the log, step by step.
        spread: Tenants that are called, step by step.
        calls: How many are made in `soak`.
        rounds: How often each point is measured; the medians are told.
        pace: How long each time.
    """

    parts: tuple[Part, ...] = PARTS
    cases: tuple[str, ...] = tuple(CASES)
    clients: tuple[int, ...] = (1, 16, 256)
    registered: tuple[int, ...] = (1, 1_000, 100_000)
    spread: tuple[int, ...] = (1, 100, 1_000)
    calls: int = 1_000_000
    rounds: int = 5
    pace: Pace = Pace(1.5)


QUICK = Plan(
    parts=("compare", "registered", "spread"),
    cases=("select1", "list_tables", "rows1000"),
    registered=(1, 1_000),
    spread=(1, 100),
    rounds=2,
    pace=Pace(0.5),
)
"""A minute or two: enough to see what is far off."""

FEW = 16
"""Clients where their number is not what is looked at."""


def compared(plan: Plan, targets: Sequence[str], number: int) -> Iterator[Point]:
    """Yield what one round of `compare` measures: each question of everybody in turn, the first of them another one."""
    for case in plan.cases:
        for clients in plan.clients:
            for target in rotated(targets, number):
                yield Point(target=target, case=case, clients=clients)


def grown(plan: Plan, target: str, number: int) -> Iterator[Point]:
    """Yield what one round of `registered` measures."""
    for case in ("select1", "list_tables"):
        for clients in (1, FEW):
            for count in rotated(plan.registered, number):
                yield Point(target=target, case=case, clients=clients, registered=count, part="registered")


def spread_out(plan: Plan, target: str, number: int) -> Iterator[Point]:
    """Yield what one round of `spread` measures, on the longest log."""
    most = max(plan.registered)
    for called in rotated([each for each in plan.spread if each <= most], number):
        yield Point(target=target, case="select1", clients=FEW, registered=most, spread=called, part="spread")


def called_of(plan: Plan, registered: int) -> int:
    """Return how many tenants of such a log are called: calls are spread in the longest log alone."""
    if registered < max(plan.registered) or "spread" not in plan.parts:
        return 1
    return max((each for each in plan.spread if each <= registered), default=1)
