"""SECURITY.md names code and tests that are there, and claims nothing for which it names none."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = (ROOT / "SECURITY.md").read_text("utf-8")
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.splitlines()
    if line.startswith("|") and line.count("|") == 5
]


def linked(text: str) -> list[str]:
    return re.findall(r"\]\(([^)#]+)\)", text)


def test_all_that_it_links_to_is_there() -> None:
    assert len(linked(DOCUMENT)) > 50
    assert [path for path in linked(DOCUMENT) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "row", [row for row in ROWS if set(row[0]) != {"-"} and row[3] != "test"], ids=lambda row: row[0]
)
def test_what_is_said_to_hold_names_its_code_and_its_test_or_says_that_it_does_not_hold(row: list[str]) -> None:
    _, holds, code, tests = row
    if not tests:
        assert not code
        assert re.search(r"nothing|so far|not claimed|proxy's", holds), "a claim without a test"
    assert [path for path in linked(tests) if not path.startswith("tests/")] == []
