"""Writes against a real Postgres: one transaction, committed as a whole or not at all, and told as it was."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeAlias

import asyncpg
import msgspec
import pytest

from registry.errors import (
    ConnectionLost,
    InvalidInput,
    OutcomeUnknown,
    QueryFailed,
    QueryInterrupted,
    QueryRefused,
    QueryTimeout,
    TenancyError,
)
from server.embedded.postgres import EmbeddedPostgres
from server.read_session import ReadLimits
from server.reads import prepare_connection, read
from server.sql_writes import judged
from server.write_step import Step
from server.writes import WriteLimits, Writes, require_allowed, write
from tests.databases import OneConnection, apart, made_database, one_connection
from tests.faults.proxy import Proxies, Proxy

EACH = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
LIMITS = WriteLimits(each=EACH, whole=20)
SOON = 5.0
Text: TypeAlias = str | tuple[str, Sequence[object]]
"""A statement, with its parameters if it has any."""
SCHEMA = """
    CREATE TABLE t (id int PRIMARY KEY, word text);
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TYPE pair AS (a int, m mood);
    CREATE TABLE moods (id int GENERATED ALWAYS AS IDENTITY, m mood, p pair);
    CREATE TABLE parents (id int PRIMARY KEY);
    CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
    CREATE SEQUENCE s;
    CREATE FUNCTION writes_one(n int) RETURNS int LANGUAGE sql AS
        $$ INSERT INTO t VALUES (n, 'by a function') RETURNING id $$;
    CREATE FUNCTION settles() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('search_path', 'elsewhere', false); RETURN 1; END $$;
    CREATE ROLE ann; CREATE ROLE ben; CREATE ROLE "Odd ""name""; DROP TABLE";
    CREATE TABLE notes (owner text DEFAULT current_user, note text);
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes USING (owner = current_user);
    GRANT ALL ON notes TO ann, ben;
    CREATE FUNCTION gives_back() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN 1; END $$;
"""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    async def clear() -> None:
        admin = await asyncpg.connect(postgres.dsn("postgres"))
        await admin.execute("DROP DATABASE writes WITH (FORCE)")
        await admin.execute('DROP ROLE ann; DROP ROLE ben; DROP ROLE "Odd ""name""; DROP TABLE"')
        await admin.close()

    yield made_database(postgres, "writes", SCHEMA)
    apart(clear())


@pytest.fixture
async def admin(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    await connection.execute("TRUNCATE t, moods, parents, children, notes RESTART IDENTITY; ALTER SEQUENCE s RESTART")
    await connection.execute("INSERT INTO t SELECT i, 'w' || i FROM generate_series(1, 10) AS i")
    yield connection
    await connection.close()


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[OneConnection]:
    """One connection, so that each call gets what the one before left."""
    async with one_connection(dsn) as pool:
        yield pool


def steps_of(*texts: Text, dry_run: bool = False) -> list[Step]:
    told = [(text, ()) if isinstance(text, str) else text for text in texts]
    return [Step(judged(text, dry_run=dry_run), params) for text, params in told]


async def run(
    pool: OneConnection,
    *texts: Text,
    dry_run: bool = False,
    role: str | None = None,
    whole: float = 20,
    **limits: float,
) -> Writes:
    steps = steps_of(*texts, dry_run=dry_run)
    require_allowed(steps)
    each = msgspec.structs.replace(EACH, **limits)
    async with pool.acquire() as connection:
        return await write(connection, steps, limits=WriteLimits(each=each, whole=whole), role=role, dry_run=dry_run)


async def failed(pool: OneConnection, *texts: Text, **how: Any) -> TenancyError:  # noqa: ANN401 - as `run`
    with pytest.raises(TenancyError) as caught:
        await run(pool, *texts, **how)
    return caught.value


async def words(admin: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await admin.fetch("SELECT word FROM t ORDER BY id")]


UNTOUCHED = [f"w{number}" for number in range(1, 11)]


async def test_statements_are_committed_together_and_each_is_told(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    told = await run(
        pool,
        ("INSERT INTO t VALUES ($1, $2), (12, 'twelve') RETURNING id, word", [11, "eleven"]),
        ("UPDATE t SET word = upper(word) WHERE id > $1", [10]),
        "WITH gone AS (DELETE FROM t WHERE id < 4 RETURNING id) SELECT count(*) FROM gone",
        "DELETE FROM t WHERE false",
        "TRUNCATE moods",
        "SELECT word FROM t WHERE id = 11 FOR UPDATE",
    )

    assert msgspec.json.decode(msgspec.json.encode(told)) == {
        "committed": True,
        "statements": [
            {
                "kind": "INSERT",
                "row_count": 2,
                "columns": [{"name": "id", "type": "int4"}, {"name": "word", "type": "text"}],
                "rows": [[11, "eleven"], [12, "twelve"]],
            },
            {"kind": "UPDATE", "row_count": 2},
            {"kind": "SELECT", "row_count": 1, "columns": [{"name": "count", "type": "int8"}], "rows": [[3]]},
            {"kind": "DELETE", "row_count": 0},
            {"kind": "TRUNCATE"},
            {"kind": "SELECT", "row_count": 1, "columns": [{"name": "word", "type": "text"}], "rows": [["ELEVEN"]]},
        ],
    }
    assert (await words(admin))[-2:] == ["ELEVEN", "TWELVE"]


async def test_a_dry_run_tells_the_same_and_writes_nothing(pool: OneConnection, admin: asyncpg.Connection) -> None:
    texts = ("UPDATE t SET word = word || '!' RETURNING *", "DELETE FROM t WHERE word LIKE '%!'")

    dry = await run(pool, *texts, dry_run=True)
    assert await words(admin) == UNTOUCHED
    real = await run(pool, *texts)

    assert (dry.committed, real.committed) == (False, True)
    assert dry.statements == real.statements
    assert await words(admin) == []


async def test_what_a_dry_run_cannot_undo_is_the_numbers_that_it_took(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    await run(pool, "SELECT nextval('s')", dry_run=True)

    assert await admin.fetchval("SELECT nextval('s')") == 2
    assert isinstance(await failed(pool, "SELECT setval('s', 100)", dry_run=True), QueryRefused)


@pytest.mark.parametrize(
    ("text", "kind", "sqlstate"),
    [
        ("INSERT INTO t VALUES (1, 'twice')", QueryFailed, "23505"),
        ("INSERT INTO nowhere VALUES (1)", QueryFailed, "42P01"),
        ("SELECT 1 / 0", QueryFailed, "22012"),
        (("SELECT $1::int", ["no number"]), InvalidInput, None),
    ],
)
async def test_an_error_undoes_all_and_names_its_statement(
    pool: OneConnection, admin: asyncpg.Connection, text: Text, kind: type[TenancyError], sqlstate: str | None
) -> None:
    error = await failed(pool, "DELETE FROM t WHERE id > 1", text, "INSERT INTO t VALUES (50, 'never')")

    assert isinstance(error, kind)
    assert (error.facts["index"], error.facts.get("sqlstate")) == (1, sqlstate)
    assert error.message.startswith("statements[1]: ")
    assert error.message.endswith("Nothing was written.")
    assert await words(admin) == UNTOUCHED
    assert (await run(pool, "UPDATE t SET word = 'x' WHERE id = 1")).statements[0].row_count == 1


async def test_a_statement_that_may_not_run_keeps_the_others_from_running(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    error = await failed(pool, "DELETE FROM t", "COMMIT")

    assert (error.code, error.facts) == ("query_refused", {"index": 1})
    assert await words(admin) == UNTOUCHED


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_is_deferred_is_told_as_that_also_by_a_dry_run(
    pool: OneConnection, admin: asyncpg.Connection, *, dry_run: bool
) -> None:
    error = await failed(pool, "INSERT INTO children VALUES (1, 7)", dry_run=dry_run)

    assert (error.code, error.facts["sqlstate"], error.facts["at"]) == ("query_failed", "23503", "commit")
    assert "deferred until COMMIT" in error.message
    assert await admin.fetchval("SELECT count(*) FROM children") == 0
    later = ("INSERT INTO children VALUES (1, 7)", "INSERT INTO parents VALUES (7)")
    assert (await run(pool, *later, dry_run=dry_run)).committed is not dry_run


@pytest.mark.parametrize("limit", [{"max_rows": 3}, {"max_bytes": 1024}])
async def test_rows_beyond_the_limits_are_written_and_not_told(
    pool: OneConnection, admin: asyncpg.Connection, limit: dict[str, Any]
) -> None:
    told = await run(
        pool,
        "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(101, 30100) AS i RETURNING *",
        "UPDATE t SET word = 'told no more' WHERE id < 3 RETURNING word",
        **limit,
    )

    first, second = told.statements
    assert (first.row_count, first.truncated, second.row_count, second.truncated) == (30000, True, 2, True)
    assert len(first.rows) in (3, 9)
    assert second.rows == []
    assert await admin.fetchval("SELECT count(*) FROM t") == 30010


async def test_a_select_whose_function_writes_runs_to_its_end(pool: OneConnection, admin: asyncpg.Connection) -> None:
    told = await run(pool, "SELECT writes_one(i) FROM generate_series(101, 400) AS i", max_rows=5)

    assert (told.statements[0].row_count, len(told.statements[0].rows), told.statements[0].truncated) == (300, 5, True)
    assert await admin.fetchval("SELECT count(*) FROM t WHERE word = 'by a function'") == 300


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 999, 1000])
async def test_rows_are_counted_whatever_the_steps_in_which_they_come(pool: OneConnection, count: int) -> None:
    text = f"INSERT INTO moods (m) SELECT 'good' FROM generate_series(1, {count}) RETURNING id"
    told = (await run(pool, text, dry_run=True)).statements[0]

    assert (told.row_count, len(told.rows), told.truncated) == (count, count, False)


async def test_a_type_that_the_driver_stumbles_over_writes_nothing_twice(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    told = await run(
        pool,
        "INSERT INTO moods (m, p) VALUES ('good', ROW(1, 'bad')) RETURNING m, p, ROW(1, m, p), '{good}'::mood[]",
        "INSERT INTO moods (m) VALUES ('bad') RETURNING m, to_tsvector('x'), '(1,2)'::point",
    )

    assert [each.row_count for each in told.statements] == [1, 1]
    assert told.statements[0].rows[0][:2] == ["good", {"a": 1, "m": "bad"}]
    assert await admin.fetchval("SELECT count(*) FROM moods") == 2


async def test_statements_see_what_those_before_them_wrote(pool: OneConnection) -> None:
    told = await run(pool, "DELETE FROM t WHERE id > 2", "SELECT count(*) FROM t", dry_run=True)

    assert told.statements[1].rows == [[2]]


async def test_a_cancelled_call_is_rolled_back_and_leaves_its_connection_clean(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    call = asyncio.create_task(run(pool, "DELETE FROM t", "SELECT pg_sleep(60)"))
    await until(admin, "EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)')")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await words(admin) == UNTOUCHED
    assert (await run(pool, "SELECT current_user")).committed


async def test_a_call_that_is_cancelled_while_it_commits_tells_that_it_did(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    """A deferred trigger holds COMMIT up; what is cancelled then is committed, and nobody may think otherwise."""
    await admin.execute(HOLD_UP)
    call = asyncio.create_task(run(pool, "INSERT INTO parents VALUES (1)"))
    await until(admin, COMMITTING)
    call.cancel()
    await asyncio.sleep(0)
    await admin.execute(LET_GO)

    assert (await call).committed
    assert await admin.fetchval("SELECT count(*) FROM parents") == 1


@pytest.mark.parametrize(
    ("how", "told"), [({"statement_timeout": 0.2}, "its limit of 0.2 s"), ({"whole": 0.2}, "together took longer")]
)
async def test_what_takes_too_long_is_cancelled_and_rolled_back(
    pool: OneConnection, admin: asyncpg.Connection, how: dict[str, Any], told: str
) -> None:
    error = await failed(pool, "DELETE FROM t", "SELECT pg_sleep(60)", **how)

    assert isinstance(error, QueryTimeout)
    assert told in error.message
    assert "Nothing was written" in error.message
    assert await words(admin) == UNTOUCHED


async def test_two_transactions_that_cannot_both_go_on_are_told_to_try_again(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    """The other one holds row 1 and waits for row 2, which this one holds: one of the two is a deadlock's victim."""
    await admin.execute("SET deadlock_timeout = '1h'")
    async with admin.transaction():
        await admin.execute("UPDATE t SET word = 'other' WHERE id = 1")
        call = asyncio.create_task(
            run(
                pool,
                "UPDATE t SET word = 'mine' WHERE id = 2",
                "UPDATE t SET word = 'mine' WHERE id = 1",
                lock_timeout=9,
            )
        )
        await until(admin, "EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        await admin.execute("UPDATE t SET word = 'other' WHERE id = 2")
    with pytest.raises(QueryInterrupted, match="Another transaction was in the way") as caught:
        await call

    assert (caught.value.retryable, caught.value.facts["sqlstate"], caught.value.facts["index"]) == (True, "40P01", 1)
    assert (await words(admin))[:2] == ["other", "other"]


async def test_nothing_that_a_write_does_to_its_session_reaches_the_next_call(pool: OneConnection) -> None:
    state = "SELECT current_setting('search_path'), current_setting('transaction_read_only'), current_user"
    async with pool.acquire() as connection:
        before = (await read(connection, state, limits=EACH)).rows
    await run(pool, "SELECT settles()")
    async with pool.acquire() as connection:
        assert (await read(connection, state, limits=EACH)).rows == before


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize(
    ("texts", "role", "trips"),
    [
        (("DELETE FROM t WHERE id = 1 RETURNING word",), None, 5),
        (("DELETE FROM t WHERE id = 1", "DELETE FROM t WHERE id = 2"), None, 7),
        (("INSERT INTO notes (note) VALUES ('x')",), "ann", 5),
        (("INSERT INTO notes (note) VALUES ('x')", "DELETE FROM notes"), "ann", 8),
    ],
)
async def test_a_write_takes_the_round_trips_of_a_read_and_its_commit(
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    texts: tuple[str, ...],
    role: str | None,
    trips: int,
) -> None:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    await prepare_connection(connection)
    driver: Any = connection
    protocol, calls = driver._protocol, []

    class Counting:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the driver's
            if name in ("query", "prepare", "bind_execute", "execute", "bind", "close_portal"):
                calls.append(name)
            return getattr(protocol, name)

    monkeypatch.setattr(connection, "_protocol", Counting())
    await write(connection, steps_of(*texts), limits=LIMITS, role=role)
    monkeypatch.undo()
    await connection.close()
    assert len(calls) == trips, calls


@pytest.fixture
def proxy(postgres: EmbeddedPostgres) -> Iterator[Proxy]:
    with Proxies() as proxies:
        yield proxies.add(postgres.port)


@pytest.fixture
async def far_pool(dsn: str, proxy: Proxy) -> AsyncIterator[OneConnection]:
    """One connection through the proxy."""
    async with one_connection(dsn, host="127.0.0.1", port=proxy.port) as pool:
        yield pool


async def test_a_connection_that_is_lost_while_it_commits_leaves_nobody_who_knows(
    far_pool: OneConnection, proxy: Proxy, admin: asyncpg.Connection
) -> None:
    """It was committed here; told as a failure, or as one to try again, it would be written twice."""
    proxy.drop_next_reply(b"COMMIT")
    error = await failed(far_pool, "INSERT INTO t VALUES (11, 'w11')")

    assert isinstance(error, OutcomeUnknown)
    assert (error.code, error.retryable, proxy.dropped) == ("outcome_unknown", False, 1)
    assert "Nothing was written" not in error.message
    await until(admin, "count(*) = 11 FROM t")
    assert (await run(far_pool, "SELECT 1")).committed, "the next call gets another connection"


async def test_a_connection_that_is_lost_before_that_has_written_nothing(
    far_pool: OneConnection, proxy: Proxy, admin: asyncpg.Connection
) -> None:
    proxy.drop_next_reply(b"DELETE")
    error = await failed(far_pool, "DELETE FROM t")

    assert isinstance(error, ConnectionLost)
    assert (error.retryable, error.facts["index"]) == (True, 0)
    await until(admin, "NOT EXISTS (SELECT FROM pg_locks WHERE relation = 't'::regclass AND mode LIKE 'RowEx%')")
    assert await words(admin) == UNTOUCHED


async def test_a_backend_that_is_ended_while_it_commits_is_told_as_unknown(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    await admin.execute(HOLD_UP)
    call = asyncio.create_task(run(pool, "INSERT INTO parents VALUES (1)"))
    await until(admin, COMMITTING)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'advisory'"
    )
    with pytest.raises(OutcomeUnknown):
        await call
    await admin.execute(LET_GO)


async def test_a_role_is_taken_on_for_the_call_and_sees_what_it_may_see(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    for role in ("ann", "ben"):
        told = await run(
            pool, ("INSERT INTO notes (note) VALUES ($1) RETURNING owner", [f"of {role}"]), "TABLE notes", role=role
        )
        assert told.statements[0].rows == [[role]]
        assert told.statements[1].rows == [[role, f"of {role}"]]
    async with pool.acquire() as connection:
        assert (await read(connection, "TABLE notes", limits=EACH, role="ann")).rows == [["ann", "of ann"]]
        assert (await read(connection, "SELECT current_user = session_user", limits=EACH)).rows == [[True]]
    assert await admin.fetchval("SELECT count(*) FROM notes") == 2


async def test_a_role_may_not_do_more_than_it_may(pool: OneConnection, admin: asyncpg.Connection) -> None:
    error = await failed(pool, "SELECT 1", "DELETE FROM t", role="ann")

    assert (error.facts["sqlstate"], error.facts["index"]) == ("42501", 1)
    assert await words(admin) == UNTOUCHED


async def test_a_role_of_any_name_is_quoted(pool: OneConnection) -> None:
    told = await run(pool, "SELECT current_user", role='Odd "name"; DROP TABLE')

    assert told.statements[0].rows == [['Odd "name"; DROP TABLE']]


async def test_a_role_that_is_not_there_is_told_and_nothing_runs(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    error = await failed(pool, "DELETE FROM t", role="nobody_of_that_name")

    assert (error.code, error.facts["sqlstate"]) == ("query_failed", "22023")
    assert await words(admin) == UNTOUCHED


async def test_a_function_that_gives_the_role_back_does_so_for_its_own_statement_alone(
    pool: OneConnection, admin: asyncpg.Connection
) -> None:
    """Who owns the database may have such a function; a caller can make none. The next statement has the role again."""
    login = await admin.fetchval("SELECT current_user")
    told = await run(pool, "SELECT gives_back(), current_user", "SELECT current_user", role="ann")

    assert [each.rows[0][-1] for each in told.statements] == [login, "ann"]
    error = await failed(pool, "SELECT gives_back()", "DELETE FROM t", role="ann")
    assert error.facts["sqlstate"] == "42501"


HOLD_UP = """
    CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON parents DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION waits();
    SELECT pg_advisory_lock(7);
"""
COMMITTING = "EXISTS (SELECT FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'advisory')"
LET_GO = "SELECT pg_advisory_unlock(7); DROP TRIGGER waits ON parents; DROP FUNCTION waits"


async def until(admin: asyncpg.Connection, condition: str) -> None:
    """Wait until it is so in Postgres."""
    async with asyncio.timeout(SOON):
        while not await admin.fetchval(f"SELECT {condition}"):  # noqa: ASYNC110 - Postgres has no event
            await asyncio.sleep(0.01)
