"""What kind of statement a text is, told by its first word.

Rules: pure. The first of the layers that keep reads reads: what ends a transaction or outlives one (COMMIT, SET,
PREPARE, LISTEN, DO, CALL …) never begins with one of these words. It decides nothing else; the layers behind it do.
"""

import re
from typing import Final

from registry.errors import InvalidInput, QueryRefused

READS: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "SHOW"})
"""The first words of statements that may run."""

_SKIPPED: Final = re.compile(r"(?:[\s(]++|--[^\r\n]*+|/\*[^*/]*+\*/)++", re.ASCII)
"""White space, parentheses and comments of one level, as many as there are."""
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_WORD: Final = re.compile(r"[A-Za-z]+", re.ASCII)


def statement_kind(query: str) -> str | None:
    """Return the first word of a statement in capitals, past white space, comments and opening parentheses.

    None if there is none. Comments nest, as in Postgres; one without an end hides everything, as in Postgres.
    """
    position = 0
    while True:
        skipped = _SKIPPED.match(query, position)
        if skipped:
            position = skipped.end()
        elif query.startswith("/*", position):
            position = _past_comment(query, position)
        else:
            word = _WORD.match(query, position)
            return word[0].upper() if word else None


def _past_comment(query: str, position: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(query, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(query)


def require_text(query: str) -> None:
    """Raise `InvalidInput` if it is no SQL text at all."""
    if "\0" in query or not _is_unicode(query):
        raise InvalidInput(
            "The query holds a character that no SQL text can hold (NUL or half a surrogate pair); leave it out."
        )


def require_read(query: str) -> None:
    """Raise `QueryRefused` unless the statement begins like a read; `InvalidInput` if it is no SQL text at all."""
    require_text(query)
    kind = statement_kind(query)
    if kind not in READS:
        begun = f"this one begins with {kind[:40]}" if kind else "this one has no first word"
        raise QueryRefused(
            f"Only reads run here, which begin with {', '.join(sorted(READS))}; {begun}. To write, use execute_write."
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
