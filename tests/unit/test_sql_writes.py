"""What may be written: rows, and nothing that outlives the transaction or that others would run."""

import pytest

from server.sql_parse import TEXT_AT_MOST
from server.sql_writes import judged, too_long
from tests.tables import table


def refusal(text: str, *, dry_run: bool = False) -> str | None:
    return judged(text, dry_run=dry_run).verdict.refusal


@table(
    ("text", "kind"),
    [
        ("INSERT INTO t (a, b) VALUES ($1, DEFAULT) RETURNING *", "INSERT"),
        ("INSERT INTO t DEFAULT VALUES", "INSERT"),
        ("INSERT INTO t SELECT * FROM u ON CONFLICT (lower(a)) WHERE b DO UPDATE SET a = excluded.a", "INSERT"),
        ("INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING", "INSERT"),
        ("UPDATE t SET (a, b) = (SELECT 1, 2), c[1] = DEFAULT FROM u WHERE t.a = u.a RETURNING t.a", "UPDATE"),
        ("UPDATE t SET a = 1 RETURNING WITH (OLD AS o) o.a", "UPDATE"),
        ("DELETE FROM ONLY s.t USING u WHERE t.a = u.a", "DELETE"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)", "MERGE"),
        ("WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO archive SELECT * FROM gone", "INSERT"),
        ("WITH gone AS (DELETE FROM t RETURNING *) SELECT count(*) FROM gone", "SELECT"),
        ("SELECT * FROM t WHERE a = 1 FOR UPDATE SKIP LOCKED", "SELECT"),
        ("SELECT pg_advisory_xact_lock(1)", "SELECT"),
        ("SELECT nextval('s'), currval('s'), setval('s', 3)", "SELECT"),
        ("SELECT lo_from_bytea(0, $1)", "SELECT"),
        ("SELECT own.function_of_the_tenant(1)", "SELECT"),
        ("TRUNCATE a, s.b RESTART IDENTITY CASCADE", "TRUNCATE"),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH"),
        ("ANALYZE", "ANALYZE"),
        ("ANALYZE (VERBOSE) t (a, b)", "ANALYZE"),
        ("EXPLAIN (ANALYZE, BUFFERS) DELETE FROM t", "EXPLAIN"),
        ("INSERT INTO public.pg_things VALUES (1)", "INSERT"),
    ],
)
def test_rows_may_be_written(text: str, kind: str) -> None:
    write = judged(text, dry_run=False)

    assert write.verdict.refusal is None
    assert (write.kind, len(write.fingerprint or "")) == (kind, 16)


@table(
    "text",
    [
        *(
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "END",
            "ABORT",
            "SAVEPOINT a",
            "PREPARE TRANSACTION 'x'",
            "COMMIT PREPARED 'x'",
        ),
        *("SET a.b = 1", "SET LOCAL role = other", "RESET ALL", "SET SESSION AUTHORIZATION other", "SET ROLE other"),
        *("SET CONSTRAINTS ALL DEFERRED", "SET TRANSACTION READ WRITE", "DISCARD ALL", "LOAD 'x'", "CHECKPOINT"),
        *("LISTEN x", "NOTIFY x", "UNLISTEN *", "COPY t TO PROGRAM 'x'", "COPY t FROM STDIN", "DO $$ BEGIN END $$"),
        *(
            "CALL p()",
            "LOCK TABLE t",
            "PREPARE p AS SELECT 1",
            "EXECUTE p",
            "DEALLOCATE p",
            "SHOW work_mem",
            "VACUUM t",
        ),
        *("DECLARE c CURSOR FOR SELECT 1", "FETCH c", "MOVE c", "CLOSE c", "CLUSTER t", "REINDEX TABLE t"),
        *(
            "ALTER SYSTEM SET a = 1",
            "CREATE EXTENSION dblink",
            "CREATE ROLE r",
            "ALTER ROLE r SUPERUSER",
            "DROP ROLE r",
        ),
        *("CREATE DATABASE d", "DROP DATABASE d", "GRANT ALL ON t TO PUBLIC", "REVOKE ALL ON t FROM r", "GRANT a TO b"),
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()",
        *("CREATE TABLE t (a int DEFAULT f())", "CREATE TEMP TABLE t ()", "CREATE TABLE t AS SELECT 1"),
        *("SELECT * INTO copied FROM t", "CREATE VIEW v AS SELECT f()", "CREATE INDEX ON t (f(a))", "DROP TABLE t"),
        *(
            "ALTER TABLE t ADD a int",
            "CREATE RULE r AS ON SELECT TO t DO INSTEAD SELECT 1",
            "COMMENT ON TABLE t IS 'x'",
        ),
        *("CREATE SCHEMA s", "CREATE TYPE y AS (a int)", "CREATE POLICY p ON t", "SECURITY LABEL ON TABLE t IS 'x'"),
        *("SELECT set_config('role', 'other', true)", "SELECT pg_notify('a', 'b')", "SELECT pg_advisory_lock(1)"),
        *(
            "SELECT pg_read_file('x')",
            "SELECT lo_import('x')",
            "SELECT lo_export(1, 'x')",
            "SELECT pg_terminate_backend(1)",
        ),
        *(
            "SELECT dblink_exec('x', 'y')",
            "SELECT query_to_xml('DELETE FROM t', true, true, '')",
            "SELECT pg_reload_conf()",
        ),
        "INSERT INTO t SELECT ('/etc/passwd').pg_read_file",
        "INSERT INTO t SELECT set_config('a.b', 'c', false)",
        "WITH x AS (UPDATE t SET a = 1 RETURNING pg_sleep(1), pg_logical_emit_message(true, 'a', 'b')) SELECT 1",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "SELECT rolpassword FROM pg_authid",
        "UPDATE t SET a = current_setting('primary_conninfo')",
        *(
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'role'",
            "UPDATE pg_catalog.pg_authid SET rolsuper = true",
        ),
        *("DELETE FROM information_schema.sql_features", "TRUNCATE pg_largeobject", "TRUNCATE t, pg_toast.pg_toast_1"),
        *(
            "WITH x AS (DELETE FROM pg_class RETURNING 1) SELECT * FROM x",
            "MERGE INTO pg_type USING t ON true WHEN MATCHED THEN DELETE",
        ),
        "SELECT * FROM crosstab($1)",
        "SELECT * FROM crosstab('WITH x AS (DELETE FROM pg_class RETURNING 1) SELECT 1')",
        *("", "-- nothing", ";", "SELECT 1; COMMIT", "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"),
    ],
)
def test_nothing_else_is_run_as_a_write(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    "text", ["SELEC 1", "INSERT INTO t VALUES (1) BY NEWER GRAMMAR", "SELECT 1\0", "SELECT '\ud800'"]
)
def test_what_is_not_understood_is_refused_and_says_why(text: str) -> None:
    write = judged(text, dry_run=False)

    assert write.verdict.refusal
    assert (write.kind, write.fingerprint) == ("unparsed", None)


def test_a_dry_run_takes_numbers_of_a_sequence_and_does_not_set_it() -> None:
    assert refusal("SELECT nextval('s')", dry_run=True) is None
    assert "setval" in str(refusal("INSERT INTO t SELECT pg_catalog.setval('s', 1)", dry_run=True))
    assert refusal("SELECT setval('s', 1)") is None


def test_statements_that_differ_in_values_alone_have_one_fingerprint_which_tells_none_of_them() -> None:
    one, other = (judged(f"UPDATE t SET a = '{text}' WHERE b = {text}", dry_run=False) for text in ("1", "22"))

    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != judged("UPDATE t SET b = 1", dry_run=False).fingerprint


def test_what_would_take_long_to_look_at_is_refused_in_all() -> None:
    assert too_long(["x" * TEXT_AT_MOST]) is None
    assert "params" in str(too_long(["x" * (TEXT_AT_MOST // 2)] * 3))
