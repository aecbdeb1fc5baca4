"""Plays every scenario beside this file. With REWRITE_SCENARIOS=1 it writes down what came instead of comparing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.txt")), ids=lambda path: str(path.stem))
def test_the_story_goes_as_it_is_told(path: Path, play: Callable[[str], str]) -> None:
    told = path.read_text()

    happened = play(told)

    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(happened)
    assert os.environ.get("REWRITE_SCENARIOS") or happened == told
