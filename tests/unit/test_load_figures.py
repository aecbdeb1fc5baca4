"""The bench's arithmetic: what a published figure is made of."""

import math

import pytest

from tests.benchmarks.load.figures import median, percentile, ratio, rotated, shown


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.50, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0


def test_the_order_in_which_calls_ended_does_not_matter() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == percentile([1.0, 2.0, 3.0], 0.5) == 2.0


def test_nothing_measured_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_round_without_a_figure_does_not_spoil_the_median() -> None:
    assert median([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(median([math.nan]))


def test_a_ratio_to_nothing_is_unknown_rather_than_endless() -> None:
    assert ratio(6.0, 3.0) == 2.0
    assert math.isnan(ratio(6.0, 0.0))
    assert math.isnan(ratio(6.0, math.nan))


def test_everybody_is_measured_first_in_some_round() -> None:
    servers = ["a", "b", "c"]
    assert [rotated(servers, number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert all(sorted(rotated(servers, number)) == servers for number in range(4))
    assert rotated([], 3) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01532, "0.015"), (1.534, "1.53"), (15.34, "15.3"), (153.4, "153"), (15_342.0, "15,342"), (0.0, "0")],
)
def test_a_figure_is_shown_with_three_digits_or_so(value: float, text: str) -> None:
    assert shown(value) == text


def test_a_figure_that_is_not_known_is_a_dash() -> None:
    assert shown(math.nan) == "-"
