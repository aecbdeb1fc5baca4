"""What is made of many measurements: percentiles, medians, ratios. Pure."""

import math
import statistics
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` (0 to 1) of all are not above; nan of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the median of those that are numbers; nan of none."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def ratio(value: float, base: float) -> float:
    """Return how many times `base` the value is; nan where one of them is unknown or the base is nothing."""
    return value / base if base else math.nan


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Return the items in turn, beginning `by` places further: who is measured first is not always the same."""
    if not items:
        return []
    start = by % len(items)
    return [*items[start:], *items[:start]]


def shown(value: float) -> str:
    """Return three digits or so, as people write them: 0.0153, 1.53, 153, 15,300; a dash for nan."""
    if math.isnan(value):
        return "-"
    magnitude = abs(value)
    if magnitude >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}" if magnitude >= 1 else f"{value:.3f}"
