"""What a write may be: the verdict on one of its statements.

Rules: pure. Rows may be written, whatever reads them beside: INSERT, UPDATE, DELETE, MERGE, SELECT with any of them in
its WITH, and what empties, refreshes or analyses a table. All else is refused:

- What ends the transaction or outlives it, or acts outside of it, as for reads.
- What defines (CREATE, ALTER, DROP, COMMENT, GRANT …): a view, a default, an index or a trigger holds code that others
  run, with their rights; who may write rows is not to plant any. And a role that is taken on holds only as long as
  nobody can make a function that gives it back.
- Writes to Postgres's own relations, which a superuser could: UPDATE pg_settings is a SET.
- What cannot be parsed: a transaction that writes stops nothing of what nobody has looked at.
"""

from typing import Final

import msgspec

from registry.errors import InvalidInput
from server.sql_facts import WRITES, Facts
from server.sql_guard import classify
from server.sql_parse import TEXT_AT_MOST, Unparsed, fingerprint_of
from server.sql_rules import READ_NODES, Rules, Verdict, said, verdict_on
from server.statement import require_text

_ROWS: Final = READ_NODES | WRITES | {"LockingClause", "MultiAssignRef", "IndexElem", "MergeWhenClause"}
_ROWS_RETURNED: Final = _ROWS | {"ReturningOption"}
_FUNCTIONS: Final = """
    nextval setval pg_current_xact_id txid_current
    pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
    lo_create lo_from_bytea lo_get lo_put lo_unlink
"""
"""Sequences, the transaction's own id, locks that end with it, and large objects, which are rows of a kind."""
_RULES: Final = Rules(
    allowed={
        **dict.fromkeys((*sorted(WRITES), "SelectStmt"), _ROWS_RETURNED),
        "ExplainStmt": _ROWS_RETURNED | {"ExplainStmt", "DefElem"},
        "TruncateStmt": frozenset({"TruncateStmt", "RangeVar"}),
        "RefreshMatViewStmt": frozenset({"RefreshMatViewStmt"}),
        "VacuumStmt": frozenset({"VacuumStmt", "VacuumRelation", "DefElem", "String", "Integer", "Float", "Boolean"}),
    },
    only="Only rows are written here (INSERT, UPDATE, DELETE, MERGE, SELECT, TRUNCATE, REFRESH, ANALYZE, EXPLAIN)",
    functions=frozenset(_FUNCTIONS.split()),
)
_NOT_UNDONE: Final = "setval"
"""What a dry run would leave behind, for others to see; a number that nextval took is missed by nobody."""


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One statement of a write, looked at.

    Attributes:
        text: As the caller wrote it.
        kind: What it is, in a word: INSERT, SELECT, …; `unparsed`.
        fingerprint: The same for texts that differ in literals alone; None if it was not understood.
        verdict: Whether it may run, and what is to be asked of the catalogue.
    """

    text: str
    kind: str
    fingerprint: str | None = None
    verdict: Verdict


def judged(text: str, *, dry_run: bool) -> Write:
    """Return the statement with its verdict; the time it takes is bounded as `parse` is."""
    try:
        require_text(text)
        statements = classify(text)
    except InvalidInput as problem:
        return Write(text=text, kind="unparsed", verdict=Verdict(refusal=problem.message.rstrip(".")))
    except Unparsed as problem:
        why = f"Only what can be parsed is run as a write, and this cannot: {problem}; correct it, or write it simpler"
        return Write(text=text, kind="unparsed", verdict=Verdict(refusal=why))
    return Write(
        text=text,
        kind=said(statements[0].node) if statements else "nothing",
        fingerprint=fingerprint_of(text),
        verdict=_verdict(statements, dry_run=dry_run),
    )


def too_long(texts: list[str]) -> str | None:
    """Return why so much is not looked at in one call; None if it is not too much."""
    if sum(map(len, texts)) <= TEXT_AT_MOST:
        return None
    return f"The statements are longer than {TEXT_AT_MOST} characters in all: send values as params, or several calls"


def _verdict(statements: list[Facts], *, dry_run: bool) -> Verdict:
    if any(statement.node == "VacuumStmt" and statement.vacuums for statement in statements):
        return Verdict(refusal=f"{_RULES.only}; VACUUM runs in no transaction")
    verdict = verdict_on(statements, _RULES)
    if dry_run and any(called.name == _NOT_UNDONE for called in verdict.functions):
        return Verdict(refusal="setval is not undone when a dry run is; leave it out, or write")
    return verdict
