"""docs/writes.md keeps up with the tool, the errors and the bounds."""

import re
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec

from registry import errors
from registry.errors import TenancyError
from server.audit import Line, Outcome
from server.audit_file import PATIENCE
from server.sql_parse import TEXT_AT_MOST
from server.sql_writes import judged
from server.write_tools import ExecuteWrite
from server.writes import Writes

DOCS: Final = Path(__file__).parents[2] / "docs"
DOCUMENT: Final = (DOCS / "writes.md").read_text("utf-8")


def shown(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.+?)```", DOCUMENT, re.DOTALL)


def test_the_call_that_is_shown_is_one_that_the_tool_takes() -> None:
    (call,) = re.findall(r"-d '(.+?)'", DOCUMENT, re.DOTALL)
    arguments: dict[str, Any] = msgspec.json.decode(call)["params"]["arguments"]
    args = msgspec.convert(arguments, ExecuteWrite)

    assert args.dry_run
    assert [judged(each.sql, dry_run=True).verdict.refusal for each in args.statements] == [None, None]


def test_the_answer_and_the_line_that_are_shown_are_what_is_given() -> None:
    answer, line = shown("json")

    assert msgspec.json.decode(answer, type=Writes).committed is False
    assert msgspec.json.decode(line, type=Line).outcome == "committed"
    assert msgspec.json.decode(line).keys() <= {field.name for field in msgspec.structs.fields(Line)}


def test_every_code_and_outcome_that_is_told_of_is_there() -> None:
    rows = re.findall(r"^\| (`.+?) \|", DOCUMENT, re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    known = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TenancyError)}

    assert {"outcome_unknown", "read_only_tenant"} < codes <= known
    assert all(f"`{outcome}`" in DOCUMENT for outcome in get_args(Outcome))


def test_the_bounds_are_as_they_are_told() -> None:
    statements = get_type_hints(ExecuteWrite, include_extras=True)["statements"]
    (bound,) = get_args(statements)[1:]

    assert f"{bound.min_length} to {bound.max_length} statements" in DOCUMENT
    assert f"up to {TEXT_AT_MOST >> 10} KiB in all" in DOCUMENT
    assert PATIENCE == 5
    assert "did not answer within five seconds" in (DOCS / "operations.md").read_text("utf-8").replace("\n", " ")
