"""What can be set: one table, which the help text, the environment and the documentation follow.

Where the values come from is in `server/given.py`, what they may be in `server/setting_rules.py`.
"""

from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from registry.secrets import Secret

Command: TypeAlias = Literal["serve", "run", "tenants", "log", "keys"]
_SERVERS: Final[tuple[Command, ...]] = ("serve", "run")
NAMED: Final[tuple[Command, ...]] = ("serve", "tenants", "log", "keys")
_OF_TENANTS: Final[tuple[Command, ...]] = ("serve", "run", "tenants")
_ALL: Final[tuple[Command, ...]] = ("serve", "run", "tenants", "log", "keys")


OF_REDIS: Final = ("REDIS_URL", "REDIS_HOST", "MCP_POSTGRES_KEY_FILE", "MCP_POSTGRES_KEYS")
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
    workers: int = 1
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    insecure: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tokens_file: Path | None = None
    resource_url: str | None = None
    oauth_issuer: str | None = None
    oauth_audience: tuple[str, ...] = ()
    oauth_jwks: str | None = None
    oauth_algorithms: tuple[str, ...] = ()
    oauth_scope_claim: str = "scope"
    oauth_tenants_claim: str = "mcp_tenants"
    oauth_subject_claim: str = "sub"
    redis_url: str | None = None
    allow_unsafe_redis: bool = False
    key_file: Path | None = None
    keys: Secret | None = None
    signing_key_file: Path | None = None
    secrets_dir: Path | None = None
    secrets_env_prefix: str | None = None
    prefix: str = "mcp:postgres"
    data_dir: Path = Path(".mcp-postgres")
    max_body_bytes: int = 1 << 20
    body_timeout: float = 30.0
    max_requests: int = 128
    max_clients: int = 1000
    statement_timeout: float = 30.0
    lock_timeout: float = 5.0
    max_rows: int = 1000
    max_result_bytes: int = 1 << 20
    strict_reads: bool = False
    keep_prepared: bool = True
    write_timeout: float = 60.0
    confirm_writes: str = "never"
    audit_file: Path | None = None
    connect_timeout: float = 5.0
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()
    allowed_ports: tuple[str, ...] = ()
    min_sslmode: str = "disable"
    refused_powers: tuple[str, ...] = ()
    drain_seconds: float = 10.0
    repair_seconds: float = 30.0
    max_staleness: float = 60.0
    removal_wait: float = 5.0
    replica_name: str | None = None
    on_log_loss: str = "restore"
    full_replay: bool = False
    max_pools: int = 200
    max_connections: int = 400
    caller_rate: float = 0.0
    tenant_rate: float = 0.0
    rate_burst: float = 5.0
    log_level: str = "info"
    log_format: str = "auto"

    def __repr__(self) -> str:
        told = {**msgspec.structs.asdict(self), "redis_url": self.redis_url and "***"}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in told.items())})"


class Setting(msgspec.Struct, frozen=True):
    """One thing that can be set: its field, its environment variable, what it means, which commands honour it.

    A secret has no flag, which everybody on the machine could read, and is taken out of the environment once read.
    """

    field: str
    variable: str
    meaning: str
    commands: tuple[Command, ...] = _SERVERS
    secret: bool = False


SETTINGS: Final = (
    Setting("host", "MCP_POSTGRES_HOST", "address to listen on"),
    Setting("port", "MCP_POSTGRES_PORT", "port to listen on; 0 picks a free one"),
    Setting("path", "MCP_POSTGRES_PATH", "where the MCP endpoint is, beside /mcp"),
    Setting("workers", "MCP_POSTGRES_WORKERS", "how many processes answer on the port, each a replica of its own"),
    Setting("allowed_hosts", "MCP_POSTGRES_ALLOWED_HOSTS", "Host headers to answer, comma-separated, * for any"),
    Setting(
        "allowed_origins",
        "MCP_POSTGRES_ALLOWED_ORIGINS",
        "origins of web pages that may call, comma-separated, * for any",
    ),
    Setting("insecure", "MCP_POSTGRES_INSECURE", "1: listen beyond loopback although nobody is asked who they are"),
    Setting("tls_cert", "MCP_POSTGRES_TLS_CERT", "certificate and its chain (PEM), to serve https"),
    Setting("tls_key", "MCP_POSTGRES_TLS_KEY", "the certificate's key (PEM), not encrypted"),
    Setting(
        "tls_client_ca", "MCP_POSTGRES_TLS_CLIENT_CA", "answer only clients with a certificate signed by this (PEM)"
    ),
    Setting("tokens_file", "MCP_POSTGRES_TOKENS_FILE", "bearer tokens that are let in (mcp-postgres tokens new)"),
    Setting("resource_url", "MCP_POSTGRES_RESOURCE_URL", "address of the MCP endpoint as clients know it, for OAuth"),
    Setting("oauth_issuer", "MCP_POSTGRES_OAUTH_ISSUER", "issuer whose access tokens (JWT) are let in"),
    Setting(
        "oauth_audience", "MCP_POSTGRES_OAUTH_AUDIENCE", "aud of its tokens, comma-separated; else the resource URL"
    ),
    Setting("oauth_jwks", "MCP_POSTGRES_OAUTH_JWKS", "URL or file of its keys; else where its metadata says"),
    Setting(
        "oauth_algorithms",
        "MCP_POSTGRES_OAUTH_ALGORITHMS",
        "how its tokens may be signed, comma-separated; else RS256, PS256, ES256, ES384, EdDSA",
    ),
    Setting("oauth_scope_claim", "MCP_POSTGRES_OAUTH_SCOPE_CLAIM", "claim that holds the permissions"),
    Setting("oauth_tenants_claim", "MCP_POSTGRES_OAUTH_TENANTS_CLAIM", "claim that holds the tenants, as ids or globs"),
    Setting("oauth_subject_claim", "MCP_POSTGRES_OAUTH_SUBJECT_CLAIM", "claim that names the caller"),
    Setting(
        "redis_url",
        "REDIS_URL",
        "redis[s]://, unix://, redis+sentinel:// or redis+cluster://; without any, an embedded Valkey is started",
        NAMED,
    ),
    Setting(
        "allow_unsafe_redis",
        "MCP_POSTGRES_ALLOW_UNSAFE_REDIS",
        "1: go on with a Redis that may lose the log, and warn",
        NAMED,
    ),
    Setting(
        "key_file",
        "MCP_POSTGRES_KEY_FILE",
        "master keys that seal the tenants' passwords (mcp-postgres keys new)",
        NAMED,
    ),
    Setting(
        "keys",
        "MCP_POSTGRES_KEYS",
        "the same keys, name:base64 with commas or line breaks between them, instead of a file",
        NAMED,
        secret=True,
    ),
    Setting(
        "signing_key_file",
        "MCP_POSTGRES_SIGNING_KEY_FILE",
        "keys that sign events, so that tampering with the log is told (mcp-postgres keys new)",
        NAMED,
    ),
    Setting(
        "secrets_dir",
        "MCP_POSTGRES_SECRETS_DIR",
        "folder whose files a password_ref=file: may name; {tenant} in it stands for the tenant's id",
        _OF_TENANTS,
    ),
    Setting(
        "secrets_env_prefix",
        "MCP_POSTGRES_SECRETS_ENV_PREFIX",
        "what variables begin with that a password_ref=env: may name; with {tenant}, the whole name",
        _OF_TENANTS,
    ),
    Setting("prefix", "MCP_POSTGRES_PREFIX", "what all key names in Redis begin with", _ALL),
    Setting("data_dir", "MCP_POSTGRES_DATA_DIR", "where the embedded servers keep their data", _ALL),
    Setting("max_body_bytes", "MCP_POSTGRES_MAX_BODY_BYTES", "largest request body"),
    Setting(
        "body_timeout",
        "MCP_POSTGRES_BODY_TIMEOUT",
        "longest arrival of a request's headers, of its body, and of each 64 KiB of its answer",
    ),
    Setting("max_requests", "MCP_POSTGRES_MAX_REQUESTS", "most MCP requests in flight; more are told to come back"),
    Setting("max_clients", "MCP_POSTGRES_MAX_CLIENTS", "most client connections; the longest idle go"),
    Setting("statement_timeout", "MCP_POSTGRES_STATEMENT_TIMEOUT", "longest run of one statement, in seconds"),
    Setting("lock_timeout", "MCP_POSTGRES_LOCK_TIMEOUT", "longest wait of a statement for a lock, in seconds"),
    Setting("max_rows", "MCP_POSTGRES_MAX_ROWS", "most rows of one answer"),
    Setting("max_result_bytes", "MCP_POSTGRES_MAX_RESULT_BYTES", "most bytes of the rows of one answer"),
    Setting(
        "strict_reads",
        "MCP_POSTGRES_STRICT_READS",
        "1: reads call no volatile function of a tenant's own, and nothing that cannot be parsed runs",
    ),
    Setting(
        "keep_prepared",
        "MCP_POSTGRES_KEEP_PREPARED",
        "0: keep no statement prepared in sessions, for a pooler that hands these on; it is noticed anyhow",
    ),
    Setting("write_timeout", "MCP_POSTGRES_WRITE_TIMEOUT", "longest run of all statements of one write, in seconds"),
    Setting(
        "confirm_writes",
        "MCP_POSTGRES_CONFIRM_WRITES",
        "never; ask: have users confirm writes where their client can; require: and refuse where it cannot",
    ),
    Setting("audit_file", "MCP_POSTGRES_AUDIT_FILE", "where each write is put down, before and after; else in the log"),
    Setting(
        "connect_timeout",
        "MCP_POSTGRES_CONNECT_TIMEOUT",
        "longest login to a tenant's database, in seconds",
        _OF_TENANTS,
    ),
    Setting(
        "allowed_networks",
        "MCP_POSTGRES_ALLOWED_NETWORKS",
        "networks tenants may point at: 10.0.0.0/8, or loopback, private, public; all if empty",
        _OF_TENANTS,
    ),
    Setting(
        "denied_networks",
        "MCP_POSTGRES_DENIED_NETWORKS",
        "networks tenants may not point at, also within those allowed",
        _OF_TENANTS,
    ),
    Setting(
        "allowed_ports",
        "MCP_POSTGRES_ALLOWED_PORTS",
        "ports tenants may point at: 5432,6000-6010; all if empty",
        _OF_TENANTS,
    ),
    Setting("min_sslmode", "MCP_POSTGRES_MIN_SSLMODE", "weakest sslmode that tenants may have", _OF_TENANTS),
    Setting(
        "refused_powers",
        "MCP_POSTGRES_REFUSED_POWERS",
        "what tenants' logins may not be able to: superuser, read_files and others, or any",
        _OF_TENANTS,
    ),
    Setting(
        "drain_seconds",
        "MCP_POSTGRES_DRAIN_SECONDS",
        "how long calls that run may go on when their tenant or server goes",
    ),
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
    Setting("caller_rate", "MCP_POSTGRES_CALLER_RATE", "most calls a second of one caller; 0: no limit"),
    Setting("tenant_rate", "MCP_POSTGRES_TENANT_RATE", "most calls a second to one tenant's database; 0: no limit"),
    Setting("rate_burst", "MCP_POSTGRES_RATE_BURST", "how many seconds' worth of calls may come at once"),
    Setting("log_level", "MCP_POSTGRES_LOG_LEVEL", "debug, info, warning or error"),
    Setting("log_format", "MCP_POSTGRES_LOG_FORMAT", "json, console, or auto: console on a terminal", _ALL),
)


def variable_of(field: str) -> str:
    """Return the environment variable of a field, which is what messages call it by."""
    return next(setting.variable for setting in SETTINGS if setting.field == field)
