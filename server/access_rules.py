"""What the settings of who gets in may be; every problem says what to set."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from server.addresses import is_loopback, is_trustworthy
from server.settings import Settings, variable_of
from server.signature_kinds import ALGORITHMS

_OF_OAUTH: Final = ("resource_url", "oauth_audience", "oauth_jwks", "oauth_algorithms")


def access_problems(settings: Settings) -> list[str]:
    """Return what is wrong with who gets in, and with listening where they come from."""
    return _file_rules(settings) + _oauth_rules(settings) + _listening_rules(settings)


def _file_rules(settings: Settings) -> list[str]:
    if settings.tokens_file is None:
        return []
    return file_problems("tokens_file", settings.tokens_file, "mcp-postgres tokens new --file")


def file_problems(field: str, path: Path, maker: str) -> list[str]:
    """Return what is wrong with a file that a setting names; `maker FILE` makes one."""
    name = variable_of(field)
    try:
        if path.is_dir():
            return [f"{name} names {path}, which is a folder; name the file in it."]
        if path.is_file():
            return []
    except OSError as error:
        return [f"{name} names {path}, which cannot be looked at ({error.strerror})."]
    return [f"{name} names {path}, where no file is; make one with: {maker} {path}"]


def _oauth_rules(settings: Settings) -> list[str]:
    if settings.oauth_issuer is None:
        given = [variable_of(field) for field in _OF_OAUTH if getattr(settings, field)]
        return [f"{name} is set, and MCP_POSTGRES_OAUTH_ISSUER is not: set both or none." for name in given]
    problems = []
    if not is_trustworthy(settings.oauth_issuer) or urlsplit(settings.oauth_issuer).query:
        problems.append(f"{variable_of('oauth_issuer')} must be an https:// URL without a query (http:// on loopback).")
    if settings.resource_url is None:
        problems.append(
            "MCP_POSTGRES_RESOURCE_URL is not set: with OAuth it says for whom tokens are, and to clients where they "
            "are. Give the endpoint's address as clients know it: https://mcp.example.com/postgres/mcp"
        )
    elif not is_trustworthy(settings.resource_url) or urlsplit(settings.resource_url).query:
        problems.append(f"{variable_of('resource_url')} must be an https:// URL without a query (http:// on loopback).")
    jwks = settings.oauth_jwks
    if jwks is not None and not is_trustworthy(jwks):
        maker = "curl --fail https://ISSUER/JWKS --output"
        url = f"{variable_of('oauth_jwks')} must be an https:// URL (http:// on loopback) or a file."
        problems += [url] if "://" in jwks else file_problems("oauth_jwks", Path(jwks), maker)
    if wrong := [each for each in settings.oauth_algorithms if each not in ALGORITHMS]:
        problems.append(
            f"{variable_of('oauth_algorithms')} must be of {', '.join(ALGORITHMS)}, not {wrong[0]!r}: a key that is "
            "published verifies, and signs nothing."
        )
    return problems + [
        f"{variable_of(field)} must be the name of a claim."
        for field in ("oauth_scope_claim", "oauth_tenants_claim", "oauth_subject_claim")
        if not getattr(settings, field).strip()
    ]


def _listening_rules(settings: Settings) -> list[str]:
    if is_loopback(settings.host):
        return []
    problems = []
    if not (settings.insecure or settings.tokens_file or settings.oauth_issuer):
        problems.append(
            f"{variable_of('host')} is {settings.host}, beyond loopback, and nobody is asked who they are: whoever "
            "reaches the port may register tenants and query them. Set MCP_POSTGRES_TOKENS_FILE (mcp-postgres tokens "
            "new) or MCP_POSTGRES_OAUTH_ISSUER; or say --insecure (MCP_POSTGRES_INSECURE=1) if the network is closed "
            "or a proxy authenticates."
        )
    if not settings.allowed_hosts:
        problems.append(
            "MCP_POSTGRES_ALLOWED_HOSTS is not set: name the Host headers that clients use (mcp.example.com,"
            "mcp.example.com:8001), or * for any."
        )
    return problems
