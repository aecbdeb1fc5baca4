"""What clients are told of the tools is read by a model before its first call, and paid for by its user each time."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from server.mcp_server import _described
from server.toolbox import Tool
from tests.tables import table
from tests.tools import TOOLBOX

BUDGET: Final = 10_000
"""Bytes of the whole list: 2,500 tokens at the four bytes that a token of such text has at least."""
OBVIOUS: Final = {"host", "database", "user", "limit"}
TOO_SHORT: Final = 20

every_tool: Final = table("known", [pytest.param(known, id=name) for name, known in TOOLBOX.tools.items()])


def told(known: Tool) -> dict[str, Any]:
    return _described(known).model_dump(by_alias=True, exclude_none=True)


def arguments(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, each in schema.get("properties", {}).items():
        yield name, each
        yield from arguments(each.get("items", {}))


def test_all_tools_together_cost_a_model_less_than_the_budget() -> None:
    listed = msgspec.json.encode({"tools": [told(known) for known in TOOLBOX.tools.values()]})
    assert len(listed) < BUDGET


@every_tool
def test_a_tool_and_each_argument_whose_name_does_not_say_it_all_are_described(known: Tool) -> None:
    assert len(known.description) > TOO_SHORT
    silent = {name for name, each in arguments(known.input_schema) if not each.get("description")}
    assert silent <= OBVIOUS


@every_tool
def test_nothing_is_told_that_a_client_would_assume_anyway(known: Tool) -> None:
    assert told(known).keys() == {"name", "description", "inputSchema", "annotations"}
    for _, each in arguments(known.input_schema):
        assert not {"title", "format", "minimum", "maxLength"} & each.keys()
        assert each.get("default", True)
        assert {"type": "null"} not in each.get("anyOf", ())
