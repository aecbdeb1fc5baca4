"""Tables of cases as one test that tells of all that fail, each by its values: a test each costs four times as much."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import pytest

Test: TypeAlias = Callable[..., None]

_NAMED: Final = type(pytest.param())


def table(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Have a test take every case as with `pytest.mark.parametrize`, but as one test.

    Args:
        names: Which of the test's arguments a case gives: one, or several.
        cases: A value each, or as many values as there are names; a `pytest.param` is told by its id.

    What fixtures give is made once, the same for all cases: not for a test that changes it.
    """
    rows = [_row(names, case) for case in cases]

    def over_all(test: Test) -> Test:
        @functools.wraps(test)
        def run(subtests: pytest.Subtests, **fixtures: object) -> None:
            for name, values in rows:
                with subtests.test(name, **({} if name else values)):
                    test(**fixtures, **values)

        wanted = [given for given in inspect.signature(test).parameters.values() if given.name not in rows[0][1]]
        subtests = inspect.Parameter("subtests", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([subtests, *wanted])  # type: ignore[attr-defined]  # what pytest reads
        return run

    return over_all


def _row(names: str | tuple[str, ...], case: Any) -> tuple[str | None, dict[str, object]]:  # noqa: ANN401 - any value
    name = None
    if isinstance(case, _NAMED):
        name, case = str(case.id), case.values if isinstance(names, tuple) else case.values[0]
    return name, dict(zip(names, case, strict=True)) if isinstance(names, tuple) else {names: case}
