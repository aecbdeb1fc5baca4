"""Reads in as few round trips as there can be, counted on the wire, and what stays prepared between them."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from registry.errors import InvalidInput, QueryFailed, QueryRefused
from server import catalogue, prepared
from server.embedded.postgres import EmbeddedPostgres
from server.meter import meter_of
from server.quick_reads import keep_no_names
from server.reads import ReadLimits, Rows, read
from server.sql_catalogue import Known
from tests.databases import OneConnection, made_database, one_connection
from tests.relay import Relay
from tests.servers import eventually

LIMITS = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
SCHEMA = """
    CREATE TABLE t (id int PRIMARY KEY, word text);
    INSERT INTO t SELECT i, 'w' || i FROM generate_series(1, 5000) AS i;
    CREATE TYPE mood AS ENUM ('fine');
    CREATE FUNCTION own() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION prepares() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'PREPARE left_behind AS SELECT 1'; RETURN 1; END $$;
    CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('my.word', 'x', false); PERFORM pg_sleep(5); RETURN 1;
           EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(0.3); RETURN 2; END $$;
    CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (-1) RETURNING id';
    CREATE FUNCTION priced() RETURNS record LANGUAGE plpgsql STABLE AS
        $$ DECLARE r record; BEGIN EXECUTE 'SELECT 1 AS a, 2::money AS b' INTO r; RETURN r; END $$;
"""
OURS = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'mcp%'"


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    return made_database(postgres, "quick", SCHEMA)


@pytest.fixture
async def relay(postgres: EmbeddedPostgres) -> AsyncIterator[Relay]:
    async with Relay(postgres.port).listening() as relay:
        yield relay


@pytest.fixture
async def pool(dsn: str, relay: Relay) -> AsyncIterator[OneConnection]:
    async with one_connection(dsn, host="127.0.0.1", port=relay.port) as pool:
        yield pool


async def run(pool: OneConnection, query: str, *params: object, known: Known | None = None) -> Rows:
    async with pool.acquire() as connection:
        return await read(connection, query, params, limits=LIMITS, known=known)


async def counted(pool: OneConnection, relay: Relay, query: str, *params: object, known: Known | None = None) -> int:
    before = relay.round_trips
    await run(pool, query, *params, known=known)
    return relay.round_trips - before


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT 1", ()),
        ("SELECT word FROM t WHERE id = $1", (7,)),
        ("SELECT * FROM t", ()),
        ("SELECT id, now(), 1.5::numeric, '{\"a\": 1}'::jsonb FROM t LIMIT 900", ()),
        ("EXPLAIN SELECT 1", ()),
        ("SHOW work_mem", ()),
    ],
)
async def test_a_read_takes_two_round_trips_the_first_time_and_one_from_then_on(
    pool: OneConnection, relay: Relay, query: str, params: tuple[object, ...]
) -> None:
    assert [await counted(pool, relay, query, *params) for _ in range(4)] == [2, 1, 1, 1]


async def test_a_text_that_is_too_long_to_be_kept_takes_two_each_time(pool: OneConnection, relay: Relay) -> None:
    query = f"SELECT '{'x' * 9000}'"
    assert [await counted(pool, relay, query) for _ in range(3)] == [2, 2, 2]


async def test_a_statement_that_fails_takes_no_more_than_one_that_does_not(pool: OneConnection, relay: Relay) -> None:
    seen = []
    for _ in range(3):
        before = relay.round_trips
        with pytest.raises(QueryFailed):
            await run(pool, "SELECT 1 / (id - 1) FROM t")
        seen.append(relay.round_trips - before)
    assert seen == [2, 1, 1]


async def test_a_function_of_the_tenants_costs_two_more_once_a_minute_and_is_prepared_each_time(
    pool: OneConnection, relay: Relay
) -> None:
    known = Known()
    assert await counted(pool, relay, "SELECT own()", known=known) > 2
    assert [await counted(pool, relay, "SELECT own()", known=known) for _ in range(3)] == [2, 2, 2]


async def asleep(dsn: str) -> None:
    """Wait until the statement that is hard to stop is in its middle."""
    admin = await asyncpg.connect(dsn)
    async with asyncio.timeout(10):
        while not await admin.fetchval(  # noqa: ASYNC110 - Postgres has no event for it
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT stubborn()' AND wait_event = 'PgSleep'"
        ):
            await asyncio.sleep(0.01)
    await admin.close()


async def left(pool: OneConnection, relay: Relay, dsn: str) -> None:
    """Have a caller leave a statement that goes on for a moment; the requests to cancel it hang, but for the first."""
    leaving = asyncio.create_task(run(pool, "SELECT stubborn()"))
    await asleep(dsn)
    leaving.cancel()
    async with asyncio.timeout(10):
        while not relay.cancels:  # noqa: ASYNC110 - the relay has no use for an event
            await asyncio.sleep(0)
    relay.cancelling.clear()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert relay.cancels > 1


async def test_a_request_to_cancel_that_arrives_late_stops_nobody_elses_statement(
    pool: OneConnection, relay: Relay, dsn: str
) -> None:
    """It would stop the next caller's, or the very BEGIN that keeps that from writing."""
    await left(pool, relay, dsn)
    following = asyncio.create_task(run(pool, "SELECT 1 FROM pg_sleep(0.5)"))
    await asyncio.sleep(0.2)
    relay.cancelling.set()
    assert (await following).rows == [[1]]


async def test_no_request_to_cancel_is_left_hanging(pool: OneConnection, relay: Relay, dsn: str) -> None:
    """A server that never answers them would get more and more of this process's sockets."""
    await left(pool, relay, dsn)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "Connection._cancel" in repr(task.get_coro())]


async def test_a_function_does_not_run_where_no_transaction_began(pool: OneConnection, relay: Relay) -> None:
    """What keeps it from writing is that transaction alone."""
    relay.refusing = 1
    with pytest.raises(QueryRefused, match="read-only transaction"):
        await run(pool, "SELECT writes()", known=Known())
    assert not relay.refusing
    assert (await run(pool, "SELECT count(*) FROM t WHERE id < 0")).rows == [[0]]


async def test_a_view_that_writes_does_not_where_no_transaction_began_although_all_of_it_was_sent_in_one_go(
    pool: OneConnection, relay: Relay, dsn: str
) -> None:
    """What a view, a cast or an operator of a tenant's own does, nobody sees in the text of a statement."""
    admin = await asyncpg.connect(dsn)
    await admin.execute("CREATE VIEW harmless AS SELECT 1 AS a")
    assert [(await run(pool, "SELECT a FROM harmless")).rows for _ in range(2)] == [[[1]], [[1]]]
    await admin.execute("CREATE OR REPLACE VIEW harmless AS SELECT writes() AS a")
    relay.refusing = 1
    with pytest.raises(QueryRefused, match="read-only transaction"):
        await run(pool, "SELECT a FROM harmless")
    assert not relay.refusing
    assert await admin.fetchval("SELECT count(*) FROM t WHERE id < 0") == 0
    await admin.execute("DROP VIEW harmless")
    await admin.close()


async def test_what_is_asked_about_tables_takes_one(pool: OneConnection, relay: Relay) -> None:
    async with pool.acquire() as connection:
        await catalogue.list_tables(connection, limits=LIMITS)
        before = relay.round_trips
        assert (await catalogue.list_tables(connection, limits=LIMITS)).tables
    assert relay.round_trips - before == 1


async def test_no_more_statements_stay_prepared_than_there_is_room_for(pool: OneConnection) -> None:
    for number in range(3 * prepared.AT_MOST):
        assert (await run(pool, f"SELECT {number}")).rows == [[number]]
    assert 1 < (await run(pool, OURS)).rows[0][0] <= prepared.AT_MOST + 1


async def test_where_a_statement_may_have_prepared_some_of_its_own_none_stays(pool: OneConnection) -> None:
    await run(pool, "SELECT 1")
    await run(pool, "SELECT prepares()")
    assert (await run(pool, "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")).rows == [[1]]  # this one
    assert (await run(pool, "SELECT 1")).rows == [[1]]


async def test_a_table_that_changes_between_two_reads_is_read_as_it_is(pool: OneConnection, dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    await admin.execute("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)")
    seen = [(await run(pool, "SELECT * FROM changing")).rows]
    for change in ("ADD COLUMN b text DEFAULT 'b'", "ALTER COLUMN a TYPE text", "DROP COLUMN a"):
        await admin.execute(f"ALTER TABLE changing {change}")
        seen += [(await run(pool, "SELECT * FROM changing")).rows for _ in range(2)]
    await admin.close()
    assert seen == [[[1]], [[1, "b"]], [[1, "b"]], [["1", "b"]], [["1", "b"]], [["b"]], [["b"]]]


@pytest.mark.parametrize("taking", ["columns", "parameters"])
async def test_where_no_name_stays_a_table_that_changes_is_read_as_it_is_too(
    pool: OneConnection, dsn: str, taking: str
) -> None:
    """Both types are four bytes here: what was read as it was described before would be another value, and no error."""
    async with pool.acquire() as connection:
        keep_no_names(connection)
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"CREATE TABLE {taking} (a int); INSERT INTO {taking} VALUES (1633837924)")
    query, number = f"SELECT * FROM {taking}", []
    if taking == "parameters":
        query, number = f"SELECT count(*) FROM {taking} WHERE a = $1", [1633837924]
    seen = [(await run(pool, query, *number)).rows for _ in range(2)]
    await admin.execute(f"ALTER TABLE {taking} ALTER COLUMN a TYPE text USING 'abcd'")
    if taking == "columns":
        seen += [(await run(pool, query)).rows for _ in range(2)]
        assert seen == [[[1633837924]], [[1633837924]], [["abcd"]], [["abcd"]]]
    else:
        with pytest.raises(InvalidInput, match="text"):
            await run(pool, query, *number)
    await admin.close()


async def test_what_may_leave_something_behind_and_takes_more_care_is_read(pool: OneConnection) -> None:
    """The second way has to find its connection open, and closes it: nobody else gets what was left in its session."""
    before = (await run(pool, "SELECT pg_backend_pid()")).rows
    assert (await run(pool, "SELECT priced()", known=Known())).rows == [[["1", "$2.00"]]]
    assert (await run(pool, "SELECT pg_backend_pid()")).rows != before


@pytest.mark.parametrize("in_steps", [False, True])
async def test_what_may_leave_something_behind_leaves_nothing_however_often_it_is_cancelled(
    pool: OneConnection, dsn: str, *, in_steps: bool
) -> None:
    """A client that leaves while the call is at its limit already: the session is closed all the same."""
    before, known, query = (await run(pool, "SELECT pg_backend_pid()")).rows, Known(), "SELECT stubborn()"
    if in_steps:
        known.note_large(query)
    call = asyncio.create_task(run(pool, query, known=known))
    await asleep(dsn)
    call.cancel()
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await run(pool, "SELECT pg_backend_pid()")).rows != before


@pytest.mark.parametrize("lost", ["DEALLOCATE ALL", "another session's"])
async def test_a_session_that_turns_out_to_be_another_is_read_from_all_the_same(
    pool: OneConnection, relay: Relay, lost: str
) -> None:
    await run(pool, "SELECT 1")
    async with pool.acquire() as connection:
        if lost == "DEALLOCATE ALL":
            await connection.execute(lost)
        else:
            line = meter_of(connection).line
            assert line is not None
            line.statements.forget_all()  # and the server has them: as where the pooler hands on another's session
    assert (await run(pool, "SELECT 1")).rows == [[1]]
    await run(pool, "SELECT 1")
    assert await counted(pool, relay, "SELECT 1") == 1, "without names it is sent again, in the same packet"
    assert (await run(pool, "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")).rows[0][0] <= 1


async def test_an_operator_may_have_no_statement_stay_prepared_and_a_read_still_takes_one(
    pool: OneConnection, relay: Relay
) -> None:
    async with pool.acquire() as connection:
        keep_no_names(connection)
    assert [await counted(pool, relay, "SELECT 1") for _ in range(3)] == [2, 1, 1]
    assert (await run(pool, OURS)).rows == [[0]]


PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture
def pooler(postgres: EmbeddedPostgres, free_port: Callable[[], int]) -> Iterator[int]:
    """A pgbouncer that gives the transactions of a client to two sessions in turn."""
    assert PGBOUNCER is not None
    port = free_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "auth_type": "any",
        "unix_socket_dir": "",
        "pool_mode": "transaction",
        "default_pool_size": 2,
    } | ({"user": "nobody"} if os.geteuid() == 0 else {})
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)  # it is not root that reads it
        ini = Path(home, "pgbouncer.ini")
        ini.write_text(
            "[databases]\n"
            f"quick = host=127.0.0.1 port={postgres.port} user=postgres password={postgres.password} dbname=quick\n"
            "[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        process = subprocess.Popen([PGBOUNCER, "--quiet", str(ini)])
        try:
            eventually(lambda: _answers(port), "pgbouncer does not answer")
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not on this machine")
async def test_behind_a_pooler_that_gives_each_transaction_another_session_every_read_is_right(
    pooler: int, dsn: str
) -> None:
    backends = set()
    async with one_connection(dsn, host="127.0.0.1", port=pooler) as pool:
        other = await asyncpg.connect(dsn, host="127.0.0.1", port=pooler, statement_cache_size=0)
        for turn in range(4):
            for number in range(5):
                ours = (await run(pool, f"SELECT $1::int + {number}, pg_backend_pid()", turn)).rows[0]
                assert ours[0] == turn + number
                backends.add(ours[1])
            # Somebody else takes the session that was free, and gives back another.
            await other.execute("COMMIT; BEGIN" if turn else "BEGIN")
        await other.close()
    assert len(backends) > 1


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not on this machine")
async def test_a_pooler_is_noticed_by_the_first_read_and_no_name_is_used_behind_it(pooler: int, dsn: str) -> None:
    """By a name, another session may have what was described otherwise: a table may have changed in between."""
    async with one_connection(dsn, host="127.0.0.1", port=pooler) as pool:
        await run(pool, "SELECT 1")
        async with pool.acquire() as connection:
            line = meter_of(connection).line
            assert line is not None
            assert not line.statements.named
