"""Settings: from the command line, then the environment, then the defaults; checked all at once at start.

`SETTINGS` is the one table of what can be set; the help text, the environment and the documentation follow it.
"""

import math
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from registry import redis_url

Command: TypeAlias = Literal["serve", "run", "tenants", "log"]
_SERVERS: Final[tuple[Command, ...]] = ("serve", "run")
_NAMED: Final[tuple[Command, ...]] = ("serve", "tenants", "log")
_OF_TENANTS: Final[tuple[Command, ...]] = ("serve", "run", "tenants")
_ALL: Final[tuple[Command, ...]] = ("serve", "run", "tenants", "log")


OF_REDIS: Final = ("REDIS_URL", "REDIS_HOST", "MCP_POSTGRES_KEY_FILE")
"""Variables that say where the log is and what opens it. `run` has both of its own."""


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
    allow_unsafe_redis: bool = False
    key_file: Path | None = None
    signing_key_file: Path | None = None
    prefix: str = "mcp:postgres"
    data_dir: Path = Path(".mcp-postgres")
    max_body_bytes: int = 1 << 20
    body_timeout: float = 30.0
    statement_timeout: float = 30.0
    lock_timeout: float = 5.0
    max_rows: int = 1000
    max_result_bytes: int = 1 << 20
    connect_timeout: float = 5.0
    drain_seconds: float = 10.0
    repair_seconds: float = 30.0
    max_staleness: float = 60.0
    removal_wait: float = 5.0
    replica_name: str | None = None
    on_log_loss: str = "restore"
    full_replay: bool = False
    max_pools: int = 200
    max_connections: int = 400
    log_level: str = "info"
    log_format: str = "auto"


class Setting(msgspec.Struct, frozen=True):
    """One thing that can be set: its field, its environment variable, what it means, which commands honour it."""

    field: str
    variable: str
    meaning: str
    commands: tuple[Command, ...] = _SERVERS


SETTINGS: Final = (
    Setting("host", "MCP_POSTGRES_HOST", "address to listen on"),
    Setting("port", "MCP_POSTGRES_PORT", "port to listen on; 0 picks a free one"),
    Setting("path", "MCP_POSTGRES_PATH", "where the MCP endpoint is, beside /mcp"),
    Setting("allowed_hosts", "MCP_POSTGRES_ALLOWED_HOSTS", "Host headers to answer, comma-separated, * for any"),
    Setting("insecure", "MCP_POSTGRES_INSECURE", "1: listen beyond loopback although there is no authentication"),
    Setting(
        "redis_url",
        "REDIS_URL",
        "redis[s]://, unix://, redis+sentinel:// or redis+cluster://; without any, an embedded Valkey is started",
        _NAMED,
    ),
    Setting(
        "allow_unsafe_redis",
        "MCP_POSTGRES_ALLOW_UNSAFE_REDIS",
        "1: go on with a Redis that may lose the log, and warn",
        ("serve", "tenants", "log"),
    ),
    Setting(
        "key_file",
        "MCP_POSTGRES_KEY_FILE",
        "master keys that seal the tenants' passwords (mcp-postgres keys new)",
        _NAMED,
    ),
    Setting(
        "signing_key_file",
        "MCP_POSTGRES_SIGNING_KEY_FILE",
        "keys that sign events, so that tampering with the log is told (mcp-postgres keys new)",
        _NAMED,
    ),
    Setting("prefix", "MCP_POSTGRES_PREFIX", "what all key names in Redis begin with", _ALL),
    Setting("data_dir", "MCP_POSTGRES_DATA_DIR", "where the embedded servers keep their data", _ALL),
    Setting("max_body_bytes", "MCP_POSTGRES_MAX_BODY_BYTES", "largest request body"),
    Setting("body_timeout", "MCP_POSTGRES_BODY_TIMEOUT", "longest arrival of a request's headers, and of its body"),
    Setting("statement_timeout", "MCP_POSTGRES_STATEMENT_TIMEOUT", "longest run of one statement, in seconds"),
    Setting("lock_timeout", "MCP_POSTGRES_LOCK_TIMEOUT", "longest wait of a statement for a lock, in seconds"),
    Setting("max_rows", "MCP_POSTGRES_MAX_ROWS", "most rows of one answer"),
    Setting("max_result_bytes", "MCP_POSTGRES_MAX_RESULT_BYTES", "most bytes of the rows of one answer"),
    Setting(
        "connect_timeout",
        "MCP_POSTGRES_CONNECT_TIMEOUT",
        "longest login to a tenant's database, in seconds",
        _OF_TENANTS,
    ),
    Setting("drain_seconds", "MCP_POSTGRES_DRAIN_SECONDS", "how long running queries of a removed tenant may go on"),
    Setting("repair_seconds", "MCP_POSTGRES_REPAIR_SECONDS", "how often the tenants' keys are compared with the log"),
    Setting("max_staleness", "MCP_POSTGRES_MAX_STALENESS", "how long to serve while cut off from Redis; inf: for ever"),
    Setting(
        "removal_wait", "MCP_POSTGRES_REMOVAL_WAIT", "longest wait for other replicas to apply a removal", _OF_TENANTS
    ),
    Setting("replica_name", "MCP_POSTGRES_REPLICA_NAME", "what others call this replica; else its host and process id"),
    Setting("on_log_loss", "MCP_POSTGRES_ON_LOG_LOSS", "restore a lost log from what replicas hold, or halt"),
    Setting("full_replay", "MCP_POSTGRES_FULL_REPLAY", "1: start from the whole log, however long it is"),
    Setting("max_pools", "MCP_POSTGRES_MAX_POOLS", "most tenants with open connections; the least recently used go"),
    Setting("max_connections", "MCP_POSTGRES_MAX_CONNECTIONS", "most connections of this replica to all tenants"),
    Setting("log_level", "MCP_POSTGRES_LOG_LEVEL", "debug, info, warning or error"),
    Setting("log_format", "MCP_POSTGRES_LOG_FORMAT", "json, console, or auto: console on a terminal", _ALL),
)

_DAY: Final = 86_400
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "port": (0, 65_535),
    "max_body_bytes": (1024, 64 << 20),
    "body_timeout": (0.1, 3600),
    "statement_timeout": (0.001, _DAY),
    "lock_timeout": (0.001, _DAY),
    "max_rows": (1, 1_000_000),
    "max_result_bytes": (1024, 256 << 20),
    "connect_timeout": (0.1, _DAY),
    "drain_seconds": (0, _DAY),
    "repair_seconds": (1, _DAY),
    "max_staleness": (0, math.inf),
    "removal_wait": (0, 60),
    "max_pools": (1, 100_000),
    "max_connections": (1, 100_000),
}
"""The least and the most that each number may be. An answer is held in memory, and so is a request."""
_TAKEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
_REPLICA_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_ONE_OF: Final = {
    "on_log_loss": ("restore", "halt"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("auto", "json", "console"),
}


def load(arguments: Mapping[str, object], environment: Mapping[str, str], command: Command = "serve") -> Settings:
    """Return what `command` honours of the settings; `SettingsError` lists every problem.

    Empty variables count as unset.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    for setting in SETTINGS:
        if command not in setting.commands:
            continue
        given = arguments.get(setting.field)
        raw = given if given is not None else environment.get(setting.variable, "").strip() or None
        if raw is not None:
            values[setting.field] = _words(raw) if setting.field == "allowed_hosts" else raw
    if command in _NAMED and values.get("redis_url") is None:
        values["redis_url"] = _redis_url_from_parts(environment, problems)
    checked = _convert(values, problems)
    problems.extend(_rules(checked, needs_key=command != "log"))
    if problems:
        raise SettingsError(problems)
    return checked


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`. Of names, `localhost` alone is believed."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


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


def _rules(settings: Settings, *, needs_key: bool) -> list[str]:
    problems = [
        f"{_named(field)} must be at least {low} and at most {high}, not {getattr(settings, field)}."
        for field, (low, high) in BOUNDS.items()
        if not low <= getattr(settings, field) <= high  # what is no number is neither above nor below anything
    ]
    problems += [
        f"{_named(field)} must be one of {', '.join(words)}, not {getattr(settings, field)!r}."
        for field, words in _ONE_OF.items()
        if getattr(settings, field) not in words
    ]
    if not settings.path.startswith("/") or settings.path in _TAKEN:
        problems.append(
            f"{_named('path')} must begin with '/' and not be /livez, /readyz or /metrics, not {settings.path!r}."
        )
    if not settings.prefix or set("{}*?[] \n") & set(settings.prefix):
        problems.append(f"{_named('prefix')} must be a word without braces, globs or spaces, not {settings.prefix!r}.")
    if settings.replica_name is not None and not _REPLICA_NAME.match(settings.replica_name):
        problems.append(
            f"{_named('replica_name')} must be 1 to 100 ASCII letters, digits, '.', '_' or '-', beginning with a "
            f"letter or a digit, not {settings.replica_name[:120]!r}."
        )
    if settings.signing_key_file is not None:
        problems += _key_file_rules("signing_key_file", settings.signing_key_file)
    return problems + _redis_rules(settings, needs_key=needs_key) + _listening_rules(settings)


def _redis_rules(settings: Settings, *, needs_key: bool) -> list[str]:
    if settings.redis_url is None:
        return []
    problems = [f"{_named('redis_url')} {problem}." for problem in redis_url.problems_of(settings.redis_url)]
    if settings.key_file is None and not needs_key:
        return problems
    if settings.key_file is None:
        problems.append(
            "MCP_POSTGRES_KEY_FILE is not set: with a Redis of your own, passwords are sealed with a key of your own. "
            "Make one with: mcp-postgres keys new --out FILE"
        )
        return problems
    return problems + _key_file_rules("key_file", settings.key_file)


def _key_file_rules(field: str, path: Path) -> list[str]:
    name = _named(field)
    try:
        if path.is_dir():
            return [f"{name} names {path}, which is a folder; name the file in it."]
        if path.is_file():
            return []
    except OSError as error:
        return [f"{name} names {path}, which cannot be looked at ({error.strerror})."]
    return [f"{name} names {path}, where no file is; make one with: mcp-postgres keys new --out {path}"]


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
    """Put the URL together. A part that is wrong is told and not shown, and the rest is checked without it."""
    host = environment.get("REDIS_HOST", "").strip()
    if not host:
        return None
    if not redis_url.is_host(host):
        problems.append("REDIS_HOST must be the name or address of a host, and nothing else.")
        host = "localhost"
    port = _number_of(environment, "REDIS_PORT", "6379", range(1, 65_536), problems)
    database = _number_of(environment, "REDIS_DB", "0", range(100_000), problems)
    password = environment.get("REDIS_PASSWORD")
    login = f":{quote(password, safe='')}@" if password else ""
    host = f"[{host}]" if ":" in host else host
    return f"redis://{login}{host}:{port}/{database}"


def _number_of(environment: Mapping[str, str], variable: str, default: str, allowed: range, problems: list[str]) -> str:
    text = environment.get(variable, "").strip() or default
    if text.isascii() and text.isdecimal() and len(text) <= len(str(allowed.stop)) and int(text) in allowed:
        return text
    problems.append(f"{variable} must be a whole number from {allowed.start} to {allowed.stop - 1}.")
    return default


def _words(raw: object) -> list[str]:
    return [word.strip() for word in str(raw).split(",") if word.strip()]


def _named(field: str) -> str:
    return next(setting.variable for setting in SETTINGS if setting.field == field)


def _kind(kind: object) -> str:
    return {int: "whole number", float: "number", bool: "yes or no (1 or 0)"}.get(kind, "valid value")  # type: ignore[call-overload,no-any-return]  # a type or a union


def _path(kind: type, value: object) -> object:
    return Path(str(value)) if kind is Path else value
