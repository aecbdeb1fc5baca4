"""How often each tool was called, what came of it, and how long it took."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds; one more is without bound."""


class Durations:
    """How long something took, in buckets."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def note(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Sequence[tuple[str, int]]:
        """Return how many took at most each bound, as Prometheus wants it."""
        bounds, told, so_far = [*map(str, BUCKETS), "+Inf"], [], 0
        for bound, count in zip(bounds, self.counts, strict=True):
            so_far += count
            told.append((bound, so_far))
        return told


class ToolTally:
    """Calls by tool and outcome: `ok`, `cancelled`, or an error's code."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], int] = {}
        self.durations: dict[str, Durations] = {}

    def note(self, tool: str, outcome: str, seconds: float) -> None:
        """Count one call of a tool that there is: callers make up names, and each would be kept."""
        self.outcomes[tool, outcome] = self.outcomes.get((tool, outcome), 0) + 1
        durations = self.durations.get(tool)
        if durations is None:
            durations = self.durations[tool] = Durations()
        durations.note(seconds)
