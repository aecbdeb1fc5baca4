"""docs/tools.md is where clients' authors learn what a tool answers: a field that it forgets is a field nobody uses."""

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from server.catalogue import Table
from tests.tables import table
from tests.tools import TOOLBOX

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
ROWS: Final = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCUMENT, re.MULTILINE))


def fields(kind: Any) -> Iterator[str]:  # noqa: ANN401 - any type's annotation
    """Yield the names of a struct's fields as they are encoded, and those of the structs in it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from fields(field.type)
    elif get_origin(kind) is Annotated or isinstance(kind, types.GenericAlias | types.UnionType):
        for part in get_args(kind):
            yield from fields(part)


@table("name", TOOLBOX.tools)
def test_the_document_names_every_field_of_an_answer(name: str) -> None:
    answer = get_type_hints(TOOLBOX.tools[name].run)["return"]
    told = set(re.findall(r"`(\w+)`", ROWS[name]))
    assert set(fields(answer)) <= told


def test_the_document_names_the_columns_of_a_list_of_tables() -> None:
    assert set(Table.__struct_fields__) <= set(re.findall(r"`(\w+)`", ROWS["list_tables"]))
