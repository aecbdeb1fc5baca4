"""The addresses of resources: which tool answers each, and with what arguments.

Rules: pure. A resource is what a tool tells, under an address; so an address is a tool's name and arguments, written
otherwise. Names are percent-encoded, dots in them too, for a dot parts a schema from its table.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

TENANTS: Final = "registry://tenants"
REPLICAS: Final = "registry://replicas"
SCHEMAS: Final = "postgres://{tenant}/schemas"
TABLE: Final = "postgres://{tenant}/tables/{schema}.{table}"
HISTORY: Final = "registry://tenants/{id}/history"
LONGEST: Final = 2048
"""Characters: a tenant, a schema and a table of the largest size, each byte encoded, take less."""
_MALFORMED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|[#\s\0]")
"""No name has a zero in it: Postgres knows none."""
_GO_ON: Final = frozenset({"list_tenants", "registry_status", "tenant_history", "list_schemas"})
"""Tools whose answers may have a `next`, for an `after`."""


class Target(msgspec.Struct, frozen=True):
    """What an address stands for: a call of a tool."""

    tool: str
    arguments: Mapping[str, str] = {}


def target_of(uri: str) -> Target | None:
    """Return what tool tells what is at `uri`; None if there can be nothing."""
    if len(uri) > LONGEST or _MALFORMED.search(uri):
        return None
    scheme, _, rest = uri.partition("://")
    path, asks, query = rest.partition("?")
    try:
        target = _target(scheme.lower(), path.split("/"))
        return _going_on(target, query) if target and asks else target
    except UnicodeError:
        return None


def schemas_uri(tenant: str) -> str:
    """Return the address of a tenant's schemas."""
    return f"postgres://{_encoded(tenant)}/schemas"


def history_uri(tenant: str) -> str:
    """Return the address of a tenant's history."""
    return f"registry://tenants/{_encoded(tenant)}/history"


def table_name(schema: str, table: str) -> str:
    """Return both names as one text, from which `names_of` has them again, whatever is in them."""
    return f"{_without_dots(schema)}.{_without_dots(table)}"


def names_of(name: str) -> tuple[str, str]:
    """Return the schema and the table of what `table_name` wrote. Raises `ValueError` if it did not."""
    schema, table = map(_decoded, name.split("."))
    return schema, table


def _target(scheme: str, path: list[str]) -> Target | None:
    match scheme, path:
        case "registry", ["tenants"]:
            return Target("list_tenants")
        case "registry", ["replicas"]:
            return Target("registry_status")
        case "registry", ["tenants", tenant, "history"] if tenant:
            return Target("tenant_history", {"tenant_id": _decoded(tenant)})
        case "postgres", [tenant, "schemas"] if tenant:
            return Target("list_schemas", {"tenant_id": _decoded(tenant)})
        case "postgres", [tenant, "tables", name] if tenant and "." in name:
            return Target("describe_table", {"tenant_id": _decoded(tenant), **_table(name)})
        case _:
            return None


def _table(name: str) -> dict[str, str]:
    """Return the arguments that name the table; where dots are not encoded, the database tells what is meant."""
    if name.count(".") > 1:
        return {"table": _decoded(name)}
    schema, table = names_of(name)
    return {"schema": schema, "table": table}


def _going_on(target: Target, query: str) -> Target | None:
    name, _, after = query.partition("=")
    if name != "after" or "&" in after or target.tool not in _GO_ON:
        return None
    return Target(target.tool, {**target.arguments, "after": _decoded(after)})


def _encoded(name: str) -> str:
    return quote(name, safe="")


def _without_dots(name: str) -> str:
    return _encoded(name).replace(".", "%2E")


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode()
