"""`make peers`: installs the peers that this machine can run, by npm's and uv's ordinary clients."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from tests.benchmarks.load.peers import HOME, NODE, PEERS

_NPM: Final = NODE.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
_PYTHON: Final = (3, 13)
"""What Kenning asks for."""
_PINS: Final = {peer.package: peer.version for peer in PEERS}


def main() -> int:
    """Install every peer that this machine can run; return 0 if all of them are there."""
    HOME.mkdir(exist_ok=True)
    _install_npm()
    _install_python()
    missing = [peer.name for peer in PEERS if not peer.installed]
    _tell(f"not installed: {', '.join(missing)}" if missing else f"all peers are installed in {HOME.name}")
    return 1 if missing else 0


def _install_npm() -> None:
    wanted = {name: _PINS[name] for name in ("@toolbox-sdk/server", "@bytebase/dbhub")}
    package = {"private": True, "dependencies": wanted}
    (HOME / "package.json").write_bytes(msgspec.json.format(msgspec.json.encode(package)))
    # No install scripts: what they build (SSH's and Oracle's native parts) is not measured.
    flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run([NODE, _NPM, "install", *flags], cwd=HOME, check=False)


def _install_python() -> None:
    python, uv, wanted = _newer_python(), shutil.which("uv") or HOME.parent / ".uv/bin/uv", "kenning-pg-mcp"
    if python is None:
        least = ".".join(map(str, _PYTHON))
        _tell(f"there is no Python {least} or newer here: no Kenning (PEER_PYTHON=path names one)")
        return
    into = HOME / "python"
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", python, into], check=False)
    packages = [f"{wanted}=={_PINS[wanted]}"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", into / "bin/python", *packages], check=False)


def _newer_python() -> str | None:
    """Return a Python that is new enough: one that is named, one of the PATH, one that pyenv keeps."""
    named = [os.environ.get("PEER_PYTHON"), sys.executable, "python3.14", "python3.13", "python3"]
    kept = [str(each) for each in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"), reverse=True)]
    return next((each for each in (*named, *kept) if each and _is_new_enough(each)), None)


def _is_new_enough(python: str) -> bool:
    question = f"import sys; sys.exit(sys.version_info < {_PYTHON})"
    try:
        return subprocess.run([python, "-c", question], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - how a command says what it did


if __name__ == "__main__":
    sys.exit(main())
