"""What the first call of a process needs is imported before it, and what takes long and is not needed is not."""

import subprocess
import sys
from typing import Final

import pytest

SLOW: Final = ("mcp", "mcp_types", "pydantic", "pglast", "prometheus_client", "cryptography.x509", "jwt", "httpx2")
"""The SDK and what it is made of, the parser, metrics, certificates, issuers' tokens: two seconds together."""
SERVING: Final = (
    "server.commands, server.serving, server.http, server.http_front, server.http_intake, server.http_protocol, "
    "server.mcp_roads, server.sdk_road, server.access"
)


@pytest.mark.parametrize("needed", [SERVING, "server.demo"])
def test_a_server_that_answers_its_first_call_has_not_imported_what_takes_long(needed: str) -> None:
    modules = imported_with(needed)
    assert "asyncpg" in modules, "nothing was imported at all"
    assert sorted(set(SLOW) & modules) == []


def test_help_is_told_without_a_server() -> None:
    assert {"asyncpg", "redis", "structlog"}.isdisjoint(imported_with("server.cli"))


def imported_with(modules: str) -> set[str]:
    """Return all that a fresh Python has imported after these."""
    program = f"import sys, {modules}; print(*sys.modules)"
    return {*subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()}
