"""Each layer that keeps reads reads, the others taken away, against a real Postgres as a superuser."""

from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from registry.errors import QueryFailed, QueryRefused
from server import quick_reads, read_session
from server.asides import steps_of
from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, Rows, read
from server.sql_guard import Guard, Statement, trusted
from tests.databases import OneConnection, made_database, one_connection

LIMITS = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
SCHEMA = """
    CREATE TABLE t (id int);
    CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); RETURN 1; END $$;
    CREATE FUNCTION writes_too(int, int) RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO t VALUES (1); RETURN true; END $$;
    CREATE OPERATOR @#@ (LEFTARG = int, RIGHTARG = int, FUNCTION = writes_too);
    CREATE FUNCTION of_a_row(t) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); RETURN 1; END $$;
    CREATE FUNCTION of_a_row_and(t, int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO t VALUES (1); RETURN 1; END $$;
    CREATE DOMAIN some_t AS t;
    CREATE FUNCTION of_some(some_t) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1); RETURN 1; END $$;
    CREATE FUNCTION adds_and_writes(int, int) RETURNS int STRICT LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO t VALUES (1); RETURN $1 + $2; END $$;
    CREATE AGGREGATE sum_of(int) (
        SFUNC = int4pl, STYPE = int, MSFUNC = adds_and_writes, MINVFUNC = int4mi, MSTYPE = int);
    CREATE AGGREGATE sums(int) (SFUNC = adds_and_writes, STYPE = int);
    CREATE FUNCTION claims(text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('app.tenant_id', $1, false); RETURN $1; END $$;
    CREATE FUNCTION claims_too(text) RETURNS text LANGUAGE sql RETURN set_config('app.tenant_id', $1, false);
    CREATE FUNCTION does(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; RETURN 1; END $$;
    CREATE FUNCTION adds(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + 1';
"""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    return made_database(postgres, "layers", SCHEMA)


@pytest.fixture(params=["quick", "careful"])
async def pool(dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[OneConnection]:
    """One connection, so that each read gets what the one before left; backslashes are escapes in this database."""
    wired = request.param == "quick"
    async with one_connection(dsn, wired=wired, server_settings={"standard_conforming_strings": "off"}) as pool:
        yield pool


async def run(pool: OneConnection, statement: str | Statement) -> Rows:
    async with pool.acquire() as connection:
        return await read(connection, statement, limits=LIMITS)


@pytest.fixture
def writable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the read-only transaction away."""
    monkeypatch.setattr(read_session, "opening", lambda *_, **__: ("BEGIN",))
    monkeypatch.setattr(quick_reads, "_begin", lambda *_: (steps_of(["BEGIN"]), 1))


async def written(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM t)")
    await connection.close()
    return found


@pytest.mark.usefixtures("writable")
@pytest.mark.parametrize("text", ["SELECT 1; COMMIT; DELETE FROM t", "COMMIT; INSERT INTO t VALUES (1)"])
async def test_the_prepared_statement_alone_takes_one_statement(pool: OneConnection, dsn: str, text: str) -> None:
    with pytest.raises(QueryRefused, match="One statement a call"):
        await run(pool, trusted(text))
    assert not await written(dsn)


@pytest.mark.parametrize(
    "text", ["SELECT writes()", "SELECT 1 @#@ 2", "INSERT INTO t VALUES (1)", "SELECT does('CREATE TABLE u ()')"]
)
async def test_the_read_only_transaction_alone_stops_what_writes(pool: OneConnection, dsn: str, text: str) -> None:
    with pytest.raises(QueryRefused):
        await run(pool, trusted(text))
    assert not await written(dsn)


@pytest.mark.parametrize(
    "text",
    ["EXPLAIN ANALYZE CREATE TABLE u AS SELECT 1", "SELECT does('EXPLAIN ANALYZE CREATE TABLE u AS SELECT 1')"],
)
async def test_the_rollback_alone_undoes_the_table_that_a_read_only_transaction_lets_explain_make(
    pool: OneConnection, text: str
) -> None:
    assert (await run(pool, trusted(text))).row_count > 0
    assert (await run(pool, "SELECT to_regclass('u') IS NULL")).rows == [[True]]


@pytest.mark.usefixtures("writable")
@pytest.mark.parametrize("text", ["SELECT writes()", "INSERT INTO t VALUES (1) RETURNING id"])
async def test_the_rollback_alone_undoes_what_was_written(pool: OneConnection, dsn: str, text: str) -> None:
    assert (await run(pool, trusted(text))).rows == [[1]]
    assert not await written(dsn)


@pytest.mark.usefixtures("writable")
@pytest.mark.parametrize(
    "text",
    [
        "SELECT writes()",
        "SELECT 1 @#@ 2",
        "SELECT 1 OPERATOR(public.@#@) ANY (SELECT 1)",
        "SELECT 1 @#@ ALL (ARRAY[1])",
        "SELECT t.of_a_row FROM t",
        "SELECT (t).of_a_row FROM t",
        "SELECT t.of_a_row_and FROM t",
        "SELECT t.of_some FROM t",
        "SELECT sums(1)",
        "SELECT sum_of(g) OVER (ROWS 1 PRECEDING) FROM generate_series(1, 3) g",
        "SELECT does('INSERT INTO t VALUES (1)')",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM x",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
        "SELECT * INTO u FROM t",
        "SELECT lo_create(0)",
        "SELECT set_config('work_mem', '64kB', false)",
    ],
)
async def test_the_parser_and_the_catalogue_alone_refuse_what_writes_in_strict_mode(
    pool: OneConnection, text: str
) -> None:
    with pytest.raises(QueryRefused, match=r"may not be called|Only reads run"):
        await run(pool, Guard(strict=True).vet(text))


async def test_strict_mode_lets_what_only_reads_run(pool: OneConnection) -> None:
    rows = await run(pool, Guard(strict=True).vet("SELECT adds(1), lower('A'), count(*) FROM t WHERE id = ANY ('{1}')"))
    assert rows.rows == [[2, "a", 0]]
    rows = await run(pool, Guard(strict=True).vet("SELECT ts_rewrite('a'::tsquery, 'a'::tsquery, 'c'::tsquery)::text"))
    assert rows.rows == [["'c'"]]


async def test_a_text_means_to_postgres_what_it_means_to_the_parser(pool: OneConnection) -> None:
    """Where backslashes are escapes, the second text is code that reads a file."""
    hidden = r"SELECT '\', ' || pg_read_file($$/etc/passwd$$) --'"
    assert (await run(pool, hidden)).rows == [["\\", " || pg_read_file($$/etc/passwd$$) --"]]
    assert (await run(pool, "SHOW standard_conforming_strings")).rows == [["on"]]


LEFT = {
    "a role": "SET ROLE pg_monitor",
    "a session authorization": "SET SESSION AUTHORIZATION pg_monitor",
    "a search path": "SET search_path = elsewhere",
    "a temporary table": "CREATE TEMP TABLE t AS SELECT 42 AS id",
    "a temporary view": "CREATE TEMP VIEW v AS SELECT 1",
    "an advisory lock": "SELECT pg_advisory_lock(42)",
    "a prepared statement": "PREPARE left_behind AS SELECT 1",
    "a channel": "LISTEN left_behind",
    "a cursor": "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
    "a claim": "SET app.tenant_id = 'theirs'",
    "no limit": "SET statement_timeout = 0",
    "another way to read texts": "SET standard_conforming_strings = off",
    "another encoding": "SET client_encoding = 'SJIS'",
    "another time zone": "SET TimeZone = 'Asia/Tokyo'",
}
STATE = """
    SELECT current_user, session_user, current_setting('search_path'), current_setting('statement_timeout'),
           current_setting('client_encoding'), current_setting('TimeZone'),
           COALESCE(current_setting('app.tenant_id', true), ''),
           (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), to_regclass('t')::oid,
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
           (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '%left%'),
           (SELECT count(*) FROM pg_cursors WHERE is_holdable), (SELECT count(*) FROM pg_listening_channels())
"""


@pytest.mark.parametrize("what", LEFT)
async def test_the_reset_alone_undoes_what_a_committed_session_was_left_with(pool: OneConnection, what: str) -> None:
    """No guard, no transaction: what is left here stays, if the reset after the next read does not undo it."""
    clean = (await run(pool, STATE)).rows
    async with pool.acquire() as connection:
        await connection.execute(LEFT[what])
    with suppress(QueryFailed, QueryRefused):
        await run(pool, trusted("SELECT 1"))
    assert (await run(pool, STATE)).rows == clean


async def test_the_seed_of_one_caller_is_not_the_next_ones(pool: OneConnection) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SELECT setseed(0.5)")
        foreseen = await connection.fetchval("SELECT random()")
        await connection.execute("SELECT setseed(0.5)")
    await run(pool, trusted("SELECT 1"))
    assert (await run(pool, "SELECT random()")).rows != [[foreseen]]


@pytest.mark.parametrize(
    "text", ["SELECT claims('theirs')", "SELECT claims_too('theirs')", "SELECT does('SET app.tenant_id = 1')"]
)
async def test_a_setting_that_a_function_made_up_does_not_even_leave_its_name(pool: OneConnection, text: str) -> None:
    """RESET ALL leaves an empty setting of that name, which tells the next caller who was here: the session ends."""
    assert (await run(pool, text)).row_count == 1
    assert (await run(pool, "SELECT current_setting('app.tenant_id', true)")).rows == [[None]]


async def test_what_was_not_understood_says_so_and_still_cannot_write(pool: OneConnection, dsn: str) -> None:
    long = "/* " + "x" * 40_000 + " */"
    assert (await run(pool, f"SELECT 1 {long}")).guard == "unparsed"
    assert (await run(pool, "SELECT 1")).guard is None
    for text in ("WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) TABLE x", "SELECT 1; COMMIT", "SELECT writes()"):
        with pytest.raises((QueryRefused, QueryFailed)):
            await run(pool, f"{text} {long}")
    assert not await written(dsn)
