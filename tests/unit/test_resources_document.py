"""docs/resources.md names the addresses and prompts that there are, and who may have them."""

import re
from pathlib import Path
from typing import Final

from server.announcements import MOST_URIS
from server.prompts import PROMPTS
from server.resources import FIXED, PAGE, TEMPLATES
from tests.tools import TOOLBOX

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "resources.md").read_text("utf-8")
ROWS: Final = [re.findall(r"`([^`]+)`", row) for row in DOCUMENT.splitlines() if row.startswith("| `")]


def test_each_address_stands_there_with_its_tool_and_what_reading_it_takes() -> None:
    told = {(row[0], row[1], row[2]) for row in ROWS if "://" in row[0]}
    assert told == {(each.uri, each.tool, TOOLBOX.tools[each.tool].needs) for each in (*FIXED, *TEMPLATES)}


def test_each_prompt_stands_there_with_its_arguments_and_what_it_takes() -> None:
    told = {tuple(row) for row in ROWS if row[0] in PROMPTS}
    assert told == {(each.name, *(known.name for known in each.arguments), each.needs) for each in PROMPTS.values()}


def test_the_bounds_are_those_that_hold() -> None:
    assert f"A page has {PAGE} tenants." in DOCUMENT
    assert f"A subscription names {MOST_URIS} addresses at most." in DOCUMENT
