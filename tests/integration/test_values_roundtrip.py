"""Values from a real Postgres and back: what no driver's defaults get through a JSON answer unchanged."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from registry.errors import QueryFailed
from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, Rows, prepare_connection, read
from server.sql_guard import trusted
from tests.databases import apart

LIMITS = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
EXTENSIONS = ("hstore", "ltree", "cube", "citext", "vector")
SCHEMA = """
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'très heureux');
    CREATE DOMAIN price AS numeric(8, 2) CHECK (VALUE >= 0);
    CREATE DOMAIN scores AS int8[];
    CREATE TYPE span AS (starts timestamptz, ends date, lasts interval, price price);
    CREATE TYPE nested AS (span span, moods mood[], ids int8[], payload jsonb, bits bytea);
    CREATE TYPE priced AS (item text, amount money, spans tstzrange);
    CREATE TYPE "odd.""type" AS ("a ""b" int, "c,d" text, e money);
    CREATE TYPE moodrange AS RANGE (subtype = mood);
    CREATE TYPE treerange AS RANGE (subtype = ltree);
    CREATE TABLE documents (id int, body tsvector, made timestamptz);
    INSERT INTO documents VALUES (1, 'a:1 b:2', '2024-01-01 00:00Z');
    CREATE TABLE nothing ();
    INSERT INTO nothing DEFAULT VALUES;
"""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    async def make() -> str:
        admin = await asyncpg.connect(postgres.dsn("postgres"))
        await admin.execute("CREATE DATABASE roundtrip")
        await admin.execute("CREATE DATABASE bytes_only TEMPLATE template0 ENCODING 'SQL_ASCII'")
        await admin.close()
        connection = await asyncpg.connect(postgres.dsn("roundtrip"))
        available = await connection.fetch("SELECT name FROM pg_available_extensions WHERE name = ANY($1)", EXTENSIONS)
        for (name,) in available:
            await connection.execute(f"CREATE EXTENSION {name}")
        await connection.execute(SCHEMA)
        await connection.close()
        return postgres.dsn("roundtrip")

    return apart(make())


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    # What a tenant's database may be set to must not show in a value.
    odd = {"timezone": "Asia/Kolkata", "datestyle": "German", "intervalstyle": "sql_standard"}
    connection = await asyncpg.connect(dsn, statement_cache_size=0, server_settings=odd)
    await prepare_connection(connection)
    yield connection
    await connection.close()


def told(rows: Rows) -> list[list[Any]]:
    """Return the rows as a client reads them off the wire."""
    answer: dict[str, list[list[Any]]] = json.loads(msgspec.json.encode(rows), parse_float=str)
    return answer["rows"]


async def value(connection: asyncpg.Connection, expression: str, *params: object) -> Any:  # noqa: ANN401 - any JSON value
    (row,) = told(await read(connection, f"SELECT {expression}", params, limits=LIMITS))
    return row[0] if len(row) == 1 else row


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("32767::int2", 32767),
        ("2147483647", 2147483647),
        ("9007199254740991::int8", 9007199254740991),
        ("9007199254740992::int8", "9007199254740992"),
        ("(-9223372036854775808)::int8", "-9223372036854775808"),
        ("1.50", "1.50"),
        ("0.00::numeric", "0.00"),
        ("1e-20::numeric", "0.00000000000000000001"),
        ("1e131000::numeric", "1E+131000"),
        ("-1.25e-9000::numeric", "-1.25E-9000"),
        ("ARRAY[1e400, 0.5]::numeric[]", ["1E+400", "0.5"]),
        ("12345678901234567890123456789.10", "12345678901234567890123456789.10"),
        ("'NaN'::numeric", "NaN"),
        ("'-Infinity'::numeric", "-Infinity"),
        ("0.1::float4", "0.1"),
        ("0.1::float8", "0.1"),
        ("'NaN'::float8", "NaN"),
        ("'-Infinity'::float4", "-Infinity"),
        ("true", True),
        ("'ä\"\\n'", 'ä"\\n'),
        ("'a'::bpchar(3)", "a  "),
        ("'\\xdeadbeef'::bytea", "3q2+7w=="),
        ("'a'::\"char\"", "a"),
        ("'[1.000000000000000000001, {\"k\" : 1e2}]'::jsonb", ["1.000000000000000000001", {"k": 100}]),
        ("'{\"a\":\n 1}'::json", {"a": 1}),
        ("'null'::jsonb", None),
        ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("'2024-02-29'::date", "2024-02-29"),
        ("'infinity'::date", "infinity"),
        ("'0044-03-15 BC'::date", "0044-03-15 BC"),
        ("'4713-11-24 BC'::date", "4713-11-24 BC"),
        ("'12345-06-07'::date", "12345-06-07"),
        ("'13:05:09.25'::time", "13:05:09.25"),
        ("'24:00'::time", "24:00:00"),
        ("'12:00+05:30'::timetz", "12:00:00+05:30"),
        ("'12:00-05:30:15'::timetz", "12:00:00-05:30:15"),
        ("'2024-02-29 13:05'::timestamp", "2024-02-29T13:05:00"),
        ("'-infinity'::timestamp", "-infinity"),
        ("'2024-02-29 13:05:09.000001+02'::timestamptz", "2024-02-29T11:05:09.000001Z"),
        ("'infinity'::timestamptz", "infinity"),
        ("'0044-03-15 12:00Z BC'::timestamptz", "0044-03-15T12:00:00Z BC"),
        ("'294276-12-31 23:59:59.999999Z'::timestamptz", "294276-12-31T23:59:59.999999Z"),
        ("'1 mon 2 days 03:04:05.5'::interval", "P1M2DT3H4M5.5S"),
        ("'-14 mons +2 days -00:00:00.5'::interval", "P-1Y-2M2DT-0.5S"),
        ("'0'::interval", "PT0S"),
        ("'10.0.0.1'::inet", "10.0.0.1"),
        ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
        ("'::ffff:1.2.3.4'::inet", "::ffff:1.2.3.4"),
        ("'08:00:2b:01:02:03'::macaddr", "08:00:2b:01:02:03"),
        ("B'0101'", "0101"),
        ("'très heureux'::mood", "très heureux"),
        ("'{{1,2},{3,NULL}}'::int[]", [[1, 2], [3, None]]),
        ("'{}'::text[]", []),
        ("ARRAY['2024-01-01 00:00Z', 'infinity']::timestamptz[]", ["2024-01-01T00:00:00Z", "infinity"]),
        ("ARRAY['1 mon'::interval]", ["P1M"]),
        ("'{1,9007199254740993}'::scores", [1, "9007199254740993"]),
        ("ARRAY['sad','ok']::mood[]", ["sad", "ok"]),
        ("1.5::price", "1.50"),
        ("'[1,5]'::int4range", {"lower": 1, "upper": 6, "bounds": "[)"}),
        ("'empty'::numrange", "empty"),
        ("'(,1.50]'::numrange", {"lower": None, "upper": "1.50", "bounds": "(]"}),
        (
            "tstzrange('0044-03-15 00:00Z BC', 'infinity', '[]')",
            {"lower": "0044-03-15T00:00:00Z BC", "upper": "infinity", "bounds": "[]"},
        ),
        ("moodrange('sad', 'ok')", {"lower": "sad", "upper": "ok", "bounds": "[)"}),
        (
            "'{[1,2),[5,)}'::int4multirange",
            [{"lower": 1, "upper": 2, "bounds": "[)"}, {"lower": 5, "upper": None, "bounds": "[)"}],
        ),
        (
            "ROW('infinity', '0044-03-15 BC', '1 mon', 2)::span",
            {"starts": "infinity", "ends": "0044-03-15 BC", "lasts": "P1M", "price": "2.00"},
        ),
        (
            """ROW(ROW('2024-01-01 00:00Z', NULL, NULL, NULL),
                   '{sad}', '{9007199254740993}', '{"a":1.10}', '\\x00')::nested""",
            {
                "span": {"starts": "2024-01-01T00:00:00Z", "ends": None, "lasts": None, "price": None},
                "moods": ["sad"],
                "ids": ["9007199254740993"],
                "payload": {"a": "1.10"},
                "bits": "AA==",
            },
        ),
        ("ROW('2024-01-01 00:00Z', NULL, NULL, 1)::span = ROW(NULL, NULL, NULL, 1)::span", False),
        ("'1/2'::pg_lsn", "1/2"),
        ("'(0,1)'::tid", "(0,1)"),
        ("'10:20:10,14'::pg_snapshot", "10:20:10,14"),
        ("'pg_class'::regclass", "pg_class"),
        ("'a b'::tsvector", "'a' 'b'"),
        ("'$.a'::jsonpath", '$."a"'),
        ("'(1,2.5)'::point", "(1,2.5)"),
        ("'((1,2),(3,4))'::box", "(3,4),(1,2)"),
        ("'<(1,2),3>'::circle", "<(1,2),3>"),
        ("12.5::money", "$12.50"),
        ("'1 2'::int2vector", [1, 2]),
        ("pg_sleep(0)", None),
        ("ROW(1, 'a', NULL, 1.50, '2024-01-01'::date, ROW(true))", [1, "a", None, "1.50", "2024-01-01", [True]]),
        ("ROW()", []),
        ("ARRAY[ROW(1, 'a'), ROW(2, 'b')]", [[1, "a"], [2, "b"]]),
    ],
)
async def test_a_value_reaches_the_client_as_what_it_is(
    connection: asyncpg.Connection, expression: str, expected: object
) -> None:
    assert await value(connection, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "ROW('x', 1.5::money, '[2024-01-01 00:00Z,)')::priced",
            {"item": "x", "amount": "$1.50", "spans": '["01.01.2024 05:30:00 IST",)'},
        ),
        ("ARRAY[ROW('x', NULL, NULL)::priced]", [{"item": "x", "amount": None, "spans": None}]),
        ('ROW(1, \'x"\\,(\', 2::money)::"odd.""type"', {'a "b': "1", "c,d": 'x"\\,(', "e": "$2.00"}),
        ("(SELECT d FROM documents AS d)", {"id": "1", "body": "'a':1 'b':2", "made": "01.01.2024 05:30:00 IST"}),
        ("(SELECT n FROM nothing AS n)", "()"),
        ("ROW(1, 'a', 2::money)", ["1", "a", "$2.00"]),
        ("ROW(1, '{1,2}'::int[])", ["1", "{1,2}"]),
    ],
)
async def test_what_the_driver_cannot_read_in_binary_comes_in_postgres_own_text(
    connection: asyncpg.Connection, expression: str, expected: object
) -> None:
    assert await value(connection, expression) == expected
    assert await value(connection, expression) == expected, "the second time there is nothing left to learn"


@pytest.mark.parametrize(
    ("extension", "expression", "expected"),
    [
        ("hstore", "'a=>1, b=>NULL'::hstore", '"a"=>"1", "b"=>NULL'),
        ("ltree", "'a.b.c'::ltree", "a.b.c"),
        ("cube", "'(1,2)'::cube", "(1, 2)"),
        ("citext", "'Ab'::citext", "Ab"),
        ("vector", "'[1,2.5]'::vector", "[1,2.5]"),
        ("citext", "ARRAY['a', 'B']::citext[]", ["a", "B"]),
        ("ltree", "treerange('a', 'b')", "[a,b)"),
        ("ltree", "ROW('a'::ltree, 1)", ["a", "1"]),
    ],
)
async def test_an_extensions_type_comes_in_its_own_text(
    connection: asyncpg.Connection, extension: str, expression: str, expected: object
) -> None:
    if not await connection.fetchval("SELECT true FROM pg_extension WHERE extname = $1", extension):
        pytest.skip(f"this Postgres carries no {extension}")
    assert await value(connection, expression) == expected


async def test_an_infinite_interval_has_a_name(connection: asyncpg.Connection) -> None:
    if connection.get_server_version().major < 17:
        pytest.skip("intervals are finite before PostgreSQL 17")
    assert await value(connection, "'infinity'::interval, '-infinity'::interval") == ["infinity", "-infinity"]


async def test_what_one_record_needed_does_not_change_how_the_next_statement_is_told(
    connection: asyncpg.Connection,
) -> None:
    assert await value(connection, "ROW(1, 2::money)") == ["1", "$2.00"]
    assert await value(connection, "ROW(1, 2)") == [1, 2]


async def test_columns_of_one_name_all_keep_their_values(connection: asyncpg.Connection) -> None:
    rows = await read(connection, "SELECT 1 AS a, 'x' AS a, NULL AS a", limits=LIMITS)
    assert [(column.name, column.type) for column in rows.columns] == [("a", "int4"), ("a", "text"), ("a", "text")]
    assert rows.rows == [[1, "x", None]]


async def test_a_statistics_view_with_its_odd_types_can_be_read(connection: asyncpg.Connection) -> None:
    rows = await read(connection, "SELECT * FROM pg_stats LIMIT 5", limits=LIMITS)
    assert rows.row_count == 5


async def test_every_system_table_can_be_read_whole(connection: asyncpg.Connection) -> None:
    query = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v') AND relname !~ 'numa'"
    names = told(await read(connection, query, limits=LIMITS))
    for (name,) in names:
        await read(connection, trusted(f"TABLE {name}"), limits=msgspec.structs.replace(LIMITS, max_rows=20))


async def test_a_type_that_changes_under_an_open_connection_is_read_anew(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    other = await asyncpg.connect(dsn)
    await prepare_connection(connection)
    await other.execute("CREATE TABLE changes (a int); INSERT INTO changes VALUES (1)")
    assert await value(connection, "c FROM changes AS c") == {"a": 1}
    await other.execute("DROP TABLE changes; CREATE TABLE changes (a int); INSERT INTO changes VALUES (2)")
    assert await value(connection, "c FROM changes AS c") == {"a": 2}
    await other.execute("ALTER TABLE changes ADD b date DEFAULT '2024-01-01'")
    assert await value(connection, "c FROM changes AS c") == {"a": 2, "b": "2024-01-01"}
    await connection.close()
    await other.close()


async def test_text_that_is_not_utf8_fails_with_a_way_to_read_it(dsn: str) -> None:
    connection = await asyncpg.connect(dsn.replace("/roundtrip?", "/bytes_only?"), statement_cache_size=0)
    await prepare_connection(connection)
    try:
        with pytest.raises(QueryFailed, match=r"UTF-8|encoding"):
            await read(connection, "SELECT E'\\xff' || 'x'", limits=LIMITS)
        assert await value(connection, "1") == 1
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("int2", -5),
        ("int8", "9223372036854775807"),
        ("numeric", "1.50"),
        ("numeric", "-12345678.000090"),
        ("numeric", "1E+131000"),
        ("numeric", "-1.25E-9000"),
        ("numeric", "NaN"),
        ("float4", "-Infinity"),
        ("bool", True),
        ("text", "ä\n"),
        ("varchar(3)", "abc"),
        ("bytea", "3q2+7w=="),
        ("jsonb", {"a": [1, None]}),
        ("json", "text"),
        ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("date", "0044-03-15 BC"),
        ("time", "24:00:00"),
        ("timetz", "12:00:00-05:30:15"),
        ("timestamp", "infinity"),
        ("timestamptz", "2024-02-29T11:05:09.000001Z"),
        ("interval", "P-1Y-2M2DT-0.5S"),
        ("inet", "10.0.0.1/24"),
        ("cidr", "2001:db8::/32"),
        ("macaddr", "08:00:2b:01:02:03"),
        ("bit(4)", "0101"),
        ("mood", "ok"),
        ("mood[]", ["ok", None]),
        ("int8[]", [[1, 2], [3, "9223372036854775807"]]),
        ("timestamptz[]", ["infinity", None]),
        ("scores", [1, 2]),
        ("price", "1.50"),
        ("int4range", {"lower": 1, "upper": 6, "bounds": "[)"}),
        ("numrange", "empty"),
        ("tstzrange", {"lower": None, "upper": "2024-01-01T00:00:00Z", "bounds": "(]"}),
        ("moodrange", {"lower": "sad", "upper": "ok", "bounds": "[)"}),
        ("int4multirange", [{"lower": 1, "upper": 2, "bounds": "[)"}]),
        ("pg_lsn", "1/2"),
        ("tid", "(0,1)"),
        ("regclass", "pg_class"),
        ("money", "$12.50"),
        ("tsvector", "'a' 'b'"),
        ("text", None),
    ],
)
async def test_what_a_result_says_can_be_given_back_as_a_parameter(
    connection: asyncpg.Connection, name: str, given: object
) -> None:
    assert await value(connection, f"$1::{name}", given) == given
