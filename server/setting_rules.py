"""What the settings may be, each alone and together; every problem says what to set."""

import math
import re
from collections.abc import Mapping
from typing import Final

from registry import redis_url
from registry.errors import InvalidInput
from server.access_rules import access_problems, file_problems
from server.confirmation import Policy
from server.http_rules import http_problems
from server.master_keys import check_environment_keys
from server.secret_files import TENANT
from server.settings import Settings, variable_of
from server.tenant_policy import MODES, policy_problems

_DAY: Final = 86_400
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "port": (0, 65_535),
    "workers": (1, 64),
    "max_body_bytes": (1024, 64 << 20),
    "body_timeout": (0.1, 3600),
    "max_requests": (1, 100_000),
    "max_clients": (1, 100_000),
    "statement_timeout": (0.001, _DAY),
    "lock_timeout": (0.001, _DAY),
    "write_timeout": (0.001, _DAY),
    "max_rows": (1, 1_000_000),
    "max_result_bytes": (1024, 256 << 20),
    "connect_timeout": (0.1, _DAY),
    "drain_seconds": (0, _DAY),
    "repair_seconds": (1, _DAY),
    "max_staleness": (0, math.inf),
    "removal_wait": (0, 60),
    "max_pools": (1, 100_000),
    "max_connections": (1, 100_000),
    "caller_rate": (0, 100_000),
    "tenant_rate": (0, 100_000),
    "rate_burst": (0, 3600),
}
"""The least and the most that each number may be. An answer is held in memory, and so is a request."""
_TAKEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
_KEY_MAKER: Final = "mcp-postgres keys new --out"
_REPLICA_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*\Z")
_ONE_OF: Final = {
    "on_log_loss": ("restore", "halt"),
    "confirm_writes": tuple(Policy),
    "min_sslmode": MODES,
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "json", "console"),
}


def problems_of(settings: Settings, *, needs_key: bool) -> list[str]:
    """Return what is wrong, a sentence for each; `needs_key` where the command opens or seals passwords."""
    problems = [
        f"{variable_of(field)} must be at least {low} and at most {high}, not {getattr(settings, field)}."
        for field, (low, high) in BOUNDS.items()
        if not low <= getattr(settings, field) <= high  # what is no number is neither above nor below anything
    ]
    problems += [
        f"{variable_of(field)} must be one of {', '.join(words)}, not {getattr(settings, field)!r}."
        for field, words in _ONE_OF.items()
        if getattr(settings, field) not in words
    ]
    if not settings.path.startswith("/") or settings.path in _TAKEN or settings.path.startswith("/.well-known/"):
        problems.append(
            f"{variable_of('path')} must begin with '/' and not be /livez, /readyz, /metrics or below /.well-known, "
            f"not {settings.path!r}."
        )
    if not settings.prefix or set("{}*?[] \n") & set(settings.prefix):
        problems.append(
            f"{variable_of('prefix')} must be a word without braces, globs or spaces, not {settings.prefix!r}."
        )
    if settings.replica_name is not None and not _REPLICA_NAME.match(settings.replica_name):
        problems.append(
            f"{variable_of('replica_name')} must be 1 to 100 ASCII letters, digits, '.', '_' or '-', beginning with a "
            f"letter or a digit, not {settings.replica_name[:120]!r}."
        )
    if settings.signing_key_file is not None:
        problems += file_problems("signing_key_file", settings.signing_key_file, _KEY_MAKER)
    if settings.audit_file is not None and not settings.audit_file.parent.is_dir():
        problems.append(f"{variable_of('audit_file')} is to be in {settings.audit_file.parent}, where no folder is.")
    problems += _secrets_rules(settings) + _key_rules(settings) + policy_problems(settings)
    problems += _redis_rules(settings, needs_key=needs_key) + access_problems(settings)
    return problems + http_problems(settings)


def _secrets_rules(settings: Settings) -> list[str]:
    problems = []
    folder, prefix = settings.secrets_dir, settings.secrets_env_prefix
    if folder is not None and TENANT not in str(folder) and not folder.is_dir():
        problems.append(f"{variable_of('secrets_dir')} names {folder}, where no folder is; make it first.")
    if prefix is not None and (not _VARIABLE.match(prefix.replace(TENANT, "a")) or prefix.startswith(TENANT)):
        problems.append(
            f"{variable_of('secrets_env_prefix')} must begin as a variable's name does, as TENANT_ or "
            f"PASSWORD_{TENANT}, not {prefix!r}."
        )
    return problems


def _redis_rules(settings: Settings, *, needs_key: bool) -> list[str]:
    if settings.redis_url is None:
        return []
    problems = [f"{variable_of('redis_url')} {problem}." for problem in redis_url.problems_of(settings.redis_url)]
    if settings.key_file is None and settings.keys is None and needs_key:
        problems.append(
            "MCP_POSTGRES_KEY_FILE is not set, nor is MCP_POSTGRES_KEYS: with a Redis of your own, passwords are "
            "sealed with a key of your own. Make one with: mcp-postgres keys new --out FILE"
        )
    return problems


def _key_rules(settings: Settings) -> list[str]:
    problems = []
    if settings.key_file is not None and (settings.redis_url is not None or settings.keys is not None):
        problems += file_problems("key_file", settings.key_file, _KEY_MAKER)
    if settings.keys is None:
        return problems
    if settings.key_file is not None:
        problems.append(
            "MCP_POSTGRES_KEY_FILE and MCP_POSTGRES_KEYS are both set; name the master keys in one of them."
        )
    try:
        check_environment_keys(settings.keys)
    except InvalidInput as error:
        problems.append(error.message)
    return problems
