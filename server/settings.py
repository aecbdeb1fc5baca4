"""Settings: from the command line, then the environment, then the defaults; checked all at once at start.

`SETTINGS` is the one table of what can be set; the help text, the environment and the documentation follow it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


class SettingsError(Exception):
    """The settings are wrong; one line for each problem, each saying what to set."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one process, checked. Times are in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8001
    path: str = "/postgres/mcp"
    allowed_hosts: tuple[str, ...] = ()
    insecure: bool = False
    redis_url: str | None = None
    key_file: Path | None = None
    prefix: str = "mcp:postgres"
    data_dir: Path = Path(".mcp-postgres")
    max_body_bytes: int = 1 << 20
    statement_timeout: float = 30.0
    lock_timeout: float = 5.0
    max_rows: int = 1000
    max_result_bytes: int = 1 << 20
    connect_timeout: float = 5.0
    drain_seconds: float = 10.0
    max_pools: int = 200
    max_connections: int = 400
    log_level: str = "info"
    log_format: str = "auto"


class Setting(msgspec.Struct, frozen=True):
    """One thing that can be set: its field, its environment variable, what it means, who needs it."""

    field: str
    variable: str
    meaning: str
    server_only: bool = True


SETTINGS: Final = (
    Setting("host", "MCP_POSTGRES_HOST", "address to listen on"),
    Setting("port", "MCP_POSTGRES_PORT", "port to listen on; 0 picks a free one"),
    Setting("path", "MCP_POSTGRES_PATH", "where the MCP endpoint is, beside /mcp"),
    Setting("allowed_hosts", "MCP_POSTGRES_ALLOWED_HOSTS", "Host headers to answer, comma-separated, * for any"),
    Setting("insecure", "MCP_POSTGRES_INSECURE", "1: listen beyond loopback although there is no authentication"),
    Setting(
        "redis_url",
        "REDIS_URL",
        "redis://, rediss:// or unix://; without any, an embedded Valkey is started",
        server_only=False,
    ),
    Setting(
        "key_file", "MCP_POSTGRES_KEY_FILE", "master keys that seal the tenants' passwords (mcp-postgres keys new)"
    ),
    Setting("prefix", "MCP_POSTGRES_PREFIX", "what all key names in Redis begin with", server_only=False),
    Setting("data_dir", "MCP_POSTGRES_DATA_DIR", "where the embedded servers keep their data", server_only=False),
    Setting("max_body_bytes", "MCP_POSTGRES_MAX_BODY_BYTES", "largest request body"),
    Setting("statement_timeout", "MCP_POSTGRES_STATEMENT_TIMEOUT", "longest run of one statement, in seconds"),
    Setting("lock_timeout", "MCP_POSTGRES_LOCK_TIMEOUT", "longest wait of a statement for a lock, in seconds"),
    Setting("max_rows", "MCP_POSTGRES_MAX_ROWS", "most rows of one answer"),
    Setting("max_result_bytes", "MCP_POSTGRES_MAX_RESULT_BYTES", "most bytes of the rows of one answer"),
    Setting(
        "connect_timeout",
        "MCP_POSTGRES_CONNECT_TIMEOUT",
        "longest login to a tenant's database, in seconds",
        server_only=False,
    ),
    Setting("drain_seconds", "MCP_POSTGRES_DRAIN_SECONDS", "how long running queries of a removed tenant may go on"),
    Setting("max_pools", "MCP_POSTGRES_MAX_POOLS", "most tenants with open connections; the least recently used go"),
    Setting("max_connections", "MCP_POSTGRES_MAX_CONNECTIONS", "most connections of this replica to all tenants"),
    Setting("log_level", "MCP_POSTGRES_LOG_LEVEL", "debug, info, warning or error", server_only=False),
    Setting(
        "log_format", "MCP_POSTGRES_LOG_FORMAT", "json, console, or auto: console on a terminal", server_only=False
    ),
)

_AT_LEAST: Final = {
    "port": 0,
    "max_body_bytes": 1024,
    "statement_timeout": 0.001,
    "lock_timeout": 0.001,
    "max_rows": 1,
    "max_result_bytes": 1024,
    "connect_timeout": 0.1,
    "drain_seconds": 0,
    "max_pools": 1,
    "max_connections": 1,
}
_ONE_OF: Final = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "json", "console"),
}


def load(arguments: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Return the settings; `SettingsError` lists every problem. Empty variables count as unset."""
    problems: list[str] = []
    values: dict[str, object] = {}
    for setting in SETTINGS:
        given = arguments.get(setting.field)
        raw = given if given is not None else environment.get(setting.variable, "").strip() or None
        if raw is not None:
            values[setting.field] = _words(raw) if setting.field == "allowed_hosts" else raw
    if values.get("redis_url") is None:
        values["redis_url"] = _redis_url_from_parts(environment, problems)
    checked = _convert(values, problems)
    problems.extend(_rules(checked))
    if problems:
        raise SettingsError(problems)
    return checked


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    return host in LOOPBACK or host.startswith("127.")


def _convert(values: dict[str, object], problems: list[str]) -> Settings:
    """Convert field by field, so that one wrong value does not hide the next."""
    good: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name not in values:
            continue
        try:
            good[field.name] = msgspec.convert(values[field.name], field.type, strict=False, dec_hook=_path)
        except (msgspec.ValidationError, ValueError):
            problems.append(f"{_named(field.name)} is {values[field.name]!r}, which is no {_kind(field.type)}.")
    return Settings(**good)  # type: ignore[arg-type]  # each value was converted to its field's type


def _rules(settings: Settings) -> list[str]:
    problems = [
        f"{_named(field)} must be at least {low}, not {getattr(settings, field)}."
        for field, low in _AT_LEAST.items()
        if not low <= getattr(settings, field) < math.inf  # what is no number is not below anything either
    ]
    problems += [
        f"{_named(field)} must be one of {', '.join(words)}, not {getattr(settings, field)!r}."
        for field, words in _ONE_OF.items()
        if getattr(settings, field) not in words
    ]
    if settings.port > 65535:  # noqa: PLR2004 - the largest TCP port
        problems.append(f"{_named('port')} must be at most 65535, not {settings.port}.")
    if not settings.path.startswith("/") or settings.path in {"/livez", "/readyz"}:
        problems.append(f"{_named('path')} must begin with '/' and not be a health check's, not {settings.path!r}.")
    if not settings.prefix or set("{}*?[] \n") & set(settings.prefix):
        problems.append(f"{_named('prefix')} must be a word without braces, globs or spaces, not {settings.prefix!r}.")
    return problems + _redis_rules(settings) + _listening_rules(settings)


def _redis_rules(settings: Settings) -> list[str]:
    if settings.redis_url is None:
        return []
    problems = []
    if not _is_redis_url(settings.redis_url):
        problems.append(
            f"{_named('redis_url')} must be redis://host:port/0, rediss://host:port/0 or unix:///path, with special "
            "characters in its password percent-encoded."
        )
    if settings.key_file is None:
        problems.append(
            "MCP_POSTGRES_KEY_FILE is not set: with a Redis of your own, passwords are sealed with a key of your own. "
            "Make one with: mcp-postgres keys new --out FILE"
        )
    elif not settings.key_file.is_file():
        problems.append(
            f"MCP_POSTGRES_KEY_FILE names {settings.key_file}, where no file is; "
            f"make one with: mcp-postgres keys new --out {settings.key_file}"
        )
    return problems


def _is_redis_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    return url.scheme in _REDIS_SCHEMES


def _listening_rules(settings: Settings) -> list[str]:
    if is_loopback(settings.host):
        return []
    problems = []
    if not settings.insecure:
        problems.append(
            f"{_named('host')} is {settings.host}, beyond loopback, and there is no authentication: whoever reaches "
            "the port may register tenants and query them. Listen on 127.0.0.1 behind a proxy that authenticates, or "
            "say --insecure (MCP_POSTGRES_INSECURE=1) if the network is closed."
        )
    if not settings.allowed_hosts:
        problems.append(
            "MCP_POSTGRES_ALLOWED_HOSTS is not set: name the Host headers that clients use (mcp.example.com,"
            "mcp.example.com:8001), or * for any."
        )
    return problems


def _redis_url_from_parts(environment: Mapping[str, str], problems: list[str]) -> str | None:
    host, port = environment.get("REDIS_HOST"), environment.get("REDIS_PORT") or "6379"
    if not host:
        return None
    if not port.isdecimal():
        problems.append(f"REDIS_PORT is {port!r}, which is no number.")
    database = environment.get("REDIS_DB") or "0"
    if not database.isdecimal():
        problems.append(f"REDIS_DB is {database!r}, which is no number.")
    password = environment.get("REDIS_PASSWORD")
    login = f":{quote(password, safe='')}@" if password else ""
    host = f"[{host}]" if ":" in host else host
    return f"redis://{login}{host}:{port}/{database}"


def _words(raw: object) -> list[str]:
    return [word.strip() for word in str(raw).split(",") if word.strip()]


def _named(field: str) -> str:
    return next(setting.variable for setting in SETTINGS if setting.field == field)


def _kind(kind: object) -> str:
    return {int: "whole number", float: "number", bool: "yes or no (1 or 0)"}.get(kind, "valid value")  # type: ignore[call-overload,no-any-return]  # a type or a union


def _path(kind: type, value: object) -> object:
    return Path(str(value)) if kind is Path else value
