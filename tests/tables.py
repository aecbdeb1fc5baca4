"""Tables of cases as one test that tells of all that fail, each by its values: a test for each is mostly overhead."""

import functools
import inspect
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

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
                with _Raised() as raised:
                    test(**fixtures, **values)
                if raised.error:
                    with subtests.test(name, **({} if name else values)):
                        raise raised.error

        wanted = [given for given in inspect.signature(test).parameters.values() if given.name not in rows[0][1]]
        subtests = inspect.Parameter("subtests", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([subtests, *wanted])  # type: ignore[attr-defined]  # what pytest reads
        return run

    return over_all


class _Raised:
    """Keeps what its block raises: a subtest for each case that passes would cost more than most of the tests do."""

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return isinstance(error, Exception | pytest.fail.Exception)


def _row(names: str | tuple[str, ...], case: Any) -> tuple[str | None, dict[str, object]]:  # noqa: ANN401 - any value
    name = None
    if isinstance(case, _NAMED):
        name, case = str(case.id), case.values if isinstance(names, tuple) else case.values[0]
    return name, dict(zip(names, case, strict=True)) if isinstance(names, tuple) else {names: case}
