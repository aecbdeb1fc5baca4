"""What a parsed statement does, as flat facts: which nodes, functions and relations stand anywhere in it.

Rules: pure. A tree is walked whole and without recursion, whatever the nodes are, so that nothing escapes by standing
in a place that nobody thought of; what may be done is decided elsewhere (`server/sql_rules.py`).
"""

from typing import Any, Final

import msgspec

KINDS: Final = {
    "SelectStmt": "read",
    "VariableShowStmt": "read",
    "ExplainStmt": "read",
    "InsertStmt": "write",
    "UpdateStmt": "write",
    "DeleteStmt": "write",
    "MergeStmt": "write",
    "TransactionStmt": "transaction",
}
"""What a statement is by its own node; any that is not here is `utility`. A read may still hold a write."""
WRITES: Final = frozenset(node for node, kind in KINDS.items() if kind == "write")

_TYPED_FIELDS: Final = {"intoClause": "IntoClause"}
"""Fields whose node the parser does not name."""


class Name(msgspec.Struct, frozen=True, array_like=True):
    """A name as the statement has it, folded and unquoted as Postgres does it; `schema` is None if there is none."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


class Invocation(msgspec.Struct, frozen=True):
    """One call of a function.

    Attributes:
        name: The function's.
        texts: Its arguments: a text where that is a literal one, else None.
    """

    name: Name
    texts: tuple[str | None, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One statement.

    Attributes:
        node: Its own: `SelectStmt`, `InsertStmt`, …
        nodes: All that stand in it, its own included.
        functions: All calls, also those that are written like a field: `(x).f` may be `f(x)`.
        relations: All tables and views that are named; also names of its own WITH.
        operators: All operators that are written with symbols.
        columns: All columns that are named with their table: `t.f` may be a call of `f(t)`.
        sources: What functions in FROM are called by: of one that returns a single value, `t.f` may be a call with that
            value, whatever its type. None among them stands for a name that nobody wrote.
        texts: All literal texts.
        targets: All relations that are written, emptied, refreshed or analysed.
        setting: What a SHOW shows.
        vacuums: Whether it is a VACUUM and no ANALYZE, which the grammar has as one.
    """

    node: str
    nodes: frozenset[str]
    functions: tuple[Invocation, ...] = ()
    relations: frozenset[Name] = frozenset()
    operators: frozenset[Name] = frozenset()
    columns: frozenset[Name] = frozenset()
    sources: frozenset[str | None] = frozenset()
    texts: frozenset[str] = frozenset()
    targets: frozenset[Name] = frozenset()
    setting: str | None = None
    vacuums: bool = False

    @property
    def calls(self) -> list[Invocation]:
        """All calls, those included that a column of a function in FROM may be."""
        hidden = (column for column in self.columns if column.schema in self.sources or None in self.sources)
        return [*self.functions, *(Invocation(Name(None, column.name), (None,)) for column in hidden)]

    @property
    def kind(self) -> str:
        """One of the values of `KINDS`, or `utility`."""
        return KINDS.get(self.node, "utility")

    @property
    def writes(self) -> bool:
        """Whether an INSERT, UPDATE, DELETE or MERGE stands in it, at the top, in a WITH or in an EXPLAIN."""
        return not WRITES.isdisjoint(self.nodes)


def facts_of(statement: dict[str, Any]) -> Facts:
    """Return the facts of one statement, `{"SelectStmt": {…}}`."""
    node, body = next(iter(statement.items()))
    walk = _Walk()
    walk.over(statement)
    return Facts(
        node=node,
        nodes=frozenset(walk.nodes),
        functions=tuple(walk.functions),
        relations=frozenset(walk.relations),
        operators=frozenset(walk.operators),
        columns=frozenset(walk.columns),
        sources=frozenset(walk.sources),
        texts=frozenset(walk.texts),
        targets=frozenset(walk.targets),
        setting=body.get("name") if node == "VariableShowStmt" else None,
        vacuums=bool(body.get("is_vacuumcmd")),
    )


class _Walk:
    """What was seen on the way."""

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        self.functions: list[Invocation] = []
        self.relations: set[Name] = set()
        self.operators: set[Name] = set()
        self.columns: set[Name] = set()
        self.sources: set[str | None] = set()
        self.texts: set[str] = set()
        self.targets: set[Name] = set()

    def over(self, tree: object) -> None:
        pending = [tree]
        while pending:
            at = pending.pop()
            if isinstance(at, list):
                pending += at
            elif isinstance(at, dict):
                for key, value in at.items():
                    if isinstance(value, (dict, list)):
                        pending.append(value)
                        self._note(key, value)

    def _note(self, key: str, value: Any) -> None:  # noqa: ANN401 - a node's fields, or the nodes of a field
        if key in _TYPED_FIELDS:
            self.nodes.add(_TYPED_FIELDS[key])
        elif key[0].isupper():
            self.nodes.add(key)
            note = _NOTED.get(key)
            if note is not None:
                note(self, value)


def _note_function(walk: _Walk, call: dict[str, Any]) -> None:
    walk.functions.append(Invocation(_name(call["funcname"]), tuple(map(_text, call.get("args", ())))))


def _note_relation(walk: _Walk, relation: dict[str, Any]) -> None:
    walk.relations.add(Name(relation.get("schemaname"), relation["relname"]))


def _note_target(walk: _Walk, body: dict[str, Any]) -> None:
    if "relation" in body:  # ANALYZE may name none
        walk.targets.add(Name(body["relation"].get("schemaname"), body["relation"]["relname"]))


def _note_targets(walk: _Walk, body: dict[str, Any]) -> None:
    for relation in body["relations"]:
        _note_target(walk, {"relation": relation["RangeVar"]})


def _note_expression(walk: _Walk, expression: dict[str, Any]) -> None:
    walk.operators.add(_name(expression["name"]))


def _note_sublink(walk: _Walk, link: dict[str, Any]) -> None:
    if "operName" in link:
        walk.operators.add(_name(link["operName"]))


def _note_order(walk: _Walk, order: dict[str, Any]) -> None:
    if "useOp" in order:
        walk.operators.add(_name(order["useOp"]))


def _note_column(walk: _Walk, reference: dict[str, Any]) -> None:
    names = _strings(reference["fields"])
    if len(names) > 1:
        walk.columns.add(Name(*names[-2:]))


def _note_fields(walk: _Walk, selection: dict[str, Any]) -> None:
    text = _text(selection["arg"])
    walk.functions += [Invocation(Name(None, name), (text,)) for name in _strings(selection["indirection"])]


def _note_source(walk: _Walk, function: dict[str, Any]) -> None:
    walk.sources.add(function.get("alias", {}).get("aliasname"))


def _strings(fields: list[dict[str, Any]]) -> list[str]:
    return [field["String"].get("sval", "") for field in fields if "String" in field]


def _note_constant(walk: _Walk, constant: dict[str, Any]) -> None:
    if "sval" in constant:
        walk.texts.add(constant["sval"].get("sval", ""))


_NOTED: Final = {
    "FuncCall": _note_function,
    "RangeVar": _note_relation,
    "A_Expr": _note_expression,
    "SubLink": _note_sublink,
    "SortBy": _note_order,
    "ColumnRef": _note_column,
    "A_Indirection": _note_fields,
    "RangeFunction": _note_source,
    "A_Const": _note_constant,
    "RefreshMatViewStmt": _note_target,
    "VacuumRelation": _note_target,
    "TruncateStmt": _note_targets,
    **dict.fromkeys(WRITES, _note_target),
}


def _name(parts: list[dict[str, Any]]) -> Name:
    *before, name = [part["String"].get("sval", "") for part in parts]
    return Name(before[-1] if before else None, name)


def _text(argument: dict[str, Any]) -> str | None:
    """Return an argument's text if it is a literal one, also one with its name or its type written out."""
    wrapped = argument.get("NamedArgExpr") or argument.get("TypeCast")
    if wrapped:
        return _text(wrapped["arg"])
    text = argument.get("A_Const", {}).get("sval")
    return None if text is None else text.get("sval", "")
