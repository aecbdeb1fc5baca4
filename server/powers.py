"""What a tenant's login could do beyond reading and writing its tables: what Postgres lets few roles do.

Counted is what the role is, what it inherits, and what any role is that it may become (SET ROLE), for a membership is a
statement away from use. A superuser has every power, and is told as that alone.
"""

from collections.abc import Iterable
from typing import Final

SUPERUSER: Final = "superuser"

_ATTRIBUTES: Final = {
    SUPERUSER: "rolsuper",
    "bypass_rls": "rolbypassrls",
    "replication": "rolreplication",
    "create_role": "rolcreaterole",
    "create_database": "rolcreatedb",
}
_ROLES: Final = {
    "read_files": "pg_read_server_files",
    "write_files": "pg_write_server_files",
    "run_programs": "pg_execute_server_program",
    "read_all_data": "pg_read_all_data",
    "write_all_data": "pg_write_all_data",
    "monitor": "pg_monitor",
    "signal_backends": "pg_signal_backend",
    "maintain": "pg_maintain",
    "create_subscription": "pg_create_subscription",
}
"""Predefined roles; a server that is too old for one has none who is a member."""
_FUNCTIONS: Final = {
    "read_files": ("pg_read_file", "pg_read_binary_file", "lo_import"),
    "write_files": ("lo_export",),
}
"""Functions that do the same, of which a superuser may have granted one by itself. Since 11 nobody else has them."""

POWERS: Final = (*_ATTRIBUTES, *_ROLES)
"""The names of all powers."""
ANY: Final = "any"


def powers_held(found: Iterable[str]) -> tuple[str, ...]:
    """Return the powers among `found`, which a server told, in the order of `POWERS`."""
    known = set(found)
    return (SUPERUSER,) if SUPERUSER in known else tuple(power for power in POWERS if power in known)


def refused_among(powers: Iterable[str], refused: frozenset[str]) -> list[str]:
    """Return which of a login's powers an operator refuses; a superuser has all that may be refused."""
    if not refused:
        return []
    return [power for power in powers if power in refused or ANY in refused or power == SUPERUSER]


def _rows(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"('{power}', {has})" for power, has in pairs)


_OF_ROLES: Final = _rows(
    [
        *((power, f"r.{column}") for power, column in _ATTRIBUTES.items()),
        *((power, f"r.rolname = '{role}'") for power, role in _ROLES.items()),
    ]
)
_OF_FUNCTIONS: Final = _rows(
    (power, f"'{function}'") for power, functions in _FUNCTIONS.items() for function in functions
)

FOUND: Final = f"""
    ARRAY(
        SELECT held.power
          FROM pg_catalog.pg_roles AS r
         CROSS JOIN LATERAL (VALUES {_OF_ROLES}) AS held (power, has)
         WHERE held.has AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
         UNION
        SELECT held.power
          FROM pg_catalog.pg_proc AS p
          JOIN (VALUES {_OF_FUNCTIONS}) AS held (power, name) ON held.name = p.proname
         WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
           AND pg_catalog.current_setting('server_version_num')::int >= 110000
           AND pg_catalog.has_function_privilege(session_user, p.oid, 'EXECUTE')
    )
"""  # noqa: S608 - the names are those above
"""An expression of SQL: the powers of the login that asks, as text[]."""
