"""Addresses that callers put together by themselves, of the template that they are told."""

from urllib.parse import quote

from server.resource_uris import table_name


def table_uri(tenant: str, schema: str, table: str) -> str:
    """Return the address of one table."""
    return f"postgres://{quote(tenant, safe='')}/tables/{table_name(schema, table)}"
