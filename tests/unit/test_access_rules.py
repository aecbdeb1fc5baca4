"""Settings of who gets in: what may be set, alone and together."""

from pathlib import Path
from typing import Final

import pytest

from server.access_rules import access_problems
from server.addresses import is_trustworthy
from server.settings import Settings
from server.signature_kinds import ALGORITHMS, DEFAULT_ALGORITHMS
from tests.tables import table

ISSUER: Final = "https://id.example/realms/x"
RESOURCE: Final = "https://mcp.example/postgres/mcp"


def problems_of(**fields: object) -> list[str]:
    """Return the problems of settings with an issuer and a resource, but for what is given."""
    told = {"oauth_issuer": ISSUER, "resource_url": RESOURCE, **fields}
    return access_problems(Settings(**told))  # type: ignore[arg-type]  # each test gives its fields what they may hold


def test_an_issuer_and_a_resource_are_enough() -> None:
    assert problems_of() == []


@table("algorithm", ["HS256", "HS384", "HS512", "none", "NONE", "", "rs256", "dir", "RSA-OAEP"])
def test_an_algorithm_whose_key_is_a_secret_or_none_is_refused(algorithm: str) -> None:
    (problem,) = problems_of(oauth_algorithms=("ES256", algorithm))

    assert problem.startswith("MCP_POSTGRES_OAUTH_ALGORITHMS")
    assert not any(each.lower().startswith(("hs", "none")) for each in ALGORITHMS)
    assert set(DEFAULT_ALGORITHMS) < set(ALGORITHMS)


@table(
    "wrong",
    [
        *("http://id.example", "id.example", "ftp://id.example", "https://", "https://ann:x@id.example", "https://[x"),
        *("https://id.example/#x", "https://id.example:port", "http://127.0.0.1.example", "https://id example", ""),
        *("http://10.0.0.1", "javascript:alert(1)", "file:///etc/passwd", "https://id.example/\n"),
    ],
)
@pytest.mark.parametrize("field", ["oauth_issuer", "resource_url"])
def test_what_could_be_changed_on_its_way_is_no_address(field: str, wrong: str) -> None:
    (problem,) = problems_of(**{field: wrong})

    assert problem.startswith(f"MCP_POSTGRES_{field.upper()}")
    assert "https://" in problem


@pytest.mark.parametrize(
    "right", ["https://id.example", "https://id.example:8443/a/b", "http://127.0.0.1:8080", "http://[::1]/"]
)
def test_https_and_loopback_are_addresses(right: str) -> None:
    assert is_trustworthy(right)
    assert problems_of(oauth_issuer=right, oauth_jwks=right, resource_url=right) == []


def test_keys_may_be_in_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    (missing,) = problems_of(oauth_jwks=str(path))
    path.touch()

    assert missing.startswith("MCP_POSTGRES_OAUTH_JWKS names")
    assert problems_of(oauth_jwks=str(path)) == []
    assert len(problems_of(oauth_jwks="http://id.example/keys")) == 1


@pytest.mark.parametrize("field", ["resource_url", "oauth_audience", "oauth_jwks", "oauth_algorithms"])
def test_what_is_about_an_issuer_wants_one(field: str) -> None:
    given = {"resource_url": RESOURCE, "oauth_audience": ("x",), "oauth_jwks": ISSUER, "oauth_algorithms": ("ES256",)}
    (problem,) = problems_of(oauth_issuer=None, **{"resource_url": None, field: given[field]})

    assert problem.startswith(f"MCP_POSTGRES_{field.upper()}")


def test_an_issuer_wants_to_know_for_whom_tokens_are() -> None:
    (problem,) = problems_of(resource_url=None)

    assert problem.startswith("MCP_POSTGRES_RESOURCE_URL")


@pytest.mark.parametrize("field", ["oauth_scope_claim", "oauth_tenants_claim", "oauth_subject_claim"])
def test_a_claim_has_a_name(field: str) -> None:
    assert len(problems_of(**{field: " "})) == 1


BEYOND: Final = {"host": "0.0.0.0", "allowed_hosts": ("*",)}  # noqa: S104 - the point of the tests


def test_beyond_loopback_somebody_must_be_asked_or_a_word_be_said(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.touch()
    (problem,) = problems_of(oauth_issuer=None, resource_url=None, **BEYOND)

    assert "MCP_POSTGRES_TOKENS_FILE" in problem
    assert "--insecure" in problem
    assert problems_of(**BEYOND) == []
    assert problems_of(oauth_issuer=None, resource_url=None, tokens_file=tokens, **BEYOND) == []
    assert problems_of(oauth_issuer=None, resource_url=None, insecure=True, **BEYOND) == []
