"""What the guard of reads makes of a text before Postgres has seen it."""

import pytest

from registry.errors import InvalidInput, QueryRefused
from server.sql_facts import Name
from server.sql_functions import is_built_in
from server.sql_guard import Guard, classify
from server.sql_parse import TEXT_AT_MOST, Unparsed
from server.sql_rules import verdict_on
from server.sql_scan import CALLS_AT_MOST, scan
from tests.tables import table


@table(
    "text",
    [
        "SELECT a.id, count(*) FILTER (WHERE x > 1) OVER w FROM a JOIN b USING (id) GROUP BY 1 WINDOW w AS ()",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n + 1 FROM r) CYCLE n SET c USING p SELECT * FROM r",
        "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
        "SHOW work_mem",
        "SELECT EXISTS (SELECT FROM a ORDER BY 1)",
        "TABLE shop.pg_shadow",
        "SELECT ts_rewrite('a & b'::tsquery, 'a'::tsquery, 'c'::tsquery)",
        "SELECT * FROM crosstab('SELECT 1, 2, 3') AS c(a int, b int)",
        "SELECT * FROM JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (a int PATH '$'))",
    ],
)
def test_what_reads_may_run(text: str) -> None:
    assert Guard().vet(text).guard == "parsed"


@table(
    ("text", "why"),
    [
        ("SELECT 1; SELECT 2", "One statement a call"),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1", "DELETE is no part"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "INSERT is no part"),
        ("EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "CREATE TABLE AS is no part"),
        ("SELECT 1 UNION (SELECT 2 INTO x)", "SELECT INTO makes a table"),
        ("SELECT 1 FROM t FOR SHARE", "locks rows"),
        ("SELECT pg_read_file('x')", "volatile"),
        ("SELECT U&\"pg\\005fread_file\"('x')", "volatile"),
        ("SELECT txid_current()", "transaction id"),
        ("SELECT elsewhere.dblink('x')", "another server"),
        ("SELECT * FROM cron.schedule('x', 'y')", "text as SQL"),
        ("SELECT * FROM crosstab('DELETE FROM t')", "plain SELECT"),
        ("SELECT * FROM crosstab('SELECT pg_read_file(''x'')')", "volatile"),
        ("SELECT * FROM crosstab('SELECT 1' || 'x')", "one literal text"),
        ("SELECT * FROM crosstab('SELECT 1; SELECT 2')", "no single statement"),
        ("SELECT * FROM crosstab('SELEC 1')", "no single statement"),
        ("SELECT * FROM crosstab('SELECT * FROM crosstab(''x'')')", "plain SELECT"),
        ("SELECT * FROM pg_authid", "password hashes"),
        ("SHOW primary_conninfo", "may hold a password"),
        ("SELECT current_setting('Primary_conninfo')", "may hold a password"),
        ("SELECT setting FROM pg_settings WHERE name = 'primary_conninfo'", "may hold a password"),
    ],
)
def test_what_does_more_than_read_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(QueryRefused, match=why):
        Guard().vet(text)


@pytest.mark.parametrize(
    ("text", "kind", "writes"),
    [
        ("SELECT 1", "read", False),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1", "read", True),
        ("EXPLAIN ANALYZE MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "read", True),
        ("UPDATE t SET a = 1", "write", True),
        ("COMMIT", "transaction", False),
        ("VACUUM t", "utility", False),
    ],
)
def test_a_statement_is_told_for_what_it_is(text: str, kind: str, *, writes: bool) -> None:
    (facts,) = classify(text)
    assert (facts.kind, facts.writes) == (kind, writes)


def test_no_statement_is_none_that_may_run() -> None:
    assert verdict_on(()).refusal is not None


def test_a_function_of_an_unknown_schema_is_not_taken_for_postgres_own() -> None:
    assert is_built_in(Name(None, "lower"))
    assert not is_built_in(Name("elsewhere", "lower"))
    assert str(Name("elsewhere", "lower")) == "elsewhere.lower"


def test_a_text_without_a_statement_is_refused() -> None:
    with pytest.raises(QueryRefused, match="no first word"):
        Guard().vet("-- nothing")


def test_what_no_sql_text_can_hold_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidInput):
        Guard().vet("SELECT '\0'")


def test_the_catalogue_is_asked_of_what_postgres_does_not_bring() -> None:
    verdict = Guard().vet("SELECT lower(a), f(b), public.g(t.c) FROM t ORDER BY a USING @#@").verdict
    assert verdict.functions == {Name(None, "lower"), Name(None, "f"), Name("public", "g")}
    assert Name(None, "@#@") in verdict.operators
    assert "c" in verdict.columns


def test_an_operator_before_any_is_one() -> None:
    assert Name("shop", "@#@") in Guard().vet("SELECT 1 OPERATOR(shop.@#@) ANY (SELECT 1)").verdict.operators


@pytest.mark.parametrize(
    "text",
    ["SELECT current_setting($1)", "SHOW ALL", "TABLE pg_settings", f"/* {'x' * TEXT_AT_MOST} */ SHOW ALL"],
    ids=["by a value", "all", "the view", "all, in a long text"],
)
def test_settings_that_are_not_named_are_asked_about(text: str) -> None:
    assert Guard().vet(text).verdict.settings


@pytest.mark.parametrize(
    "text", ["TABLE pg_stats", f"TABLE pg_stats /* {'x' * TEXT_AT_MOST} */"], ids=["short", "long"]
)
def test_samples_of_columns_are_asked_about(text: str) -> None:
    assert Guard().vet(text).verdict.samples


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 WHERE A GRAMMAR TO COME (1)",
        "SELECT 1 /* " + "x" * TEXT_AT_MOST + " */",
        "SELECT " + "(" * 12_000 + "1" + ")" * 12_000,
        "SELECT 1" + "+1" * 16_000,
    ],
    ids=["a grammar to come", "long", "deep", "a long chain"],
)
def test_what_cannot_be_parsed_runs_and_says_so_and_in_strict_mode_does_not(text: str) -> None:
    assert Guard().vet(text).guard == "unparsed"
    with pytest.raises(QueryRefused, match="Only what can be parsed"):
        Guard(strict=True).vet(text)


@table(
    "text",
    [
        "SELECT pg_read_file ('x') ) (",
        'SELECT "pg_read_file"\n(1) ) (',
        "SELECT pg_read_file/**/(1) ) (",
        "SELECT 1pg_read_file -- (\n(1) ) (",
        "SELECT * FROM PG_AUTHID ) (",
        "SELECT crosstab('x') ) (",
        "SELECT U&\"pg!005fread_file\" UESCAPE '!' (1) ) (",
        "SELECT restore_command ) (",
        "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1 ) (",
    ],
)
def test_a_name_that_does_harm_may_not_stand_in_what_cannot_be_parsed(text: str) -> None:
    with pytest.raises(QueryRefused, match="not understood"):
        Guard().vet(text)


def test_the_catalogue_is_asked_of_all_that_may_be_called_in_what_cannot_be_parsed() -> None:
    assert scan('SELECT f(1), "g" (2), h /* */ (3), i').functions == {Name(None, name) for name in "fgh"}


def test_more_names_than_can_be_asked_about_are_refused() -> None:
    assert scan(" ".join(f"f{number}(" for number in range(CALLS_AT_MOST + 1))).refusal is not None


def test_a_verdict_is_remembered_for_the_text_that_comes_again() -> None:
    guard = Guard()
    assert guard.vet("SELECT 1") is guard.vet("SELECT 1")


def test_the_texts_that_are_remembered_are_bounded() -> None:
    guard = Guard()
    first = guard.vet("SELECT 0")
    for number in range(1, 600):
        guard.vet(f"SELECT {number}")
    assert guard.vet("SELECT 0") is not first


def test_what_is_too_long_for_the_parser_is_said_to_be_unparsed_not_parsed_in_part() -> None:
    with pytest.raises(Unparsed, match="too long"):
        classify("SELECT '" + "é" * TEXT_AT_MOST + "'")
