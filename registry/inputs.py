"""What a registrant may say: fields or one DSN, checked, and turned into a configuration and a password.

Rules: pure. Everything is refused that would let a registrant reach into this process: socket paths, key and password
files, options that switch guards off, several hosts. Nothing is guessed and nothing is taken from the environment. A
message names the field and never repeats what may hold a password.
"""

import ipaddress
import re
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from registry.errors import InvalidInput
from registry.events import VERIFYING, Access, SslMode, TenantConfig
from registry.password_refs import check_password_ref
from registry.root_ca import check_root_ca
from registry.secrets import Secret

MAX_POOL_SIZE: Final = 100
MAX_CONCURRENT_REQUESTS: Final = 1000
MAX_ROLES: Final = 32
_MAX_NAME: Final = 63
"""Bytes in a Postgres identifier (NAMEDATALEN - 1)."""
_MAX_PASSWORD: Final = 1024
_SSL_WORDS: Final[dict[str | bool, SslMode]] = {
    "disable": "disable",
    "allow": "allow",
    "prefer": "prefer",
    "require": "require",
    "verify-ca": "verify-ca",
    "verify-full": "verify-full",
    True: "require",
    False: "disable",
}
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_UNSENDABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
"""NUL ends a text in Postgres' protocol, and a lone surrogate has no UTF-8."""
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DSN_PARAMETERS: Final = frozenset({"sslmode"})


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A checked registration: the configuration, and the password if there is one."""

    config: TenantConfig
    password: Secret | None
    powers: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """What a test login found that it can do; for the record, and no part of what is asked for."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the server a tenant may use."""

    min_pool_size: int = 0
    max_pool_size: int = 10
    max_concurrent_requests: int = 20


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """What calls may do in a tenant's database beyond reading it as its login does."""

    access: Access = "read_only"
    roles: tuple[str, ...] = ()


def from_fields(  # noqa: PLR0913 - one for each field of a registration, and by keyword
    *,
    host: str | None,
    database: str | None,
    user: str | None,
    password: Secret | None,
    port: int | None = None,
    ssl: str | bool | None = None,
    ssl_root_ca: str | None = None,
    password_ref: str | None = None,
    limits: Limits | None = None,
    allowed: Allowed | None = None,
) -> Registration:
    """Check the separate fields; `InvalidInput` names the first wrong one. A password may hold anything but NUL."""
    missing = [name for name, value in (("host", host), ("database", database), ("user", user)) if not value]
    if missing or not (host and database and user):
        raise InvalidInput(f"{', '.join(missing)} missing: give host, database and user, or one dsn.", field=missing[0])
    limits = _check_limits(limits or Limits())
    mode = check_ssl("prefer" if ssl is None else ssl)
    config = TenantConfig(
        host=check_host(host),
        port=_check_range("port", 5432 if port is None else port, 1, 65535),
        database=_check_name("database", database),
        user=_check_name("user", user),
        ssl=mode,
        ssl_root_ca=_check_root_ca(ssl_root_ca, mode),
        password_ref=_check_ref(password_ref, password),
        **_check_allowed(allowed or Allowed()),
        **msgspec.structs.asdict(limits),
    )
    return Registration(config=config, password=check_password(password))


def from_dsn(
    dsn: Secret,
    *,
    ssl: str | bool | None = None,
    ssl_root_ca: str | None = None,
    password_ref: str | None = None,
    limits: Limits | None = None,
    allowed: Allowed | None = None,
) -> Registration:
    """Check a `postgresql://user:password@host:port/database?sslmode=…`; `InvalidInput` says what it may not hold.

    `ssl` beside the DSN counts where the DSN has no `sslmode`, and `password_ref` where it has no password.
    """
    url = _split(dsn)
    options = _options(url)
    if "sslmode" in options and ssl is not None:
        raise InvalidInput("Both ssl and the dsn's sslmode are given; give one of them.", field="ssl")
    return from_fields(
        host=url.hostname,
        port=url.port,
        database=_decode(url.path.removeprefix("/")),
        user=_decode(url.username or ""),
        password=Secret(_decode(url.password)) if url.password else None,
        ssl=options.get("sslmode", ssl),
        ssl_root_ca=ssl_root_ca,
        password_ref=password_ref,
        limits=limits,
        allowed=allowed,
    )


def check_host(host: str) -> str:
    """Return `host` if it is a DNS name or one IP address in its usual form; `InvalidInput` otherwise."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if host.startswith("/") or "\\" in host:
        raise InvalidInput(
            "host must be a name or an address; unix sockets are not reachable for tenants.", field="host"
        )
    if "," in host:
        raise InvalidInput("host must be one host; a list of hosts is not supported.", field="host")
    if "%" in host:  # the standard library takes any text after it, line breaks and quotes included
        raise InvalidInput(
            "host may not name an interface of this machine; leave out what follows the %.", field="host"
        )
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return _check_host_name(host)


def check_ssl(ssl: str | bool) -> SslMode:  # noqa: FBT001 - the earlier system's field is a boolean
    """Return the sslmode that a boolean or one of libpq's words means."""
    mode = _SSL_WORDS.get(ssl)
    if mode is None:
        words = ", ".join(word for word in _SSL_WORDS if isinstance(word, str))
        raise InvalidInput(f"ssl must be true, false or one of {words}.", field="ssl")
    return mode


def _check_host_name(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_HOST_LABEL.match(label) for label in labels):  # noqa: PLR2004 - RFC 1035, 2.3.4
        raise InvalidInput("host must be a DNS name or an IP address, without port, spaces or quotes.", field="host")
    # A last label that is a number makes resolvers read the whole as an address in an odd notation (127.1, 0x7f000001).
    if re.fullmatch(r"\d+|0[xX][0-9A-Fa-f]*", labels[-1]):
        raise InvalidInput(
            "host looks like an IP address in an unusual notation; write it as four numbers.", field="host"
        )
    return host


def _check_name(field: str, value: str) -> str:
    if _CONTROL.search(value):
        raise InvalidInput(f"{field} holds a control character or half a surrogate pair; leave it out.", field=field)
    if len(value.encode()) > _MAX_NAME:
        raise InvalidInput(
            f"{field} is longer than {_MAX_NAME} bytes, which Postgres would cut off; give it as Postgres has it.",
            field=field,
        )
    return value


def check_password(password: Secret | None) -> Secret | None:
    """Return the password if Postgres can be told it, and None for an empty one; `InvalidInput` otherwise."""
    if password is None or not password.reveal():
        return None
    if _UNSENDABLE.search(password.reveal()) or len(password.reveal()) > _MAX_PASSWORD:
        raise InvalidInput(
            f"password holds a NUL or half a surrogate pair, or is longer than {_MAX_PASSWORD} characters; "
            "give another.",
            field="password",
        )
    return password


def _check_ref(ref: str | None, password: Secret | None) -> str | msgspec.UnsetType:
    if ref is None:
        return msgspec.UNSET
    if password is not None:
        raise InvalidInput("Both password and password_ref are given; give one of them.", field="password_ref")
    return check_password_ref(ref)


def _check_root_ca(text: str | None, mode: SslMode) -> str | msgspec.UnsetType:
    if text is None:
        return msgspec.UNSET
    if mode not in VERIFYING:
        raise InvalidInput(
            f"ssl_root_ca says whom to believe, and ssl={mode} believes anybody; give ssl=verify-full or verify-ca.",
            field="ssl_root_ca",
        )
    return check_root_ca(text)


def _check_limits(limits: Limits) -> Limits:
    _check_range("max_pool_size", limits.max_pool_size, 1, MAX_POOL_SIZE)
    _check_range("max_concurrent_requests", limits.max_concurrent_requests, 1, MAX_CONCURRENT_REQUESTS)
    _check_range("min_pool_size", limits.min_pool_size, 0, limits.max_pool_size)
    return limits


def _check_allowed(allowed: Allowed) -> dict[str, Any]:
    """Return the fields; what is not allowed is left unset, as in registrations from before there was anything."""
    roles = tuple(_check_name("roles", role) for role in allowed.roles)
    if "" in roles or "none" in roles or len(set(roles)) < len(roles) or len(roles) > MAX_ROLES:
        raise InvalidInput(
            f"roles must be at most {MAX_ROLES} names of roles, each once, as pg_roles has them; none is no role.",
            field="roles",
        )
    return {
        "access": "read_write" if allowed.access == "read_write" else msgspec.UNSET,
        "roles": roles or msgspec.UNSET,
    }


def _check_range(field: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise InvalidInput(f"{field} must be between {low} and {high}, not {value}.", field=field)
    return value


def _split(dsn: Secret) -> SplitResult:
    text = dsn.reveal()
    hint = "write it as postgresql://user:password@host:port/database, with special characters percent-encoded"
    if not text.startswith(("postgresql://", "postgres://")) or _CONTROL.search(text) or " " in text:
        raise InvalidInput(f"dsn is not a Postgres URL: {hint}; or give the fields one by one.", field="dsn")
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise InvalidInput(
            f"dsn has no readable host and port: {hint}; or give the fields one by one.", field="dsn"
        ) from None
    # '@', '/', '#' or '?' in clear inside the password moves the borders of the URL: never guess where they were.
    moved = "#" in text or "@" in url.path or "@" in url.query or url.netloc.count("@") > 1
    if moved or _STRAY_PERCENT.search(text):
        raise InvalidInput(f"dsn has special characters in clear: {hint}; or give the fields one by one.", field="dsn")
    return url


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput(
            "dsn holds percent-encoded bytes that are not UTF-8; give the fields one by one.", field="dsn"
        ) from None


def _options(url: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(url.query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise InvalidInput("dsn has a parameter twice; give it once.", field="dsn")
    foreign = sorted(set(options) - _DSN_PARAMETERS)
    if foreign:
        raise InvalidInput(
            f"dsn may only carry sslmode after the '?', not {', '.join(name[:40] for name in foreign)!r}.", field="dsn"
        )
    return options
