"""Write `server/sql_builtins.py` anew: `make builtins`."""

import asyncio
import os
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Final

import asyncpg

from server.embedded.binaries import POSTGRES_VARIABLE
from server.embedded.postgres import EmbeddedPostgres
from tests.security.builtin_functions import Builtins, builtins_of, merged

DEBIAN_15: Final = Path("/usr/lib/postgresql/15/bin/postgres")

_FILE: Final = '''\
"""The functions that Postgres itself brings, in versions 15 and 18, by name: made by `make builtins`, not by hand."""

from typing import Final

_VOLATILE: Final = """
{volatile}
"""
_STEADY: Final = """
{steady}
"""

VOLATILE: Final = frozenset(_VOLATILE.split())
"""Whose result may change within a statement, or which do something besides."""
STEADY: Final = frozenset(_STEADY.split())
"""The others, but for those that only Postgres calls (what implements operators and types)."""
'''


def main() -> None:
    found = merged(asyncio.run(_ask(program)) for program in (None, DEBIAN_15) if program is None or program.exists())
    Path(__file__).parents[2].joinpath("server/sql_builtins.py").write_text(_text(found))
    sys.stdout.write(f"{len(found.volatile)} volatile, {len(found.steady)} steady\n")


def _text(found: Builtins) -> str:
    return _FILE.format(volatile=_lines(found.volatile), steady=_lines(found.steady))


def _lines(names: frozenset[str]) -> str:
    return textwrap.fill(
        " ".join(sorted(names)), 120, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )


async def _ask(program: Path | None) -> Builtins:
    if program is not None:
        os.environ[POSTGRES_VARIABLE] = str(program)
    with tempfile.TemporaryDirectory() as data:
        server = EmbeddedPostgres(Path(data), durable=False)
        await server.start()
        try:
            connection = await asyncpg.connect(server.dsn("postgres"))
            try:
                return await builtins_of(connection)
            finally:
                await connection.close()
        finally:
            await server.stop()


if __name__ == "__main__":
    main()
