"""A table of cases: one that fails makes its test fail, under its own name, and hides no other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.tables import table


class Told:
    """What pytest is told of the cases that fail."""

    def __init__(self) -> None:
        self.failed: list[tuple[object, str]] = []

    @contextmanager
    def test(self, name: str | None, **values: object) -> Iterator[None]:
        try:
            yield
        except (AssertionError, ValueError, pytest.fail.Exception) as error:
            self.failed.append((name or values, type(error).__name__))


def test_every_case_that_fails_is_told_by_its_name_or_its_values_and_none_that_passes() -> None:
    told, seen = Told(), list[int]()

    @table("number", [1, 2, pytest.param(3, id="three"), 4, 5])
    def check(number: int, half: int) -> None:
        seen.append(number)
        assert number != 2
        if number == 3:
            raise ValueError
        if number == 4:
            pytest.fail("four")
        assert half == 7

    check(subtests=told, half=7)

    assert seen == [1, 2, 3, 4, 5]
    assert told.failed == [({"number": 2}, "AssertionError"), ("three", "ValueError"), ({"number": 4}, "Failed")]


def test_what_stops_the_whole_run_stops_at_its_case() -> None:
    told = Told()

    @table(("left", "right"), [(1, 2), (3, 4)])
    def check(left: int, right: int) -> None:
        raise KeyboardInterrupt(left, right)

    with pytest.raises(KeyboardInterrupt, match="1, 2"):
        check(subtests=told)
    assert told.failed == []
