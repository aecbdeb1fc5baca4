"""The catalogue's fast statements beside the plainest ones there are, over a database with one of everything.

What a plain look at each table says, the list must say: a statement made faster must not answer anything else.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from server.catalogue import ForeignKey, describe_table, list_schemas, list_tables
from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, prepare_connection
from tests.databases import made_database

LIMITS = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
SCHEMA = """
    CREATE SCHEMA "Odd.Sch""ema";
    CREATE SCHEMA pgx;
    CREATE SCHEMA empty;
    CREATE TYPE pgx.mood AS ENUM ('b', 'a');
    CREATE DOMAIN pgx.felt AS pgx.mood;
    CREATE TABLE pgx.plain (id int PRIMARY KEY, m pgx.mood DEFAULT 'a', ms pgx.mood[], d pgx.felt, big text,
                            n int NOT NULL DEFAULT 3, twice int GENERATED ALWAYS AS (3 * 2) STORED, CHECK (n > 0));
    COMMENT ON TABLE pgx.plain IS 'plain';
    COMMENT ON COLUMN pgx.plain.big IS 'out of line';
    INSERT INTO pgx.plain (id, big)
        SELECT i, string_agg(md5((i * j)::text), '') FROM generate_series(1, 50) AS i, generate_series(1, 400) AS j
         GROUP BY i;
    CREATE TABLE pgx.child (id int PRIMARY KEY, up int REFERENCES pgx.child ON DELETE SET NULL,
                            p int REFERENCES pgx.plain ON DELETE RESTRICT);
    CREATE TABLE pgx.two (gone int, b int, a int, c int, PRIMARY KEY (a, b), UNIQUE (c, a));
    ALTER TABLE pgx.two DROP COLUMN gone;
    CREATE TABLE pgx.refers (x int, y int, z int, FOREIGN KEY (y, x) REFERENCES pgx.two (b, a) ON DELETE CASCADE,
                             FOREIGN KEY (z, x) REFERENCES pgx.two (c, a), CHECK (x > 0 AND y > 1));
    CREATE TABLE pgx.keyed (k int PRIMARY KEY) PARTITION BY RANGE (k);
    CREATE TABLE pgx.keyed_one PARTITION OF pgx.keyed FOR VALUES FROM (0) TO (10);
    CREATE TABLE pgx.lone (id int PRIMARY KEY);
    CREATE TABLE pgx.split (k int, p int REFERENCES pgx.lone ON DELETE SET DEFAULT, q int REFERENCES pgx.keyed)
        PARTITION BY RANGE (k);
    CREATE TABLE pgx.split_one PARTITION OF pgx.split FOR VALUES FROM (0) TO (10);
    CREATE TABLE "Odd.Sch""ema"."t.a""b%/ü" (id int);
    CREATE VIEW "Odd.Sch""ema".v AS SELECT 1 AS x;
    COMMENT ON VIEW "Odd.Sch""ema".v IS 'a view';
    CREATE MATERIALIZED VIEW "Odd.Sch""ema".mv AS SELECT * FROM pgx.plain;
    CREATE TABLE pgx.parted (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
    CREATE TABLE pgx.parted_low PARTITION OF pgx.parted FOR VALUES FROM (0) TO (10) PARTITION BY LIST (k);
    CREATE TABLE pgx.parted_one PARTITION OF pgx.parted_low FOR VALUES IN (1);
    CREATE TABLE pgx.parted_high PARTITION OF pgx.parted FOR VALUES FROM (10) TO (9999);
    INSERT INTO pgx.parted SELECT i, repeat('x', 300) FROM generate_series(10, 999) AS i;
    CREATE TABLE pgx.no_parts (k int) PARTITION BY RANGE (k);
    CREATE TABLE pgx.heir (b int) INHERITS ("Odd.Sch""ema"."t.a""b%/ü");
    CREATE FOREIGN DATA WRAPPER nothing;
    CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
    CREATE FOREIGN TABLE pgx.far (a int) SERVER nowhere;
    CREATE SEQUENCE pgx.numbers;
    CREATE TYPE pgx.pair AS (a int, b int);
    ANALYZE;
    CREATE TABLE pgx.unknown (a text) WITH (autovacuum_enabled = off);
    INSERT INTO pgx.unknown SELECT i FROM generate_series(1, 500) AS i;
    CREATE TABLE pgx.without_columns ();
    CREATE ROLE answers_reader LOGIN PASSWORD 'reader';
    GRANT USAGE ON SCHEMA pgx TO answers_reader;
    GRANT SELECT ON pgx.plain, pgx.parted, pgx.unknown TO answers_reader;
    GRANT SELECT (id) ON pgx.child TO answers_reader;
    GRANT SELECT ON "Odd.Sch""ema".v TO answers_reader;
"""
NAMES = """
    SELECT c.oid, n.nspname, c.relname, c.relkind::text AS kind FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
       AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
       AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
     ORDER BY n.nspname, c.relname"""
ROWS = "SELECT CASE WHEN c.reltuples >= 0 THEN c.reltuples END FROM pg_class AS c WHERE c.oid = $1"
LIVE = "SELECT pg_stat_get_live_tuples($1)"
PAGES = """
    SELECT c.relpages + COALESCE(t.relpages, 0) FROM pg_class AS c
      LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid WHERE c.oid = $1"""
LEAVES = "SELECT relid::oid FROM pg_partition_tree($1::oid::regclass) WHERE isleaf"
COMMENT = "SELECT obj_description($1, 'pg_class')"
KEYS = """
    SELECT k.contype::text AS kind, k.conrelid = $1::regclass AS own, pg_get_constraintdef(k.oid) AS words,
           c.relname AS referring
      FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
     WHERE k.conrelid = $1::regclass OR (k.confrelid = $1::regclass AND k.conparentid = 0)
     ORDER BY k.conname"""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    return made_database(postgres, "answers", SCHEMA)


@pytest.fixture(params=["owner", "reader"])
async def connection(
    postgres: EmbeddedPostgres, dsn: str, request: pytest.FixtureRequest
) -> AsyncIterator[asyncpg.Connection]:
    address = dsn if request.param == "owner" else postgres.dsn("answers", "answers_reader", "reader")
    connection = await asyncpg.connect(address, statement_cache_size=0)
    await prepare_connection(connection)
    yield connection
    await connection.close()


async def plainly(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
    """Return schema, name, rows, bytes and comment of each table, looked up one by one."""
    return [
        (
            named["nspname"],
            named["relname"],
            *await numbers_of(connection, named),
            await one(connection, COMMENT, named),
        )
        for named in await connection.fetch(NAMES)
    ]


async def one(connection: asyncpg.Connection, query: str, named: asyncpg.Record) -> object:
    return await connection.fetchval(query, named["oid"])


async def numbers_of(connection: asyncpg.Connection, named: asyncpg.Record) -> tuple[int | None, int | None]:
    if named["kind"] == "v":
        return None, None
    of = [named["oid"]]
    if named["kind"] == "p":
        of = [row[0] for row in await connection.fetch(LEAVES, named["oid"]) if row[0] != named["oid"]]
    rows = [await rows_of(connection, oid) for oid in of]
    known = [each for each in rows if each is not None]
    pages = sum([await connection.fetchval(PAGES, oid) for oid in of])
    return (int(sum(known)) if known else None), (pages * 8192 or None)


async def rows_of(connection: asyncpg.Connection, oid: int) -> float | None:
    rows: float | None = await connection.fetchval(ROWS, oid)
    return rows or await connection.fetchval(LIVE, oid) or rows


async def test_the_list_says_of_each_table_what_a_plain_look_at_it_says(
    connection: asyncpg.Connection, dsn: str
) -> None:
    other = await asyncpg.connect(dsn)
    await other.execute("CREATE TEMP TABLE of_another_session (a int)")
    try:
        expected = await plainly(connection)
        assert len(expected) > 3
        tables = (await list_tables(connection, limits=LIMITS)).tables
        told = [(each.schema, each.name, each.estimated_rows, each.size_bytes, each.comment) for each in tables]
        assert told == expected
    finally:
        await other.close()


async def test_the_list_of_one_schema_is_that_part_of_the_list(connection: asyncpg.Connection) -> None:
    whole = (await list_tables(connection, limits=LIMITS)).tables
    for schema in (await list_schemas(connection, limits=LIMITS)).schemas:
        part = (await list_tables(connection, schema.name, limits=LIMITS)).tables
        assert part == [table for table in whole if table.schema == schema.name]
        assert len(part) == schema.tables


async def test_each_table_that_is_listed_is_described_with_what_the_list_says(connection: asyncpg.Connection) -> None:
    for table in (await list_tables(connection, limits=LIMITS)).tables:
        found = await describe_table(connection, table.name, table.schema, limits=LIMITS)
        assert (found.kind, found.comment, found.estimated_rows) == (table.kind, table.comment, table.estimated_rows)
        assert (found.size_bytes or 0) >= (table.size_bytes or 0)


async def test_each_key_is_told_as_postgres_words_it_and_where_it_refers_to(connection: asyncpg.Connection) -> None:
    """Keys that refer to a table are found by what depends on it: each has to be among that, and nothing else."""
    told = 0
    for table in (await list_tables(connection, "pgx", limits=LIMITS)).tables:
        found = await describe_table(connection, table.name, "pgx", limits=LIMITS)
        keys = await connection.fetch(KEYS, f"pgx.{table.name}")
        assert [worded(key, key.schema, key.table) for key in found.foreign_keys] == words(keys, "f", own=True)
        assert [(key.table, worded(key, "pgx", table.name)) for key in found.referenced_by] == [
            (key["referring"], key["words"]) for key in keys if not key["own"]
        ]
        assert found.checks == words(keys, "c", own=True)
        assert ([f"PRIMARY KEY ({', '.join(found.primary_key)})"] if found.primary_key else []) == words(
            keys, "p", own=True
        )
        told += len(keys)
    assert told


def words(keys: list[asyncpg.Record], kind: str, *, own: bool) -> list[str]:
    return [key["words"] for key in keys if key["kind"] == kind and key["own"] is own]


def worded(key: ForeignKey, schema: str, table: str) -> str:
    """Return a key in the words of Postgres."""
    there = f"{schema}.{table}({', '.join(key.foreign_columns)})"
    deletes = f" ON DELETE {key.on_delete.upper()}" if key.on_delete else ""
    return f"FOREIGN KEY ({', '.join(key.columns)}) REFERENCES {there}{deletes}"


async def test_a_table_of_the_systems_tells_its_key_though_nothing_is_said_to_depend_on_it(
    connection: asyncpg.Connection,
) -> None:
    """Only from Postgres 14 on has it one."""
    described = await describe_table(connection, "pg_class", "pg_catalog", limits=LIMITS)
    assert described.primary_key == (["oid"] if connection.get_server_version() >= (14,) else [])


async def test_the_first_comment_in_a_database_is_told(postgres: EmbeddedPostgres) -> None:
    """Where there is none on any table, none is looked for."""
    connection = await asyncpg.connect(
        made_database(postgres, "uncommented", "CREATE TABLE t (a int)"), statement_cache_size=0
    )
    try:
        await prepare_connection(connection)
        assert [table.comment for table in (await list_tables(connection, limits=LIMITS)).tables] == [None]
        await connection.execute("COMMENT ON TABLE t IS 'the first'")
        assert [table.comment for table in (await list_tables(connection, limits=LIMITS)).tables] == ["the first"]
    finally:
        await connection.close()


async def test_columns_tell_their_defaults_enums_and_comments_and_only_those(connection: asyncpg.Connection) -> None:
    described = await describe_table(connection, "plain", "pgx", limits=LIMITS)
    columns = {column.name: column for column in described.columns}
    assert {name: column.values for name, column in columns.items() if column.values} == {"m": ["b", "a"]}
    assert {name: column.default for name, column in columns.items() if column.default} == {
        "m": "'a'::pgx.mood",
        "n": "3",
    }
    assert {name: column.generated for name, column in columns.items() if column.generated} == {"twice": "(3 * 2)"}
    assert {name: column.comment for name, column in columns.items() if column.comment} == {"big": "out of line"}
    assert (described.primary_key, described.checks) == (["id"], ["CHECK ((n > 0))"])
    assert [(key.table, key.columns, key.on_delete) for key in described.referenced_by] == [
        ("child", ["p"], "restrict")
    ]


async def test_a_table_that_refers_to_itself_is_told_so_once(connection: asyncpg.Connection) -> None:
    described = await describe_table(connection, "child", "pgx", limits=LIMITS)
    assert [(key.table, key.columns, key.on_delete) for key in described.foreign_keys] == [
        ("plain", ["p"], "restrict"),
        ("child", ["up"], "set null"),
    ]
    assert described.referenced_by == []
