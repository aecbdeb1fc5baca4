"""Guarded reads against a real Postgres, as a superuser: each layer must hold where privileges would not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import pytest

from registry.errors import ConnectionLost, InvalidInput, QueryFailed, QueryRefused, QueryTimeout
from server import quick_reads, read_session
from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, Rows, prepare_connection, read
from server.sql_catalogue import Known
from server.sql_guard import Statement, trusted
from tests.databases import OneConnection, made_database, one_connection

LIMITS = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
SOON = 5.0
SCHEMA = """
    CREATE TABLE t (id int PRIMARY KEY, word text);
    INSERT INTO t SELECT i, 'w' || i FROM generate_series(1, 1000) AS i;
    CREATE SEQUENCE s;
    CREATE ROLE other;
    CREATE FUNCTION prepares() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'PREPARE left_behind AS SELECT 1'; RETURN 1; END $$;
    CREATE FUNCTION listens() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'LISTEN left_behind'; RETURN 1; END $$;
    CREATE FUNCTION holds() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1'; RETURN 1; END $$;
    CREATE FUNCTION reads(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
    CREATE FUNCTION commits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'COMMIT'; RETURN 1; END $$;
    CREATE FUNCTION forges() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'query argument $9: forged' USING ERRCODE = '22000'; END $$;
"""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    return made_database(postgres, "reads", SCHEMA)


@pytest.fixture
async def admin(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture(params=["quick", "careful"])
async def pool(dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[OneConnection]:
    """One connection, so that each read gets what the one before left; read in both ways."""
    async with one_connection(dsn, wired=request.param == "quick") as pool:
        yield pool


async def run(
    pool: OneConnection, query: str | Statement, *params: object, known: Known | None = None, **limits: float
) -> Rows:
    async with pool.acquire() as connection:
        return await read(connection, query, params, limits=msgspec.structs.replace(LIMITS, **limits), known=known)


async def run_unlooked_at(pool: OneConnection, query: str) -> Rows:
    """Run what no guard has seen: what is left is the transaction, the limits and the reset."""
    return await run(pool, trusted(query))


async def backend(pool: OneConnection) -> int:
    pid: int = (await run(pool, "SELECT pg_backend_pid()")).rows[0][0]
    return pid


async def until(admin: asyncpg.Connection, condition: str, *params: object) -> None:
    """Wait until it is so in Postgres."""
    async with asyncio.timeout(SOON):
        while not await admin.fetchval(f"SELECT {condition}", *params):  # noqa: ASYNC110 - Postgres has no event
            await asyncio.sleep(0.01)


SLEEPING = "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE 'SELECT pg_sleep%')"


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT 1", [[1]]),
        ("SELECT 1;", [[1]]),
        ("(((SELECT 1)))", [[1]]),
        ("-- one\n/* two */ VALUES (1), (2)", [[1], [2]]),
        ("WITH x AS (SELECT 1) TABLE x", [[1]]),
        ("SHOW server_encoding", [["UTF8"]]),
        ("SELECT FROM t WHERE id < 3", [[], []]),
        ("SELECT word FROM t WHERE false", []),
    ],
)
async def test_what_reads_runs(pool: OneConnection, query: str, rows: list[list[Any]]) -> None:
    assert (await run(pool, query)).rows == rows


async def test_a_result_without_rows_still_has_its_columns(pool: OneConnection) -> None:
    rows = await run(pool, "SELECT id, word FROM t WHERE false")
    assert [(column.name, column.type) for column in rows.columns] == [("id", "int4"), ("word", "text")]
    assert msgspec.json.decode(msgspec.json.encode(rows)) == {
        "columns": [{"name": "id", "type": "int4"}, {"name": "word", "type": "text"}],
        "rows": [],
        "row_count": 0,
        "truncated": False,
    }


async def test_a_plan_can_be_read_and_measured(pool: OneConnection) -> None:
    assert "Index" in (await run(pool, "EXPLAIN (ANALYZE) SELECT * FROM t WHERE id = 1")).rows[0][0]


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO t VALUES (0)",
        "COMMIT",
        "/**/ ROLLBACK",
        "SET TRANSACTION READ WRITE",
        "PREPARE x AS SELECT 1",
        "LISTEN x",
        "COPY t TO STDOUT",
        "DO $$ BEGIN END $$",
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; COMMIT",
        "SELECT 1; DELETE FROM t",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM t",
        "SELECT * INTO copied FROM t",
        "SELECT * FROM t FOR UPDATE",
        "SELECT nextval('s')",
        "SELECT pg_catalog.lo_create(0)",
    ],
)
async def test_what_does_not_read_is_refused_and_changes_nothing(
    pool: OneConnection, admin: asyncpg.Connection, query: str
) -> None:
    with pytest.raises(QueryRefused):
        await run(pool, query)
    assert await admin.fetchval("SELECT count(*) FROM t") == 1000
    assert await admin.fetchval("SELECT to_regclass('copied') IS NULL AND NOT is_called FROM s")
    assert (await run(pool, "SELECT 1")).rows == [[1]]


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO t VALUES (0)",
        "CREATE TABLE copied ()",
        "DELETE FROM t",
        "DO $$ BEGIN DELETE FROM t; END $$",
        "CALL pg_catalog.pg_sleep(0)",
    ],
)
async def test_the_transaction_does_not_write_whatever_the_guard_lets_through(
    pool: OneConnection, admin: asyncpg.Connection, query: str
) -> None:
    with pytest.raises((QueryRefused, QueryFailed)):
        await run_unlooked_at(pool, query)
    assert await admin.fetchval("SELECT count(*) FROM t") == 1000


@pytest.mark.parametrize(
    "query",
    [
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT set_config('transaction_read_only', 'off', false) FROM nextval('s')",
        "SELECT commits()",
    ],
)
async def test_a_statement_cannot_leave_its_transaction_or_make_it_write(
    pool: OneConnection, admin: asyncpg.Connection, query: str
) -> None:
    with pytest.raises((QueryRefused, QueryFailed)):
        await run_unlooked_at(pool, query)
    assert await admin.fetchval("SELECT NOT is_called FROM s")


@pytest.mark.parametrize("query", ["SELECT 1\0; DELETE FROM t", "SELECT '\ud800'"])
async def test_text_that_no_query_can_hold_is_refused_before_it_is_sent(pool: OneConnection, query: str) -> None:
    pid = await backend(pool)
    with pytest.raises(InvalidInput, match="character"):
        await run(pool, query)
    assert await backend(pool) == pid


POISONS = {
    "a role": "SELECT set_config('role', 'other', false)",
    "a session authorization": "SELECT set_config('session_authorization', 'other', false)",
    "a search path": "SELECT set_config('search_path', 'elsewhere', false)",
    "another tenant's claim": "SELECT set_config('app.tenant_id', 'theirs', false)",
    "no timeout": "SELECT set_config('statement_timeout', '0', false)",
    "writing by default": "SELECT set_config('default_transaction_read_only', 'off', false)",
    "an advisory lock": "SELECT pg_advisory_lock(42)",
    "a shared advisory lock": "SELECT pg_advisory_lock_shared(43)",
    "a prepared statement": "SELECT prepares()",
    "a channel": "SELECT listens()",
    "a cursor": "SELECT holds()",
    "a failure": "SELECT 1 / 0",
}
STATE = """
    SELECT current_user, session_user, current_setting('search_path'), current_setting('default_transaction_read_only'),
           COALESCE(current_setting('app.tenant_id', true), ''), current_setting('statement_timeout'),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
           (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '%left%'),
           (SELECT count(*) FROM pg_cursors WHERE is_holdable), (SELECT count(*) FROM pg_listening_channels())
"""


@pytest.mark.parametrize("poison", POISONS)
async def test_nothing_that_one_caller_leaves_reaches_the_next(pool: OneConnection, poison: str) -> None:
    clean, pid = (await run(pool, STATE)).rows, await backend(pool)
    with suppress(QueryFailed, QueryRefused):  # some of it Postgres would not have at all
        await run_unlooked_at(pool, POISONS[poison])
    assert (await run(pool, STATE)).rows == clean
    assert await backend(pool) == pid, "the connection was clean enough to be kept"


async def test_a_connection_that_cannot_be_reset_is_never_used_again(
    pool: OneConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await backend(pool)
    monkeypatch.setattr(read_session, "_RESET", "%sROLLBACK; SELECT %s / 0%s")
    quick_reads._around_seed.cache_clear()
    assert (await run(pool, "SELECT 1")).rows == [[1]]
    monkeypatch.undo()
    quick_reads._around_seed.cache_clear()
    assert await backend(pool) != pid


async def test_the_driver_still_knows_its_types_after_a_reset(pool: OneConnection) -> None:
    for _ in range(3):
        rows = await run(pool, "SELECT ARRAY[now()], '{1,2}'::int8[], $1::numrange", "empty")
        assert rows.rows[0][1:] == [[1, 2], "empty"]


async def test_a_small_read_takes_four_round_trips(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    await prepare_connection(connection)
    packets = await _packets(connection, monkeypatch, "SELECT * FROM t LIMIT 10")
    await connection.close()
    assert packets == 4


async def test_a_function_that_postgres_does_not_bring_is_asked_about_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    await prepare_connection(connection)
    known = Known()
    packets = [await _packets(connection, monkeypatch, "SELECT reads(1)", known) for _ in range(2)]
    packets.append(await _packets(connection, monkeypatch, "SELECT lower('A'), count(*) FROM t", Known()))
    await connection.close()
    assert packets == [6, 4, 4]


async def _packets(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, query: str, known: Known | None = None
) -> int:
    """Count how often this side waits for the server."""
    waits = 0
    driver: Any = connection
    protocol = driver._protocol
    calls = ("query", "prepare", "bind_execute", "execute", "bind", "close_portal")

    class Counting:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the driver's
            nonlocal waits
            waits += name in calls
            return getattr(protocol, name)

    monkeypatch.setattr(connection, "_protocol", Counting())
    await read(connection, query, limits=LIMITS, known=known)
    monkeypatch.undo()
    return waits


async def test_rows_stop_at_their_limit_and_say_so(pool: OneConnection) -> None:
    rows = await run(pool, "SELECT id FROM t ORDER BY id", max_rows=3)
    assert (rows.rows, rows.row_count, rows.truncated, rows.truncated_by) == ([[1], [2], [3]], 3, True, "rows")


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000])
async def test_a_result_of_exactly_the_limit_is_whole(pool: OneConnection, count: int) -> None:
    rows = await run(pool, f"SELECT id FROM t ORDER BY id LIMIT {count}", max_rows=count)
    assert (rows.row_count, rows.truncated) == (count, False)
    assert rows.rows == [[number] for number in range(1, count + 1)]


@pytest.mark.parametrize("limit", [1024, 5000, 100_000])
async def test_rows_fill_the_limit_of_bytes_as_far_as_they_fit(pool: OneConnection, limit: int) -> None:
    rows = await run(pool, "SELECT repeat('ä', 100) FROM t", max_bytes=limit, max_rows=100_000)
    encoded = len(msgspec.json.encode(rows.rows))
    assert (rows.truncated, rows.truncated_by) == (True, "bytes") if limit < 100_000 else True
    assert limit - 300 < encoded <= limit + 1


async def test_a_row_larger_than_the_limit_leaves_none_and_says_why(pool: OneConnection) -> None:
    rows = await run(pool, "SELECT repeat('x', 10000) AS x", max_bytes=2048)
    assert (rows.rows, rows.truncated_by) == ([], "bytes")
    assert rows.columns[0].name == "x"


async def test_a_billion_rows_are_not_read(pool: OneConnection) -> None:
    rows = await run(pool, "SELECT generate_series(1, 1000000000)", max_rows=10)
    assert rows.row_count == 10


async def test_rows_of_a_gigabyte_cost_one_call_and_not_the_process(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed, match="too large"):
        await run(pool, "SELECT repeat('x', 100000000) FROM generate_series(1, 64)")
    assert (await run(pool, "SELECT 1")).rows == [[1]]


@pytest.mark.parametrize("value", ["row(g)", "g", "now()", "g::numeric"])
async def test_a_row_that_would_take_long_to_decode_is_refused_before_that(pool: OneConnection, value: str) -> None:
    with pytest.raises(QueryFailed, match=r"too large.*left\(column, 1000\)"):
        await run(pool, f"SELECT array_agg({value}) FROM generate_series(1, 400000) AS g")
    assert (await run(pool, "SELECT 1")).rows == [[1]]


@pytest.mark.parametrize(("length", "fitting"), [(300_000, 3), (1_000_000, 1)])
async def test_rows_beyond_those_that_fit_are_left_out_and_the_connection_lives(
    pool: OneConnection, length: int, fitting: int
) -> None:
    known, query = Known(), f"SELECT repeat('x', {length}) FROM t"
    with suppress(ConnectionLost):  # too much to come at once: next time it comes in steps
        await run(pool, query, known=known)
    pid = await backend(pool)
    rows = await run(pool, query, known=known)
    assert (rows.row_count, rows.truncated_by) == (fitting, "bytes")
    assert await backend(pool) == pid


async def test_an_error_that_quotes_a_long_value_is_cut(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed) as caught:
        await run(pool, "SELECT repeat('x', 500000)::int")
    assert caught.value.facts["sqlstate"] == "22P02"
    assert len(caught.value.message) < 1100


async def test_an_error_of_many_megabytes_costs_its_call_alone(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed, match="too large") as caught:
        await run(pool, "SELECT repeat('x', 30000000)::int")
    assert len(caught.value.message) < 1100
    assert (await run(pool, "SELECT 1")).rows == [[1]]


async def test_an_error_that_quotes_control_characters_writes_them_out(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed, match=r"a\\u001b\\u000ab") as caught:
        await run(pool, r"SELECT E'a\x1b\nb'::int")
    assert caught.value.message.isprintable()


async def test_a_statement_that_somebody_cancels_is_not_said_to_have_met_its_limit(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    pid = await backend(pool)
    call = asyncio.create_task(run(pool, "SELECT pg_sleep(60)"))
    await until(admin, SLEEPING)
    await admin.execute(f"SELECT pg_cancel_backend({pid})")
    with pytest.raises(QueryFailed, match="was cancelled in Postgres"):
        await call


async def test_a_statement_ends_at_its_timeout_in_postgres_too(pool: OneConnection, admin: asyncpg.Connection) -> None:
    pid = await backend(pool)
    with pytest.raises(QueryTimeout, match=r"0\.1 s"):
        await run(pool, "SELECT pg_sleep(60)", statement_timeout=0.1)
    assert not await admin.fetchval(f"SELECT {SLEEPING}")
    assert await backend(pool) == pid


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pg_sleep(0.01), repeat('x', 500) FROM generate_series(1, 1000)",
        "SELECT pg_sleep(60) FROM (SELECT set_config('statement_timeout', '0', false) OFFSET 0) AS lifted",
    ],
)
async def test_a_statement_ends_even_if_it_dodges_postgres_own_timeout(
    pool: OneConnection, admin: asyncpg.Connection, query: str
) -> None:
    begun = time.monotonic()
    with pytest.raises(QueryTimeout):
        await run(pool, trusted(query), statement_timeout=0.8)
    assert time.monotonic() - begun < SOON
    await until(admin, f"NOT {SLEEPING}")


async def test_a_lock_is_waited_for_only_so_long(pool: OneConnection, admin: asyncpg.Connection) -> None:
    async with admin.transaction():
        await admin.execute("LOCK TABLE t")
        with pytest.raises(QueryFailed, match="lock") as caught:
            await run(pool, "SELECT * FROM t", lock_timeout=0.05)
    assert caught.value.facts["sqlstate"] == "55P03"
    assert (await run(pool, "SELECT count(*) FROM t")).rows == [[1000]]


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.001, 0.002, 0.1])
async def test_a_call_that_is_cancelled_is_cancelled_in_postgres_and_the_connection_lives(
    pool: OneConnection, admin: asyncpg.Connection, delay: float
) -> None:
    pid = await backend(pool)
    call = asyncio.create_task(run(pool, "SELECT pg_sleep(60)"))
    await asyncio.sleep(delay)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, SOON)
    assert not await admin.fetchval(f"SELECT {SLEEPING}")
    assert (await run(pool, STATE)).rows[0][0] == "postgres"
    assert await backend(pool) == pid


async def test_a_call_that_is_cancelled_again_and_again_still_cleans_up(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    call = asyncio.create_task(run(pool, "SELECT pg_sleep(60)"))
    await until(admin, SLEEPING)
    async with asyncio.timeout(SOON):
        while not call.done():  # as anyio's cancel scopes do
            call.cancel()
            await asyncio.sleep(0)
    assert call.cancelled()
    await until(admin, f"NOT {SLEEPING}")
    assert (await run(pool, "SELECT 1")).rows == [[1]]


async def test_a_backend_that_is_killed_fails_its_call_alone(pool: OneConnection, admin: asyncpg.Connection) -> None:
    pid = await backend(pool)
    call = asyncio.create_task(run(pool, "SELECT pg_sleep(60)"))
    await until(admin, SLEEPING)
    await admin.execute(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(ConnectionLost) as caught:
        await call
    assert caught.value.retryable
    assert (await run(pool, "SELECT 1")).rows == [[1]]


async def test_a_connection_that_died_while_leased_is_said_to_be_lost(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    async with pool.acquire() as connection:
        pid = (await read(connection, "SELECT pg_backend_pid()", limits=LIMITS)).rows[0][0]
        await admin.execute(f"SELECT pg_terminate_backend({pid})")
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await read(connection, "SELECT 1", limits=LIMITS)


async def test_a_connection_that_dies_at_any_instant_is_said_to_be_lost(dsn: str, admin: asyncpg.Connection) -> None:
    for moment in range(40):
        connection = await asyncpg.connect(dsn, statement_cache_size=0)
        await prepare_connection(connection)
        killing = asyncio.create_task(admin.execute(f"SELECT pg_terminate_backend({connection.get_server_pid()})"))
        await asyncio.sleep(moment * 0.0001)
        with suppress(ConnectionLost):  # it may also have been too quick to die
            assert (await read(connection, "SELECT 1", limits=LIMITS)).rows == [[1]]
        await killing
        with suppress(ConnectionLost):
            await read(connection, "SELECT 1", limits=LIMITS)
        connection.terminate()


@pytest.mark.parametrize(
    ("query", "sqlstate", "position"),
    [
        ("SELECT * FORM t", "42601", 10),
        ("SELECT * FROM nosuch", "42P01", 15),
        ("SELECT wrod FROM t", "42703", 8),
        ("SELECT 1 / 0", "22012", None),
        ("SELECT 'x'::int", "22P02", 8),
        ("SELECT forges()", "22000", None),
    ],
)
async def test_an_error_of_postgres_is_told_with_its_sqlstate_and_place(
    pool: OneConnection, query: str, sqlstate: str, position: int | None
) -> None:
    with pytest.raises(QueryFailed) as caught:
        await run(pool, query)
    assert caught.value.facts["sqlstate"] == sqlstate
    assert caught.value.facts.get("position") == position


async def test_a_type_that_has_no_values_is_an_error_and_not_a_crash(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed, match="column::text"):
        await run(pool, "SELECT NULL::pg_ddl_command")


async def test_a_parameter_of_many_megabytes_arrives(pool: OneConnection) -> None:
    assert (await run(pool, "SELECT length($1::text)", "x" * (30 << 20))).rows == [[30 << 20]]


async def test_a_hint_of_postgres_reaches_the_caller(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed, match="Perhaps you meant") as caught:
        await run(pool, "SELECT t.wrd FROM t")
    assert "t.word" in str(caught.value.facts["hint"])


@pytest.mark.parametrize(
    ("query", "params", "message"),
    [
        ("SELECT $1::int", [], r"the statement has 1 \(\$1 int4\), params has 0"),
        ("SELECT 1", [1], "the statement has none, params has 1"),
        ("SELECT $1::int", ["x"], r"Parameter \$1 has the Postgres type int4"),
        ("SELECT $1::int[]", [[[1], [2, 3]]], r"Parameter \$1 has the Postgres type int4\[\]"),
        ("SELECT $1::text", ["\ud800"], r"Parameter \$1 has the Postgres type text"),
        ("SELECT $2::date, $1::int", [1, "soon"], r"Parameter \$2 has the Postgres type date: give 2024-02-29"),
    ],
)
async def test_a_wrong_parameter_is_told_by_its_name(
    pool: OneConnection, query: str, params: list[object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await run(pool, query, *params)


async def test_a_value_that_only_postgres_can_refuse_is_its_error(pool: OneConnection) -> None:
    with pytest.raises(QueryFailed) as caught:
        await run(pool, "SELECT $1::text", "a\0b")
    assert caught.value.facts["sqlstate"] == "22021"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT array_agg(now() + i * interval '1 s') FROM generate_series(1, 150000) AS i",
        "SELECT path(polygon(50000, circle '((0,0),1)'))",
        "SELECT ROW(repeat('x', 400000))",
    ],
)
async def test_a_cell_of_so_many_values_that_reading_it_would_hold_up_other_tenants_is_refused(
    pool: OneConnection, query: str
) -> None:
    with pytest.raises(QueryFailed, match=r"too large.*column\[1:1000\]"):
        await run(pool, query)


async def test_a_long_text_and_an_array_of_thousands_are_read(pool: OneConnection) -> None:
    rows = await run(pool, "SELECT repeat('x', 1000000)")
    assert len(rows.rows[0][0]) == 1_000_000
    rows = await run(pool, "SELECT array_agg(i) FROM generate_series(1, 20000) AS i")
    assert len(rows.rows[0][0]) == 20_000
