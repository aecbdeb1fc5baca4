"""Where SQL text becomes a tree: the one file that knows the parser, which is Postgres's own grammar (libpg_query)."""

from types import ModuleType
from typing import Any, Final

import msgspec

TEXT_AT_MOST: Final = 1 << 15
"""Bytes of a text that is parsed. Measured (Python 3.11, two shared cores): the worst text of that size, a list of
columns with names of one letter, takes 80 ms to be parsed and walked, in which every other call waits."""

_decode: Final = msgspec.json.Decoder().decode


def load() -> ModuleType:
    """Return the parser. To import it takes a tenth of a second, for which nobody should wait who needs none."""
    from pglast import parser  # noqa: PLC0415 - as the docstring says

    return parser


class Unparsed(Exception):
    """The text was not understood: a syntax error, a newer grammar, or too long or too deeply nested for a look."""


def fingerprint_of(query: str) -> str | None:
    """Return what is the same for texts that differ in literals and parameters alone; None if it cannot be parsed.

    16 hexadecimal digits, of which nothing can be told but that; bounded as `parse` is.
    """
    if len(query) > TEXT_AT_MOST or len(query.encode()) > TEXT_AT_MOST:
        return None
    parser = load()
    try:
        return str(parser.fingerprint(query))
    except parser.ParseError:
        return None


def parse(query: str) -> list[Any]:
    """Return the trees of the statements in a text, as libpg_query's JSON: `{"SelectStmt": {…}}` each.

    Raises `Unparsed`. Bounded in time, memory and stack whatever the text: see `TEXT_AT_MOST`; the grammar has a
    bound on nesting of its own, and what is nested too deeply for Python is told as unparsed.
    """
    if len(query) > TEXT_AT_MOST or len(query.encode()) > TEXT_AT_MOST:
        raise Unparsed("too long to be parsed")
    parser = load()
    try:
        return [statement["stmt"] for statement in _decode(parser.parse_sql_json(query))["stmts"]]
    except parser.ParseError as error:
        raise Unparsed(str(error.args[0])) from None
    except RecursionError:
        raise Unparsed("nested too deeply to be parsed") from None
