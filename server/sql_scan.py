"""The look at a text that could not be parsed: for names that do harm, wherever they stand.

Rules: pure, and stricter than what is done with a text that was parsed, for here nobody knows what is a name, a text or
a comment. It is told by the grammar of a later Postgres, is wrong in every grammar, or is too long.
"""

import re
from typing import Final

from server.sql_facts import Name
from server.sql_functions import KNOWN_BAD, RUN_TEXT
from server.sql_rules import ALL_SETTINGS, SAMPLES, SECRET_RELATIONS, SECRET_SETTINGS, Verdict
from server.statement import statement_kind

CALLS_AT_MOST: Final = 1000
"""Names that may be functions' of one text; more are not asked about."""

# Invariant: neither goes back into a word or a run of white space, so that the time is that of one pass: a text of one
# long word takes a search that tries each of its letters anew hours.
_WORD: Final = re.compile(r"(?<![A-Za-z0-9_$])[0-9$]*+([A-Za-z_][A-Za-z0-9_$]*+)", re.ASCII)
_CALLED: Final = re.compile(_WORD.pattern + r'"?\s*+(?=\(|/\*|--)', re.ASCII)
_FIELD: Final = re.compile(r'\.\s*+"?([A-Za-z_][A-Za-z0-9_$]*+)', re.ASCII)
"""What may be a call of a function of one argument: `(x).f` may be `f(x)`."""
_HIDDEN: Final = re.compile(r'u&"|\.\s*+(?:/\*|--)', re.IGNORECASE)
_NEVER: Final = frozenset(SECRET_RELATIONS) | SECRET_SETTINGS
_BAD: Final = KNOWN_BAD | RUN_TEXT
_EXPLAINED: Final = frozenset({"create", "declare", "delete", "execute", "insert", "merge", "refresh", "update"})
"""What an EXPLAIN may not name: EXPLAIN ANALYZE CREATE TABLE AS makes a table even in a read-only transaction."""


def scan(query: str) -> Verdict:
    """Return the verdict on a text that could not be parsed; cost: some ten nanoseconds a character."""
    if _HIDDEN.search(query):
        return Verdict(refusal='It was not understood, and names written U&"…" or behind a comment are not looked into')
    words = {word.lower() for word in _WORD.findall(query)}
    called = {name for word in (*_CALLED.findall(query), *_FIELD.findall(query)) for name in (word, word.lower())}
    kind = statement_kind(query)
    bad = sorted((words & _NEVER) | (called & _BAD) | (words & _EXPLAINED if kind == "EXPLAIN" else frozenset()))
    if bad:
        return Verdict(refusal=f"It was not understood, and {bad[0]} may not stand in it then, whatever it means")
    functions = frozenset(Name(None, word) for word in called)
    if len(functions) > CALLS_AT_MOST:
        return Verdict(refusal="It was not understood and holds too many names to look at; send values as params")
    return Verdict(
        functions=functions,
        anywhere=True,
        settings=kind == "SHOW" or "current_setting" in called or not words.isdisjoint(ALL_SETTINGS),
        samples=not words.isdisjoint(SAMPLES),
    )
