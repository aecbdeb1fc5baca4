"""Which functions Postgres itself brings, asked of running servers: what `server/sql_builtins.py` is made of.

`make builtins` writes that file anew from the embedded Postgres and, where it is installed, Debian's 15.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import asyncpg

_FUNCTIONS: Final = """
    SELECT p.proname::text AS name, bool_or(p.provolatile = 'v') AS volatile,
           bool_or(NOT (d.description IS NOT NULL AND d.description LIKE 'implementation of %')
                   AND NOT 'internal'::regtype = ANY(p.proargtypes) AND p.prorettype <> 'internal'::regtype
                   AND NOT 'cstring'::regtype = ANY(p.proargtypes) AND p.prorettype <> 'cstring'::regtype) AS called
      FROM pg_proc AS p
      LEFT JOIN pg_description AS d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
     WHERE p.oid < 16384
     GROUP BY p.proname
"""


class Builtins(NamedTuple):
    """Names of functions. One that is volatile in any form, in any version, is volatile."""

    volatile: frozenset[str]
    steady: frozenset[str]
    """Those that nobody but Postgres calls, such as what implements an operator, are left out."""


async def builtins_of(connection: "asyncpg.Connection") -> Builtins:
    rows = await connection.fetch(_FUNCTIONS)
    volatile = frozenset(row["name"] for row in rows if row["volatile"])
    return Builtins(volatile, frozenset(row["name"] for row in rows if row["called"]) - volatile)


def merged(all_of_them: Iterable[Builtins]) -> Builtins:
    them = list(all_of_them)
    volatile = frozenset[str]().union(*(each.volatile for each in them))
    return Builtins(volatile, frozenset[str]().union(*(each.steady for each in them)) - volatile)
