"""docs/auth.md keeps up with the tools, the roles and the answers."""

import re
from pathlib import Path
from typing import Any, Final, cast, get_args

import pytest

from server.access_refused import Reason, Refused
from server.challenge import Challenge
from server.database_tools import DatabaseTools
from server.failed_logins import FIRST_DELAY, FREE, LONGEST_DELAY
from server.issuer_keys import ASK_AT_MOST_EVERY, REFRESH_EVERY
from server.jwt_tokens import BYTES_AT_MOST, LEEWAY
from server.status_tools import StatusTools
from server.tenant_tools import TenantTools
from server.tokens import ROLES, parse
from server.toolbox import Toolbox
from server.write_tools import WriteTools

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "auth.md").read_text("utf-8")
NOTHING: Final = cast("Any", None)
ISSUER: Final = "https://id.example"


def rows(first: str) -> dict[str, str]:
    """Return the rows of the table with that head: its first column, and the rest."""
    _, _, table = DOCUMENT.partition(f"| {first} |")
    lines = re.findall(r"^\| (.+?) \| (.+) \|$", table.partition("\n\n")[0], re.MULTILINE)
    return {name.strip("`"): rest for name, rest in lines}


def test_the_table_says_of_each_tool_what_it_needs() -> None:
    toolbox = Toolbox.of(
        TenantTools(
            registry=NOTHING,
            sight=NOTHING,
            log=NOTHING,
            pools=NOTHING,
            secret_files=NOTHING,
            dialler=NOTHING,
            confirmer=NOTHING,
            removal_wait=1,
        ),
        StatusTools(follower=NOTHING, directory=NOTHING, presence=NOTHING),
        DatabaseTools(follower=NOTHING, sight=NOTHING, pools=NOTHING, limits=NOTHING, guard=NOTHING, rates=NOTHING),
        WriteTools(follower=NOTHING, sight=NOTHING, pools=NOTHING, limits=NOTHING, rates=NOTHING, audit=NOTHING),
    )
    assert rows("tool") == {tool.name: f"`{tool.needs}`" for tool in toolbox.tools.values()}


def test_the_table_says_of_each_role_what_it_may() -> None:
    assert rows("role") == {role: ", ".join(f"`{each}`" for each in may) for role, may in ROLES.items()}


def test_the_file_that_is_shown_is_one_that_a_server_takes() -> None:
    (shown,) = re.findall(r"```toml\n(.+?)```", DOCUMENT, re.DOTALL)
    (grant,) = parse(shown).values()

    assert (grant.principal.subject, grant.principal.tenants) == ("ann", ("acme-*", "demo"))


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"after three of one address, {FIRST_DELAY:g}\nseconds and twice that each time, up to two" in DOCUMENT
    assert (FREE, LONGEST_DELAY, LEEWAY, BYTES_AT_MOST) == (3, 2, 30, 8 << 10)
    assert (REFRESH_EVERY, ASK_AT_MOST_EVERY) == (300, 10)


@pytest.mark.parametrize("issuer", [None, ISSUER])
@pytest.mark.parametrize("reason", get_args(Reason))
def test_each_refusal_is_answered_as_the_table_says(reason: Reason, issuer: str | None) -> None:
    refused = Refused(reason, 'It is "so", says Zoë.\n', scope=("audit:read",) if reason == "forbidden" else ())
    resource = f"{ISSUER}/postgres/mcp" if issuer else None
    ((name, value),) = Challenge(resource, issuer).headers(refused)
    told = dict(re.findall(r'(\w+)="([^"]*)"', value.decode("ascii")))
    expected = {
        "no_token": (401, None, "tenants:read query:read"),
        "bad_token": (401, "invalid_token", "tenants:read query:read"),
        "bad_request": (400, "invalid_request", "tenants:read query:read"),
        "forbidden": (403, "insufficient_scope", "audit:read"),
    }
    if reason not in expected:
        assert (name, refused.status) == (b"retry-after", {"too_many": 429, "unavailable": 503}[reason])
        return
    status, error, scope = expected[reason]

    assert (name, refused.status, told.get("error")) == (b"www-authenticate", status, error)
    assert value.startswith(b"Bearer")
    assert told.get("scope") == (scope if issuer or reason == "forbidden" else None)
    assert told.get("error_description") == ("It is 'so', says Zo'.'" if error else None)
    metadata = f"{ISSUER}/.well-known/oauth-protected-resource/postgres/mcp"
    assert told.get("resource_metadata") == (metadata if issuer else None)
