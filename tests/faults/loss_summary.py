"""A run in which Redis forgot, in numbers."""

from collections import Counter

import msgspec

from tests.faults.history import Applied, Broken, History, Lost, Noticed, Operation, Written
from tests.faults.kept import CLOCK, acknowledged, is_served, not_kept
from tests.faults.verdict import outcome_of

FINDINGS = frozenset({"log_gone", "log_replaced", "log_shortened", "caught_up", "resynchronised"})


class LossSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers; times in seconds.

    Attributes:
        seen_by_first: The longest time from a loss until a replica said so.
        seen_by_all: Until all said so that ever did.
        unread: Acknowledged changes whose entries nobody had read.
    """

    operations: int
    by_outcome: dict[str, int]
    faults: dict[str, int]
    findings: dict[str, int]
    acknowledged: int
    lost: int
    unread: int
    entries: int
    restorations: int
    restated: int
    seen_by_first: float
    seen_by_all: float


def summarise(history: History) -> LossSummary:
    """Count."""
    operations, written = history.of(Operation), history.of(Written)
    read = {mark.position for mark in history.of(Applied)}
    changes = list(acknowledged(history))
    delays = _delays(history)
    return LossSummary(
        operations=len(operations),
        by_outcome=dict(Counter(outcome_of(operation) for operation in operations).most_common()),
        faults=dict(Counter(fault.kind for fault in history.of(Broken)).most_common()),
        findings=dict(Counter(each.what for each in history.of(Noticed) if each.what in FINDINGS).most_common()),
        acknowledged=len({operation.command for operation, _ in changes}),
        lost=len({command for command, _ in not_kept(history)}),
        unread=sum(not is_served(each) and position not in read for each, position in changes),
        entries=len(written),
        restorations=sum(each.kind == "log_restored.v1" for each in written),
        restated=sum(each.kind == "tenant_restated.v1" for each in written),
        seen_by_first=max((each[0] for each in delays), default=0.0),
        seen_by_all=max((each[-1] for each in delays), default=0.0),
    )


def _delays(history: History) -> list[list[float]]:
    """Return, of each loss that was told, after how long the replicas did, the first one first."""
    lost = sorted((each for each in history.of(Lost) if each.told_by), key=lambda each: each.begun)
    found = []
    for each, until in zip(lost, [*(after.begun for after in lost[1:]), float("inf")], strict=True):
        firsts: dict[str, float] = {}
        for one in history.of(Noticed):
            if one.what in each.told_by and each.begun - CLOCK <= one.at <= until:
                firsts.setdefault(one.replica, max(0.0, one.at - each.healed))
        if firsts:
            found.append(sorted(firsts.values()))
    return found
