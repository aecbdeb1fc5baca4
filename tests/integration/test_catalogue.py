"""The catalogue against a real Postgres: what a model reads before it writes SQL."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from registry.errors import InvalidInput, QueryFailed
from server import catalogue
from server.catalogue import describe_table, list_schemas, list_tables
from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, prepare_connection
from tests.databases import made_database, one_connection

LIMITS = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
SCHEMA = """
    CREATE SCHEMA shop;
    COMMENT ON SCHEMA shop IS 'What we sell.';
    CREATE TYPE shop.state AS ENUM ('placed', 'paid', 'it''s gone');
    CREATE TABLE shop.customers (id int PRIMARY KEY, email text NOT NULL UNIQUE);
    CREATE TABLE shop.orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        customer int NOT NULL REFERENCES shop.customers ON DELETE CASCADE,
        state shop.state NOT NULL DEFAULT 'placed',
        net numeric(8, 2) CHECK (net >= 0),
        gross numeric GENERATED ALWAYS AS (net * 1.2) STORED,
        tags text[]
    );
    COMMENT ON TABLE shop.orders IS 'One row a checkout.';
    COMMENT ON COLUMN shop.orders.net IS 'Euros.';
    CREATE INDEX orders_open ON shop.orders (customer) WHERE state = 'placed';
    CREATE TABLE shop.pairs (a int, b int, PRIMARY KEY (b, a));
    CREATE TABLE shop.parts (x int, y int, FOREIGN KEY (y, x) REFERENCES shop.pairs (b, a));
    CREATE VIEW shop.paid AS SELECT id, state FROM shop.orders WHERE state = 'paid';
    CREATE MATERIALIZED VIEW shop.totals AS SELECT count(*) AS n FROM shop.orders;
    CREATE TABLE shop.events (at date, kind int) PARTITION BY RANGE (at);
    CREATE TABLE shop.events_2024 PARTITION OF shop.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
        PARTITION BY LIST (kind);
    CREATE TABLE shop.events_2024_1 PARTITION OF shop.events_2024 FOR VALUES IN (1);
    INSERT INTO shop.events SELECT '2024-05-01', 1 FROM generate_series(1, 500);
    INSERT INTO shop.customers SELECT i, i || '@example.org' FROM generate_series(1, 300) AS i;
    CREATE SCHEMA archive;
    CREATE TABLE archive.orders (id int);
    CREATE TABLE archive."Odd.Name" (id int);
    CREATE SCHEMA hidden;
    CREATE TABLE hidden.secrets (id int);
    CREATE ROLE catalogue_reader LOGIN PASSWORD 'reader';
    GRANT USAGE ON SCHEMA shop, archive TO catalogue_reader;
    GRANT SELECT ON shop.customers, shop.paid TO catalogue_reader;
    GRANT SELECT (id) ON archive.orders TO catalogue_reader;
    ANALYZE;
"""
HOSTILE = """
    CREATE SCHEMA evil;
    CREATE TABLE evil.pg_class (LIKE pg_catalog.pg_class);
    CREATE FUNCTION evil.obj_description(oid, name) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
    CREATE FUNCTION evil.equal(name, text) RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
    CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.equal);
    ALTER ROLE postgres IN DATABASE catalogue SET search_path = evil, pg_catalog;
"""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    return made_database(postgres, "catalogue", SCHEMA)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    await prepare_connection(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def reader(postgres: EmbeddedPostgres, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A login that may see a part of it."""
    assert dsn
    address = postgres.dsn("catalogue", "catalogue_reader", "reader")
    connection = await asyncpg.connect(address, statement_cache_size=0)
    await prepare_connection(connection)
    yield connection
    await connection.close()


def told(answer: msgspec.Struct) -> dict[str, Any]:
    """Return the answer as a client reads it."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return decoded


def tables_of(answer: msgspec.Struct) -> list[dict[str, Any]]:
    """Return the tables of an answer, each by the names of its columns."""
    read = told(answer)
    return [dict(zip(read["columns"], row, strict=True)) for row in read["tables"]]


async def test_schemas_are_listed_without_the_systems(connection: asyncpg.Connection) -> None:
    schemas = told(await list_schemas(connection, limits=LIMITS))["schemas"]
    assert {schema["name"]: schema["tables"] for schema in schemas} == {
        "archive": 2,
        "hidden": 1,
        "public": 0,
        "shop": 7,
    }
    assert schemas[-1] == {"name": "shop", "owner": "postgres", "tables": 7, "comment": "What we sell."}


async def test_tables_are_listed_with_kind_and_size_and_without_their_partitions(
    connection: asyncpg.Connection,
) -> None:
    tables = tables_of(await list_tables(connection, "shop", limits=LIMITS))
    assert [(table["name"], table["kind"]) for table in tables] == [
        ("customers", "table"),
        ("events", "partitioned table"),
        ("orders", "table"),
        ("paid", "view"),
        ("pairs", "table"),
        ("parts", "table"),
        ("totals", "materialized view"),
    ]
    customers, events, orders, paid = tables[:4]
    assert customers["estimated_rows"] == 300
    assert customers["size_bytes"] >= 2 * 8192
    assert events["estimated_rows"] == 500
    assert orders["comment"] == "One row a checkout."
    assert list(paid.values()) == ["shop", "paid", "view", None, None, None]


async def test_all_schemas_but_the_systems_are_listed_unless_one_is_asked_for(connection: asyncpg.Connection) -> None:
    everything = tables_of(await list_tables(connection, limits=LIMITS))
    assert {table["schema"] for table in everything} == {"archive", "hidden", "shop"}
    system = tables_of(await list_tables(connection, "pg_catalog", limits=LIMITS))
    assert "pg_class" in {table["name"] for table in system}
    assert told(await list_tables(connection, "public", limits=LIMITS))["tables"] == []


async def test_a_long_list_is_cut_and_says_so(connection: asyncpg.Connection) -> None:
    answer = told(await list_tables(connection, limits=msgspec.structs.replace(LIMITS, max_rows=2)))
    assert len(answer["tables"]) == 2
    assert answer["truncated"] is True


async def test_a_list_that_is_cut_goes_on_where_it_ended_until_all_of_it_was_told(
    connection: asyncpg.Connection,
) -> None:
    whole = (await list_tables(connection, limits=LIMITS)).tables
    few = msgspec.structs.replace(LIMITS, max_rows=2)
    page = await list_tables(connection, limits=few)
    pages = [page]
    while page.next is not None:
        page = await list_tables(connection, after=page.next, limits=few)
        pages.append(page)
    assert [table for page in pages for table in page.tables] == whole
    assert [page.truncated for page in pages] == [True] * (len(pages) - 1) + [False]

    schemas = await list_schemas(connection, limits=few)
    assert [each.name for each in schemas.schemas] == ["archive", "hidden"]
    rest = await list_schemas(connection, schemas.next, limits=LIMITS)
    assert ([each.name for each in rest.schemas], rest.next) == (["public", "shop"], None)


async def test_a_schema_whose_end_was_asked_for_is_there_although_nothing_of_it_is_left(
    connection: asyncpg.Connection,
) -> None:
    assert (await list_tables(connection, "archive", "archive.zzz", limits=LIMITS)).tables == []


@pytest.mark.parametrize("after", ["shop", "", "shop.orders.x", "%ff.x"])
async def test_going_on_after_what_no_answer_said_is_refused(connection: asyncpg.Connection, after: str) -> None:
    with pytest.raises(InvalidInput, match="`next` of an answer"):
        await list_tables(connection, after=after, limits=LIMITS)


async def test_names_full_of_dots_are_found_and_gone_on_after(connection: asyncpg.Connection) -> None:
    await connection.execute('CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."c.d" (id int); CREATE TABLE "a.b"."c/ü%" ()')
    try:
        few = msgspec.structs.replace(LIMITS, max_rows=1)
        first = await list_tables(connection, "a.b", limits=few)
        rest = await list_tables(connection, "a.b", first.next, limits=few)
        assert [each.name for each in (*first.tables, *rest.tables)] == ["c.d", "c/ü%"]
        found = await describe_table(connection, "a.b.c.d", limits=LIMITS)
        assert (found.schema, found.table) == ("a.b", "c.d")
    finally:
        await connection.execute('DROP SCHEMA "a.b" CASCADE')


async def test_a_schema_that_is_not_there_is_said_so_with_one_that_is_near(connection: asyncpg.Connection) -> None:
    with pytest.raises(InvalidInput, match=r"no schema 'shp'.* Did you mean shop?"):
        await list_tables(connection, "shp", limits=LIMITS)


async def test_a_table_is_described_in_full_and_without_empty_words(connection: asyncpg.Connection) -> None:
    answer = told(await describe_table(connection, "orders", "shop", limits=LIMITS))
    assert answer == {
        "schema": "shop",
        "table": "orders",
        "kind": "table",
        "comment": "One row a checkout.",
        "estimated_rows": 0,
        "size_bytes": answer["size_bytes"],
        "columns": [
            {"name": "id", "type": "bigint", "not_null": True, "identity": "always"},
            {"name": "customer", "type": "integer", "not_null": True},
            {
                "name": "state",
                "type": "shop.state",
                "not_null": True,
                "values": ["placed", "paid", "it's gone"],
                "default": "'placed'::shop.state",
            },
            {"name": "net", "type": "numeric(8,2)", "comment": "Euros."},
            {"name": "gross", "type": "numeric", "generated": "(net * 1.2)"},
            {"name": "tags", "type": "text[]"},
        ],
        "primary_key": ["id"],
        "foreign_keys": [
            {
                "columns": ["customer"],
                "schema": "shop",
                "table": "customers",
                "foreign_columns": ["id"],
                "on_delete": "cascade",
            }
        ],
        "indexes": [
            {
                "name": "orders_open",
                "definition": "CREATE INDEX orders_open ON shop.orders USING btree (customer) "
                "WHERE (state = 'placed'::shop.state)",
            },
            {
                "name": "orders_pkey",
                "definition": "CREATE UNIQUE INDEX orders_pkey ON shop.orders USING btree (id)",
                "unique": True,
            },
        ],
        "checks": ["CHECK ((net >= (0)::numeric))"],
    }


async def test_keys_of_several_columns_keep_their_order_on_both_sides(connection: asyncpg.Connection) -> None:
    pairs = told(await describe_table(connection, "pairs", limits=LIMITS))
    parts = told(await describe_table(connection, "parts", limits=LIMITS))
    assert pairs["primary_key"] == ["b", "a"]
    assert pairs["referenced_by"] == [
        {"columns": ["y", "x"], "schema": "shop", "table": "parts", "foreign_columns": ["b", "a"]}
    ]
    assert parts["foreign_keys"] == [
        {"columns": ["y", "x"], "schema": "shop", "table": "pairs", "foreign_columns": ["b", "a"]}
    ]


async def test_a_view_is_described_with_its_query(connection: asyncpg.Connection) -> None:
    answer = await describe_table(connection, "paid", limits=LIMITS)
    assert (answer.kind, answer.estimated_rows, answer.indexes) == ("view", None, [])
    assert answer.definition is not None
    assert "FROM shop.orders" in answer.definition


@pytest.mark.parametrize(
    ("table", "schema", "found"),
    [
        ("customers", None, "shop.customers"),
        ("shop.orders", None, "shop.orders"),
        ("Odd.Name", None, "archive.Odd.Name"),
        ("archive.Odd.Name", None, "archive.Odd.Name"),
        ("events_2024_1", None, "shop.events_2024_1"),
        ("pg_class", "pg_catalog", "pg_catalog.pg_class"),
        ("pg_catalog.pg_class", None, "pg_catalog.pg_class"),
    ],
)
async def test_a_table_is_found_by_its_name_where_that_is_enough(
    connection: asyncpg.Connection, table: str, schema: str | None, found: str
) -> None:
    answer = await describe_table(connection, table, schema, limits=LIMITS)
    assert f"{answer.schema}.{answer.table}" == found


@pytest.mark.parametrize(
    ("table", "schema", "message"),
    [
        ("orders", None, "several tables 'orders'; give the schema, one of archive, shop"),
        ("ordrs", None, r"no table 'ordrs'.* Did you mean (archive|shop)\.orders"),
        ("CUSTOMERS", None, r"Did you mean shop\.customers"),
        ("custmers", "shop", r"Did you mean customers\?"),
        ("shop.custmers", None, r"Did you mean shop\.customers"),
        ("zzzzzz", None, r"no table 'zzzzzz' that this login may read\. list_tables shows those there are\.$"),
        ("pg_class", None, "no table 'pg_class'"),
        ("ü" * 32, None, "no table 'ü"),
        ("orders", "x" * 64, "no table 'orders'"),
        ("orders", "nosuch", "no table 'orders'"),
    ],
)
async def test_a_name_that_is_not_enough_is_answered_with_those_that_are(
    connection: asyncpg.Connection, table: str, schema: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await describe_table(connection, table, schema, limits=LIMITS)


async def test_a_login_sees_what_it_may_read_and_nothing_else(reader: asyncpg.Connection) -> None:
    schemas = told(await list_schemas(reader, limits=LIMITS))["schemas"]
    assert {schema["name"]: schema["tables"] for schema in schemas} == {"archive": 1, "public": 0, "shop": 2}
    tables = tables_of(await list_tables(reader, limits=LIMITS))
    assert [f"{table['schema']}.{table['name']}" for table in tables] == [
        "archive.orders",
        "shop.customers",
        "shop.paid",
    ]
    assert (await describe_table(reader, "orders", limits=LIMITS)).schema == "archive"
    with pytest.raises(InvalidInput, match="no table 'secrets'"):
        await describe_table(reader, "secrets", limits=LIMITS)


async def test_a_table_that_somebody_rewrites_does_not_hold_up_the_list_of_tables(
    dsn: str, connection: asyncpg.Connection
) -> None:
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute("LOCK TABLE shop.orders, shop.customers IN ACCESS EXCLUSIVE MODE")
        limits = msgspec.structs.replace(LIMITS, lock_timeout=0.05)
        assert len((await list_tables(connection, "shop", limits=limits)).tables) == 7
        with pytest.raises(QueryFailed, match="lock"):
            await describe_table(connection, "orders", "shop", limits=limits)
    await other.close()


async def test_a_wide_table_is_described_whole_though_rows_would_be_cut(connection: asyncpg.Connection) -> None:
    limits = msgspec.structs.replace(LIMITS, max_bytes=1024, max_rows=1)
    assert len((await describe_table(connection, "pg_class", "pg_catalog", limits=limits)).columns) > 30


async def test_a_description_beyond_every_limit_is_an_error_and_not_half_a_table(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_DESCRIPTION_BYTES", 0)
    with pytest.raises(InvalidInput, match="too large"):
        await describe_table(connection, "orders", "shop", limits=msgspec.structs.replace(LIMITS, max_bytes=100))


async def test_a_name_that_is_meant_is_told_whole_however_long_it_is_with_its_schema(dsn: str) -> None:
    """Postgres cut such names to what one name may have, and to ask by them brought nothing."""
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    await connection.execute(f"CREATE SCHEMA {'s' * 50}; CREATE TABLE {'s' * 50}.{'t' * 50} (id int)")
    try:
        await prepare_connection(connection)
        with pytest.raises(InvalidInput, match=f"Did you mean {'s' * 50}.{'t' * 50}[?]"):
            await describe_table(connection, "t" * 49, limits=LIMITS)
    finally:
        await connection.execute(f"DROP SCHEMA {'s' * 50} CASCADE")
        await connection.close()


async def test_the_catalogues_statements_are_planned_once_a_connection(dsn: str) -> None:
    """Left to itself, Postgres plans each of them for five calls more: of somebody who looks around, for most."""
    plans = "SELECT sum(generic_plans)::int, sum(custom_plans)::int FROM pg_prepared_statements WHERE name LIKE 'mcp%'"
    async with one_connection(dsn) as pool, pool.acquire() as connection:
        for _ in range(2):
            await list_schemas(connection, limits=LIMITS)
            await list_tables(connection, limits=LIMITS)
            await describe_table(connection, "orders", "shop", limits=LIMITS)
        assert tuple(await connection.fetchrow(plans) or ()) == (6, 0)


async def test_a_hostile_search_path_changes_nothing(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    await admin.execute(HOSTILE)
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        assert (await connection.fetchval("SHOW search_path")).startswith("evil")
        await prepare_connection(connection)
        answer = await describe_table(connection, "orders", "shop", limits=LIMITS)
        assert answer.comment == "One row a checkout."
        assert len((await list_tables(connection, "shop", limits=LIMITS)).tables) == 7
    finally:
        await connection.close()
        await admin.execute("ALTER ROLE postgres IN DATABASE catalogue RESET search_path; DROP SCHEMA evil CASCADE")
        await admin.close()
