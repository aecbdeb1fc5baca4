"""What a tool tells of an error is all that a model has to go on: each message says what to do next."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from registry import errors
from registry.errors import TenancyError
from tests.tables import table

ROOT: Final = Path(__file__).parents[2]
ON_THE_WAY: Final = (
    *("audit", "binding", "catalogue", "confirmation", "cursors", "login_errors", "pools", "principal", "prompts"),
    *("rates", "reach", "resources", "roles", "secret_files", "sql_guard", "sqlstates", "statement", "tenant_policy"),
    *("tenant_pool", "tenant_tools", "toolbox", "write_errors", "write_tools"),
)
SOURCES: Final = (
    *(ROOT / "server" / f"{name}.py" for name in ON_THE_WAY),
    *(ROOT / "registry" / f"{name}.py" for name in ("answers", "decide", "inputs", "names", "password_refs")),
    ROOT / "projections" / "freshness.py",
)
KINDS: Final = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, TenancyError)
}
# Words that tell somebody what to do, or what is to be given.
ACTION: Final = re.compile(
    r"\b(add|ask|begin|cast|check|choose|correct|end|give|grant|have it|leave|look|must|name|put|read|register|send"
    r"|start|take|takes|there are|tell|try|turn|upgrade|use|write|list_\w+|may only|may have \S+ characters)\b",
    re.IGNORECASE,
)


def said(node: ast.expr) -> str | None:
    """Return a message as it is written, with `{}` for what is put in; None where it is made elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        case _:
            return None


def messages() -> Iterator[tuple[str, str]]:
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                text = said(node.args[0])
                if text is not None and text != "{}.":  # a refusal of a statement is written where it is decided
                    yield f"{source.stem}:{node.lineno}", text


@table("text", [pytest.param(text, id=where) for where, text in messages()])
def test_a_message_says_what_to_do_next(text: str) -> None:
    # What ends in something put in ends in advice that is looked up: how to write a value, what there is instead.
    assert ACTION.search(text) or text.endswith(("{}", "{}."))
