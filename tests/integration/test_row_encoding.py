"""Rows encoded many at once, and the short ways for common numbers, against the long way and Postgres itself."""

from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, read
from server.row_encoding import RowEncoder
from server.values import prepare_connection, value_of
from tests.databases import made_database, one_connection

# Each is null now and then, and at times what its type has at its edges.
VALUES = {
    "int4": ("(r * 2e9)::int4", "'-2147483648'"),
    "int8": ("(r * 2e9)::int8", "'9007199254740992'", "'-9223372036854775808'"),
    "float4": ("r::float4", "'NaN'", "1e-40", "3.4e38"),
    "float8": ("r * 10 ^ (r * 200)", "'-Infinity'", "1e-320", "0.1"),
    "numeric": ("round((r * 10 ^ (r * 30))::numeric, g % 40)", "'NaN'", "1e250", "-1e-250", "0.000", "'-Infinity'"),
    "bool": ("r > 0",),
    "text": ("repeat(chr(32 + g % 3000), g % 7)", "''", "chr(34) || chr(92) || chr(10) || chr(8232)"),
    "bytea": ("decode(md5(g::text), 'hex')", "''"),
    "uuid": ("md5(g::text)::uuid",),
    "date": ("'2000-01-01'::date + (r * 700000)::int4", "'infinity'", "'0044-03-15 BC'"),
    "time": ("'12:00'::time + make_interval(secs => r)", "'24:00'"),
    "timestamp": ("'2000-01-01'::timestamp + make_interval(secs => round((r * 6e10)::numeric, g % 7))", "'-infinity'"),
    "timestamptz": (
        "'2024-01-01Z'::timestamptz + make_interval(secs => round((r * 9e4)::numeric, g % 7))",
        "'infinity'",
    ),
    "interval": ("make_interval(g, secs => r)",),
    "jsonb": ("jsonb_build_object('a', g, 'b', ARRAY[r, 1e40])", "'null'", "1e400::text"),
    "int8[]": ("ARRAY[g, 9007199254740992, null]", "'{}'"),
    "float8[]": ("ARRAY[r, 'NaN']", "'{{1,2},{3,4}}'"),
    "numeric[]": ("ARRAY[r::numeric]", "'{}'"),
    "timestamptz[]": ("ARRAY[now(), 'infinity']",),
    "int4range": ("int4range(g, g + 2)", "'empty'"),
    "inet": ("'10.0.0.0'::inet + g",),
}


def _column(kind: str, usual: str, *edges: str) -> str:
    cases = "".join(f" WHEN {number} THEN {edge}::{kind}" for number, edge in enumerate(edges, 1))
    return f'CASE (random() * 20)::int WHEN 0 THEN NULL{cases} ELSE ({usual})::{kind} END AS "{kind}"'


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    await prepare_connection(connection)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> str:
    columns = ", ".join(_column(kind, *values) for kind, values in VALUES.items())
    return made_database(
        postgres,
        "row_encoding",
        f"CREATE TABLE t AS SELECT {columns} FROM (SELECT g, random() * 2 - 1 AS r FROM generate_series(1, 3000) AS g)",
    )


def _one_by_one(records: list[asyncpg.Record]) -> list[bytes]:
    return [msgspec.json.encode([value_of(value) for value in record.values()]) for record in records]


async def test_rows_are_to_the_byte_what_they_are_value_by_value(
    connection: asyncpg.Connection,
) -> None:
    for kind in VALUES:
        statement = await connection.prepare(f'SELECT "{kind}" FROM t')
        encoder = RowEncoder([attribute.type for attribute in statement.get_attributes()])
        records = await statement.fetch()
        assert encoder.encode(records) == b",".join(_one_by_one(records)), kind


async def test_numbers_and_times_are_told_as_postgres_writes_them(connection: asyncpg.Connection) -> None:
    for kind, pattern in {"numeric": "%s", "date": "%s", "time": "%s", "timestamp": "to_json(%s)#>>'{}'"}.items():
        written = pattern % f'"{kind}"'
        for told, expected in await connection.fetch(
            f'SELECT "{kind}", ({written})::text FROM t WHERE "{kind}" IS NOT NULL'
        ):
            assert "E" in told or told == expected, kind


@pytest.mark.parametrize("kinds", [*VALUES, '", "'.join(VALUES)])
async def test_columns_that_the_driver_reads_as_something_simpler_are_told_as_ever(dsn: str, kinds: str) -> None:
    limits = ReadLimits(max_rows=3000, max_bytes=8 << 20, statement_timeout=10, lock_timeout=1)
    async with one_connection(dsn, wired=True) as quick, one_connection(dsn, wired=False) as careful:
        told = []
        for pool in (quick, careful):
            async with pool.acquire() as connection:
                told.append(await read(connection, f'SELECT "{kinds}" FROM t', limits=limits))
    assert told[0] == told[1]
