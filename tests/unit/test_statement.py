"""Which statements may run at all, before Postgres has a say."""

from server.statement import READS, statement_kind
from tests.tables import table


@table(
    ("query", "kind"),
    [
        ("SELECT 1", "SELECT"),
        ("select 1", "SELECT"),
        ("\n\t\v\f (( select 1 ))", "SELECT"),
        ("-- COMMIT\nSELECT 1", "SELECT"),
        ("-- one\r-- two\r\nSELECT 1", "SELECT"),
        ("/* COMMIT; */ SELECT 1", "SELECT"),
        ("/* a /* b */ COMMIT */SELECT 1", "SELECT"),
        ("(/**/(--\n(VALUES (1))))", "VALUES"),
        ("WITH x AS (SELECT 1) TABLE x", "WITH"),
        ("table pg_class", "TABLE"),
        ("EXPLAIN (ANALYZE) SELECT 1", "EXPLAIN"),
        ("SHOW ALL", "SHOW"),
        ("select(1)", "SELECT"),
    ],
)
def test_a_read_is_known_by_its_first_word_past_blanks_comments_and_parentheses(query: str, kind: str) -> None:
    assert statement_kind(query) == kind
    assert kind in READS


@table(
    "query",
    [
        "COMMIT",
        "/**/ROLLBACK",
        "-- SELECT\nBEGIN",
        "/* SELECT */ END",
        "/* /* */ SELECT */ ABORT",
        "SET TRANSACTION READ WRITE",
        "RESET ALL",
        "PREPARE x AS SELECT 1",
        "EXECUTE x",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "LISTEN x",
        "NOTIFY x",
        "LOAD 'x'",
        "COPY t TO STDOUT",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "LOCK t",
        "INSERT INTO t VALUES (1)",
        "SELECTS",
        "\N{NO-BREAK SPACE}SELECT 1",
        "\N{ZERO WIDTH SPACE}SELECT 1",
    ],
)
def test_what_ends_a_transaction_or_outlives_one_is_not_a_read(query: str) -> None:
    assert statement_kind(query) not in READS


@table("query", ["", "  ", "--", "-- SELECT", "/* SELECT", "/* /* */ SELECT", "((", "1", ";SELECT 1"])
def test_what_has_no_first_word_is_not_a_read(query: str) -> None:
    assert statement_kind(query) is None


def test_a_hundred_thousand_comments_are_passed_quickly() -> None:
    assert statement_kind("/**/--\n(" * 100_000 + "SELECT 1") == "SELECT"
