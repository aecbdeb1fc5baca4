"""What a read may be: the verdict on the facts of a statement.

Rules: pure. Whatever is not known to be part of a read is refused: a node of a grammar to come, a volatile function of
a version to come. What a read-only transaction does not stop is what matters here: functions that act outside of it,
session state, stored credentials.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from server import sql_functions
from server.sql_facts import Facts, Invocation, Name, facts_of
from server.sql_parse import Unparsed, parse

_IN_READS: Final = """
    SelectStmt ResTarget ColumnRef A_Star A_Const String Integer Float Boolean BitString ParamRef A_Expr BoolExpr
    NullTest BooleanTest FuncCall NamedArgExpr A_Indices A_Indirection A_ArrayExpr TypeCast TypeName CollateClause
    SubLink CaseExpr CaseWhen RowExpr CoalesceExpr MinMaxExpr SQLValueFunction XmlExpr XmlSerialize GroupingFunc
    GroupingSet SortBy WindowDef RangeVar RangeSubselect RangeFunction RangeTableSample RangeTableFunc
    RangeTableFuncCol JoinExpr Alias WithClause CommonTableExpr CTESearchClause CTECycleClause List ColumnDef
    SetToDefault
    JsonFuncExpr JsonValueExpr JsonFormat JsonReturning JsonOutput JsonArgument JsonTable JsonTableColumn
    JsonTablePathSpec JsonBehavior JsonObjectConstructor JsonArrayConstructor JsonArrayQueryConstructor
    JsonAggConstructor JsonObjectAgg JsonArrayAgg JsonKeyValue JsonIsPredicate JsonParseExpr JsonScalarExpr
    JsonSerializeExpr
"""
READ_NODES: Final = frozenset(_IN_READS.split())


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand in a statement.

    Attributes:
        allowed: Which nodes may stand in a statement, by its own.
        only: What runs at all, the beginning of a sentence.
        functions: Those that may be called although no read may call them.
    """

    allowed: Mapping[str, frozenset[str]]
    only: str
    functions: frozenset[str] = frozenset()


READS: Final = Rules(
    allowed={
        "SelectStmt": READ_NODES,
        "ExplainStmt": READ_NODES | {"ExplainStmt", "DefElem"},
        "VariableShowStmt": frozenset({"VariableShowStmt"}),
    },
    only="Only reads run here (SELECT, WITH, VALUES, TABLE, SHOW, EXPLAIN)",
)
_SAID: Final = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "IntoClause": "SELECT INTO makes a table, which",
    "LockingClause": "FOR UPDATE or FOR SHARE locks rows, which",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "SelectStmt": "SELECT",
    "TruncateStmt": "TRUNCATE",
    "RefreshMatViewStmt": "REFRESH",
    "VacuumStmt": "ANALYZE",
    "ExplainStmt": "EXPLAIN",
    "ExecuteStmt": "EXECUTE",
    "DeclareCursorStmt": "DECLARE",
}

SECRET_RELATIONS: Final = {
    "pg_authid": "password hashes; pg_roles has the rest",
    "pg_shadow": "password hashes; pg_user has the rest",
    "pg_user_mapping": "passwords of foreign servers; pg_foreign_server has the servers",
    "pg_user_mappings": "passwords of foreign servers; pg_foreign_server has the servers",
    "_pg_user_mappings": "passwords of foreign servers; pg_foreign_server has the servers",
    "user_mapping_options": "passwords of foreign servers; pg_foreign_server has the servers",
    "pg_subscription": "passwords of publishers; pg_stat_subscription has the rest",
    "pg_hba_file_rules": "who may log in how, with secrets of LDAP and RADIUS",
    "pg_ident_file_mappings": "who may log in as whom",
    "pg_file_settings": "secrets of the server's configuration; SHOW has single settings",
    # Where Postgres puts what is too long of the tables above.
    "pg_toast_1260": "password hashes",
    "pg_toast_1418": "passwords of foreign servers",
    "pg_toast_6100": "passwords of publishers",
    "pg_toast_2619": "samples of every column, those with passwords among them; pg_stats has them for one table",
}
"""Relations that hold stored credentials, which a superuser can read."""
_SYSTEM_SCHEMAS: Final = frozenset({None, "pg_catalog", "information_schema", "pg_toast"})

SECRET_SETTINGS: Final = frozenset(
    {
        "archive_cleanup_command",
        "archive_command",
        "primary_conninfo",
        "recovery_end_command",
        "restore_command",
        "ssl_passphrase_command",
    }
)
"""Settings that may hold a password, or a command with one in it."""
ALL_SETTINGS: Final = frozenset({"pg_settings", "pg_show_all_settings"})
"""The view of all settings, and the function behind it."""
SAMPLES: Final = frozenset({"pg_statistic", "pg_stats"})
"""Samples of all columns: once a superuser has analysed the catalogues, of columns with passwords, too."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one text before Postgres sees it.

    Attributes:
        refusal: Why it may not run, a sentence without its full stop; None if nothing speaks against it.
        functions: All that are called.
        operators, columns: What may call functions of the tenant's without being written like a call.
        settings: Whether it shows settings without naming them one by one.
        samples: Whether it reads the samples that Postgres keeps of columns.
        anywhere: Whether the functions may be of any schema, for nobody knows what stands before their names.
    """

    refusal: str | None = None
    functions: frozenset[Name] = frozenset()
    operators: frozenset[Name] = frozenset()
    columns: frozenset[str] = frozenset()
    settings: bool = False
    samples: bool = False
    anywhere: bool = False


def verdict_on(statements: Iterable[Facts], rules: Rules = READS) -> Verdict:
    """Return the verdict on the statements of one text, which must be one, and by the rules."""
    all_of_them = tuple(statements)
    if not all_of_them:
        return Verdict(refusal="There is no statement here")
    if len(all_of_them) > 1:
        return Verdict(refusal="One statement a call: send each statement in a call of its own")
    try:
        facts = tuple(_with_texts(all_of_them[0]))
    except _RunsText as problem:
        return Verdict(refusal=str(problem))
    refusal = next((why for each in facts for why in _refusals(each, rules)), None)
    if refusal is not None:
        return Verdict(refusal=refusal)
    calls = (call for each in facts for call in each.calls)
    return Verdict(
        functions=frozenset(call.name for call in calls if not sql_functions.rewrites_by_values(call)),
        operators=frozenset().union(*(each.operators for each in facts)),
        columns=frozenset(column.name for each in facts for column in each.columns),
        settings=any(_shows_settings(each) for each in facts),
        samples=any(relation.name in SAMPLES for each in facts for relation in each.relations),
    )


class _RunsText(Exception):
    """A text that is run as SQL is none that can be looked into."""


def _with_texts(facts: Facts) -> Iterator[Facts]:
    """Return a statement and those that it has run from texts, as far as functions are known that do that."""
    yield facts
    for call in facts.calls:
        if call.name.name in sql_functions.RUN_TEXT:
            yield from _text_of(call)


def _text_of(call: Invocation) -> Iterator[Facts]:
    for text in call.texts:
        if text is None:
            raise _RunsText(f"{call.name} runs a text as SQL; write it as one literal text, which can be looked into")
        try:
            (statement,) = parse(text)
        except (Unparsed, ValueError):
            raise _RunsText(f"{call.name} runs a text as SQL, and this one is no single statement") from None
        inner = facts_of(statement)
        if inner.node != "SelectStmt" or any(each.name.name in sql_functions.RUN_TEXT for each in inner.calls):
            raise _RunsText(f"{call.name} runs a text as SQL, which may only be a plain SELECT")
        yield inner


def _refusals(facts: Facts, rules: Rules) -> Iterator[str]:
    allowed = rules.allowed.get(facts.node)
    if allowed is None:
        yield f"{rules.only}; this is {said(facts.node)}"
        return
    for node in sorted(facts.nodes - allowed):
        yield f"{rules.only}; {said(node)} is no part of that"
    for target in facts.targets:
        if _is_systems(target):
            yield f"{target} may not be written to: it is the system's, or else write its schema before it"
    for call in facts.calls:
        why = None if call.name.name in rules.functions else sql_functions.refusal_of(call)
        if why is not None:
            yield f"The function {call.name} may not be called here: {why}"
    for relation in facts.relations:
        if relation.schema in _SYSTEM_SCHEMAS and relation.name in SECRET_RELATIONS:
            yield f"{relation} is not read here: it holds {SECRET_RELATIONS[relation.name]}"
    setting = _secret_setting(facts)
    if setting is not None:
        yield f"The setting {setting} is not shown here: it may hold a password"


def _is_systems(relation: Name) -> bool:
    """Whether Postgres may take it for one of its own, for nobody else's schema begins with pg_."""
    schema = relation.schema or relation.name
    return schema.startswith("pg_") or schema == "information_schema"


def said(node: str) -> str:
    """Return how a statement or clause is called that its node names."""
    return _SAID.get(node) or node.removesuffix("Stmt").removesuffix("Clause")


def _secret_setting(facts: Facts) -> str | None:
    if facts.setting is not None and facts.setting.lower() in SECRET_SETTINGS:
        return facts.setting
    if _reads_settings(facts):
        texts = {text.lower() for text in facts.texts}
        return next((name for name in sorted(SECRET_SETTINGS) if any(name in text for text in texts)), None)
    return None


def _reads_settings(facts: Facts) -> bool:
    return any(relation.name in ALL_SETTINGS for relation in facts.relations) or any(
        call.name.name in ALL_SETTINGS or call.name.name == "current_setting" for call in facts.calls
    )


def _shows_settings(facts: Facts) -> bool:
    """Whether it shows settings whose names do not stand in it."""
    if facts.setting is not None and facts.setting.lower() == "all":
        return True
    return any(relation.name in ALL_SETTINGS for relation in facts.relations) or any(
        call.name.name in ALL_SETTINGS
        or (call.name.name == "current_setting" and not any(text is not None for text in call.texts[:1]))
        for call in facts.calls
    )
