"""What is in a tenant's database, for somebody who is about to write SQL: schemas, tables, one table in full.

Each question is one guarded read (`server.reads`) and takes its round trips. Answers leave out what is null or empty.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, TypeVar

import msgspec
from asyncpg import Connection

from registry.errors import InvalidInput, QueryFailed
from server.catalogue_sql import (
    DESCRIBE,
    DESCRIBE_OF_SCHEMA,
    NAMES,
    PARTS,
    SCHEMAS,
    SEARCH_PATH,
    TABLES,
    TABLES_OF_SCHEMA,
)
from server.reads import ReadLimits, Rows, read
from server.resource_uris import names_of, table_name
from server.results import EncodedRows
from server.sql_guard import trusted

_DESCRIPTION_BYTES: Final = 8 << 20
_NEAR: Final = 3
_NAMES: Final = 2000
"""How many names are looked through for one that is meant, and how many tables of one name are told apart."""
_NAME_TOO_LONG: Final = "42622"
_DOTS: Final = 128
"""A schema and a table of the largest size, of nothing but dots, have fewer."""
_StructT = TypeVar("_StructT", bound=msgspec.Struct)


class Schema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One schema and how many tables and views in it the login may read."""

    name: str
    owner: str
    tables: int
    comment: str | None = None


class Schemas(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The schemas that the login may use, the system's left out."""

    schemas: list[Schema]
    truncated: bool = False
    next: str | None = None


class Table(msgspec.Struct, frozen=True, array_like=True):
    """One table, view or the like; numbers are the planner's, as of its last VACUUM or ANALYZE.

    Attributes:
        schema: Where it is.
        name: Without the schema.
        kind: `table`, `view`, `materialized view`, `partitioned table` or `foreign table`.
        estimated_rows: With those of its partitions; None if nobody knows.
        size_bytes: With what is stored out of line and without indexes; None for what is not stored.
        comment: Its owner's words.
    """

    schema: str
    name: str
    kind: str
    estimated_rows: int | None
    size_bytes: int | None
    comment: str | None


class Tables(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tables that the login may read, by schema and name: a row each, for their names are half of what objects take.

    Attributes:
        truncated: Whether there are more, behind `next`.
    """

    columns: tuple[str, ...]
    encoded: EncodedRows = msgspec.field(name="tables")
    truncated: bool = False
    next: str | None = None

    @property
    def tables(self) -> list[Table]:
        """The rows, decoded anew: for who reads them here."""
        return _TABLES.decode(self.encoded)


class TableColumn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column.

    Attributes:
        values: Those of an enum, in order.
        generated: The expression that it is computed by.
        identity: `always` or `by default`.
    """

    name: str
    type: str
    not_null: bool = False
    values: list[str] = []
    default: str | None = None
    generated: str | None = None
    identity: str | None = None
    comment: str | None = None


class ForeignKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reference from `columns` to `foreign_columns`.

    In `foreign_keys` the other table is the one referred to; in `referenced_by` the one that refers.

    Attributes:
        on_delete: What a DELETE there does, in Postgres's words; None for no action.
    """

    columns: list[str]
    schema: str
    table: str
    foreign_columns: list[str]
    on_delete: str | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One index, with the statement that would make it."""

    name: str
    definition: str
    unique: bool = False


class TableDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One table in full.

    Attributes:
        definition: A view's query.
    """

    schema: str
    table: str
    kind: str
    columns: list[TableColumn]
    comment: str | None = None
    estimated_rows: int | None = None
    size_bytes: int | None = None
    primary_key: list[str] = []
    foreign_keys: list[ForeignKey] = []
    referenced_by: list[ForeignKey] = []
    indexes: list[Index] = []
    checks: list[str] = []
    definition: str | None = None


class _Found(msgspec.Struct, frozen=True, array_like=True):
    schema: str
    description: TableDescription | None


_TABLES: Final = msgspec.json.Decoder(list[Table])
_FOUND: Final = msgspec.json.Decoder(list[_Found])


async def list_schemas(connection: Connection, after: str | None = None, *, limits: ReadLimits) -> Schemas:
    """Return the schemas that the login may use, those behind the one named `after`.

    Raises what `read` raises; may be cancelled.
    """
    rows = await _ask(connection, SCHEMAS, (after,), limits)
    schemas = _structs(rows, Schema)
    more = rows.truncated and schemas
    return Schemas(schemas=schemas, truncated=rows.truncated, next=schemas[-1].name if more else None)


async def list_tables(
    connection: Connection, schema: str | None = None, after: str | None = None, *, limits: ReadLimits
) -> Tables:
    """Return the tables that the login may read.

    Args:
        connection: Leased and prepared.
        schema: One schema, which may be the system's; None for all but those.
        after: Where the answer before ended: its `next`.
        limits: `max_rows` bounds the tables.

    Raises `InvalidInput` for a schema that is not there, and what `read` raises; may be cancelled.
    """
    query, of = (TABLES, ()) if schema is None else (TABLES_OF_SCHEMA, (schema,))
    rows = await _ask(connection, query, (*_names_of(after), *of), limits)
    if schema is not None and not rows.row_count and not rows.truncated:
        await _require_schema(connection, schema, limits)
    tables = Tables(columns=Table.__struct_fields__, encoded=rows.encoded, truncated=rows.truncated)
    if not rows.truncated or not rows.row_count:
        return tables
    last = tables.tables[-1]
    return msgspec.structs.replace(tables, next=table_name(last.schema, last.name))


async def describe_table(
    connection: Connection, table: str, schema: str | None = None, *, limits: ReadLimits
) -> TableDescription:
    """Return one table in full.

    Args:
        connection: Leased and prepared.
        table: Its name as it is stored, or `schema.name`; dots in either are taken as they come.
        schema: Where it is; None if there is one of that name outside of the system's schemas.
        limits: Those of time count.

    Raises `InvalidInput` if there is none, or several, and says which there are; and what `read` raises. May be
    cancelled.
    """
    enough = msgspec.structs.replace(limits, max_rows=_NAMES, max_bytes=max(limits.max_bytes, _DESCRIPTION_BYTES))
    query, params = (DESCRIBE, (table, _ends(table))) if schema is None else (DESCRIBE_OF_SCHEMA, (table, schema))
    try:
        rows = await _ask(connection, query, params, enough)
    except QueryFailed as error:
        if error.facts.get("sqlstate") != _NAME_TOO_LONG:
            raise
        raise InvalidInput(_no_table(table, ()), field="table") from None  # no table has such a name
    found = _FOUND.decode(rows.encoded)
    if len(found) == 1 and found[0].description is not None:
        return await _with_its_parts(connection, found[0].description, enough)
    if found:
        message = _which(table, sorted(each.schema for each in found))
    elif rows.truncated:
        message = f"The description of {table!r} is too large to show; read pg_catalog instead."
    else:
        names = await _ask(connection, NAMES, (schema,), enough)
        message = _no_table(table, [name for (name,) in names.rows])
    raise InvalidInput(message, field="table")


async def _with_its_parts(
    connection: Connection, description: TableDescription, limits: ReadLimits
) -> TableDescription:
    if description.kind != "partitioned table":
        return description
    ((rows, size),) = (await _ask(connection, PARTS, (description.table, description.schema), limits)).rows
    return msgspec.structs.replace(description, estimated_rows=rows, size_bytes=size)


def _ends(table: str) -> list[str]:
    """Return what a table may be called that is asked for by a name with dots: some may be those of its own name."""
    words = table.split(".", _DOTS)
    return [".".join(words[at:]) for at in range(len(words))]


async def _ask(connection: Connection, query: str, params: Sequence[object], limits: ReadLimits) -> Rows:
    return await read(connection, trusted(query, tidy=True), params, limits=limits, search_path=SEARCH_PATH)


def _names_of(after: str | None) -> tuple[str | None, str | None]:
    if after is None:
        return None, None
    try:
        return names_of(after)
    except ValueError:
        raise InvalidInput(f"after must be the `next` of an answer; got {after[:80]!r}.", field="after") from None


async def _require_schema(connection: Connection, schema: str, limits: ReadLimits) -> None:
    known = [known.name for known in (await list_schemas(connection, limits=limits)).schemas]
    if schema not in known:
        raise InvalidInput(
            f"There is no schema {schema!r} that this login may use.{_did_you_mean(schema, known, 'list_schemas')}",
            field="schema",
        )


def _structs(rows: Rows, kind: type[_StructT]) -> list[_StructT]:
    """Return one struct a row: the SQL's columns are in the order of the struct's fields."""
    fields = kind.__struct_fields__
    return [msgspec.convert(dict(zip(fields, row, strict=True)), kind) for row in rows.rows]


def _which(table: str, schemas: Sequence[str]) -> str:
    return f"There are several tables {table!r}; give the schema, one of {', '.join(schemas)}."


def _no_table(table: str, names: Sequence[str]) -> str:
    return f"There is no table {table!r} that this login may read.{_did_you_mean(table, names, 'list_tables')}"


def _did_you_mean(name: str, names: Sequence[str], tool: str) -> str:
    """Return what comes near, compared without case and schema; where nothing does, what tool shows all."""
    by_plain: dict[str, list[str]] = {}
    for each in names:
        by_plain.setdefault(each.rpartition(".")[2].casefold(), []).append(each)
    near = get_close_matches(name.rpartition(".")[2].casefold(), by_plain, n=_NEAR)
    told = [each for match in near for each in by_plain[match]][:_NEAR]
    return f" Did you mean {', '.join(told)}?" if told else f" {tool} shows those there are."
