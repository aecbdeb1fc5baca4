"""What is asked: the same five questions of every server, in the words of its own tools, and what must be answered.

The yardstick runs the SQL itself. For the lists it is the information schema's, as people write it; the servers have
queries of their own, which tell more or less than that.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from tests.benchmarks.load.dataset import ROWS, TABLES, table
from tests.benchmarks.load.messages import Arguments

_SELECT_1: Final = "SELECT 1 AS x"
_TABLES: Final = """
    SELECT table_schema, table_name FROM information_schema.tables
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"""
_DESCRIBED: Final = table(7)
_COLUMNS: Final = f"""
    SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name = '{_DESCRIBED}' ORDER BY ordinal_position"""
_ALL_ROWS: Final = "SELECT id, name, city, amount, created_at FROM customers ORDER BY id"
_1000_ROWS: Final = f"{_ALL_ROWS} LIMIT 1000"


class Call(msgspec.Struct, frozen=True):
    """A tool call, and texts that its answer must hold."""

    tool: str
    arguments: Arguments
    expected: tuple[str, ...]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One question.

    Args:
        name: What it is called on the command line and in the results.
        title: What people read.
        sql: What the yardstick runs.
        rows: How many rows that brings.
        ours: How the project is asked, but for the tenant.
        uncapped_clients: The most clients of a server that sends all rows, where those would fill the memory.
    """

    name: str
    title: str
    sql: str
    rows: int
    ours: Call
    uncapped_clients: int | None = None


def _query(sql: str, *expected: str) -> Call:
    return _query_of("query", sql, *expected)


def _query_of(argument: str, sql: str, *expected: str) -> Call:
    return Call("execute_query", {argument: sql}, expected)


CASES: Final[Mapping[str, Case]] = {
    case.name: case
    for case in (
        Case(name="select1", title="SELECT 1", sql=_SELECT_1, rows=1, ours=_query(_SELECT_1, "[[1]]")),
        Case(
            name="list_tables",
            title=f"list {TABLES} tables",
            sql=_TABLES,
            rows=TABLES,
            ours=Call("list_tables", {}, ("customers", table(TABLES - 1))),
        ),
        Case(
            name="describe_table",
            title="describe a table",
            sql=_COLUMNS,
            rows=5,
            ours=Call("describe_table", {"table": _DESCRIBED}, ("created_at", "numeric(12,2)")),
        ),
        Case(
            name="rows1000",
            title="1,000 rows",
            sql=_1000_ROWS,
            rows=1000,
            ours=_query(_1000_ROWS, "customer 1", "customer 1000"),
        ),
        Case(
            name="rows100k",
            title="100,000 rows, capped",
            sql=_ALL_ROWS,
            rows=ROWS,
            ours=_query(_ALL_ROWS, "customer 1000", "truncated"),
            uncapped_clients=1,
        ),
    )
}

TOOLBOX: Final[Mapping[str, Call]] = {
    "select1": Call("execute_sql", {"sql": _SELECT_1}, ('\\"x\\":1',)),
    "list_tables": Call("list_tables", {"output_format": "simple"}, ("customers", table(TABLES - 1))),
    "describe_table": Call("list_tables", {"table_names": _DESCRIBED}, ("created_at", "numeric(12,2)")),
    "rows1000": Call("execute_sql", {"sql": _1000_ROWS}, ("customer 1", "customer 1000")),
    "rows100k": Call("execute_sql", {"sql": _ALL_ROWS}, ("customer 100000",)),
}
"""MCP Toolbox, with its prebuilt tools for Postgres."""

DBHUB: Final[Mapping[str, Call]] = {
    "select1": Call("execute_sql", {"sql": _SELECT_1}, ('\\"x\\": 1',)),
    "list_tables": Call("search_objects", {"object_type": "table"}, ("customers", table(TABLES - 1))),
    "describe_table": Call(
        "search_objects",
        {"object_type": "table", "schema": "public", "pattern": _DESCRIBED, "detail_level": "full"},
        ("created_at", "numeric"),
    ),
    "rows1000": Call("execute_sql", {"sql": _1000_ROWS}, ("customer 1", "customer 1000")),
    "rows100k": Call("execute_sql", {"sql": _ALL_ROWS}, ("customer 100000",)),
}

KENNING: Final[Mapping[str, Call]] = {
    "select1": _query_of("sql", _SELECT_1, "[[1]]"),
    "list_tables": Call("list_objects", {"schema": "public"}, ("customers", table(TABLES - 1))),
    "describe_table": Call("describe_object", {"schema": "public", "name": _DESCRIBED}, ("created_at", "numeric")),
    "rows1000": _query_of("sql", _1000_ROWS, "customer 1", "customer 1000"),
    "rows100k": _query_of("sql", _ALL_ROWS, "customer 1000", "truncated"),
}
"""Kenning PG MCP, restricted."""
