"""The guard of reads: what a caller's text is, before Postgres sees it.

Three looks, each of which holds alone: the first word (`server/statement.py`), the tree that Postgres's own grammar
makes of it (`server/sql_rules.py`), and what the tenant's catalogue says of functions that Postgres does not bring
(`server/sql_catalogue.py`), which needs a connection and is taken in `server/reads.py`. A text that the grammar does
not take is looked through for names that do harm (`server/sql_scan.py`) and left to Postgres, to run it or to say what
is wrong.
"""

from collections import OrderedDict
from typing import Final, Literal

import msgspec

from registry.errors import QueryRefused
from server.sql_facts import Facts, facts_of
from server.sql_functions import is_built_in
from server.sql_parse import Unparsed, parse
from server.sql_rules import Verdict, verdict_on
from server.sql_scan import scan
from server.statement import require_read

_KEPT: Final = 512
_KEPT_BYTES: Final = 1 << 13
"""Verdicts are kept of so many texts, none longer: at most 4 MiB of text."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A text that may be run as a read, as far as can be told without its tenant's catalogue.

    Attributes:
        text: As the caller wrote it.
        guard: `parsed`; `unparsed` when the grammar did not take it; `trusted` when it is this program's own.
        strict: Whether volatile functions of the tenant's own are refused as well.
        tidy: Whether nothing in it can prepare statements of its own, so that those of the connection may stay.
        verdict: What is to be asked of the catalogue.
    """

    text: str
    guard: Literal["parsed", "unparsed", "trusted"]
    strict: bool = False
    tidy: bool = False
    verdict: Verdict = Verdict()


def trusted(text: str, *, tidy: bool = False) -> Statement:
    """Return a fixed statement of this program's own, which nobody looks into. Never a caller's."""
    return Statement(text=text, guard="trusted", tidy=tidy)


def classify(text: str) -> list[Facts]:
    """Return what each statement of a text is and holds. Raises `Unparsed`."""
    return [facts_of(statement) for statement in parse(text)]


class Guard:
    """Looks at callers' texts, and remembers what it found.

    Args:
        strict: Refuse volatile functions of the tenant's own, and texts that cannot be parsed.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._kept: OrderedDict[str, Statement] = OrderedDict()

    def vet(self, text: str) -> Statement:
        """Return the text as a statement. Raises `QueryRefused`, or `InvalidInput` if it is no SQL text at all."""
        known = self._kept.get(text)
        if known is not None:
            self._kept.move_to_end(text)
            return known
        require_read(text)
        statement = self._judged(text)
        if statement.verdict.refusal is not None:
            raise QueryRefused(f"{statement.verdict.refusal}.")
        if len(text) <= _KEPT_BYTES:
            self._keep(statement)
        return statement

    def _keep(self, statement: Statement) -> None:
        self._kept[statement.text] = statement
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _judged(self, text: str) -> Statement:
        try:
            verdict = verdict_on(classify(text))
        except Unparsed as problem:
            if self._strict:
                raise QueryRefused(
                    f"Only what can be parsed runs here, and this cannot: {problem}. Correct it, or write it in a "
                    "simpler way."
                ) from None
            return Statement(text=text, guard="unparsed", verdict=scan(text))
        tidy = all(is_built_in(name) for name in verdict.functions)
        return Statement(text=text, guard="parsed", strict=self._strict, tidy=tidy, verdict=verdict)
