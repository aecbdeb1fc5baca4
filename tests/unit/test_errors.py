"""Errors that are told again: to somebody else, and without what stood around them the first time."""

import traceback

import pytest

from registry.errors import TenancyError

FAMILY = [TenancyError, *TenancyError.__subclasses__()]


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_for_the_next_one_but_for_the_frames_that_it_came_through(
    kind: type[TenancyError],
) -> None:
    def asked(password: str) -> None:
        raise kind(f"{len(password)} is too short.", field="password", version=3)

    with pytest.raises(kind) as caught:
        asked("canary-s3cr3t")
    first = caught.value
    first.names_anybody = True
    again = first.again()
    assert type(again) is kind
    assert (again.message, again.facts, again.code) == (first.message, first.facts, first.code)
    assert again.names_anybody
    assert traceback.extract_tb(again.__traceback__) == []
    assert again.__context__ is None
