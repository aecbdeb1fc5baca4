"""What a REDIS_URL may say, and what it means: the one parser, for the check at start and for the client.

No problem repeats the URL or a part of it: what stands in the wrong place may be a piece of the password. Nor are
options of the client library let through: the timeouts that the log's guarantees rest on are not the URL's to change.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

import msgspec

from registry.errors import InvalidInput

Address: TypeAlias = tuple[str, int]
Kind: TypeAlias = Literal["server", "sentinel", "cluster"]

_ENCODED: Final = "with special characters in its password percent-encoded"
_SERVER: Final = "redis://user:password@host:port/0, rediss://host:port/0 or unix:///path?db=0"
_SENTINEL: Final = "redis+sentinel://user:password@host:port,host:port/service/0"
_CLUSTER: Final = "redis+cluster://user:password@host:port,host:port"
_FORMS: Final = {
    "redis": _SERVER,
    "rediss": _SERVER,
    "unix": _SERVER,
    "redis+sentinel": _SENTINEL,
    "redis+cluster": _CLUSTER,
}
_KINDS: Final[Mapping[str, Kind]] = {"redis+sentinel": "sentinel", "redis+cluster": "cluster"}

_SPLIT: Final = re.compile(r"(?P<scheme>[a-z+]+)://(?P<authority>[^/?]*)(?P<path>[^?]*)(?P<query>\?.*)?")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(:(?P<port>[0-9]{0,5}))?")
_PATHS: Final = {
    "redis": re.compile(r"/?|/(?P<database>[0-9]{1,5})"),
    "rediss": re.compile(r"/?|/(?P<database>[0-9]{1,5})"),
    "redis+sentinel": re.compile(r"/(?P<service>[A-Za-z0-9._-]+)(/(?P<database>[0-9]{1,5})?)?"),
    "redis+cluster": re.compile(r"/?0?"),
}
_ENDS: Final = {
    "redis": "must end with the number of a database, or with the port",
    "rediss": "must end with the number of a database, or with the port",
    "redis+sentinel": "must end with the service's name, or with the number of a database after it",
    "redis+cluster": "must end with the last port: a cluster has one database",
}
_DATABASE: Final = re.compile(r"\?db=(?P<database>[0-9]{1,5})")
_MOST_PORTS: Final = 65_535

_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS: Final[Mapping[str, tuple[str, ...]]] = {
    "ssl_cert_reqs": ("none", "optional", "required"),
    "ssl_check_hostname": ("false", "true"),
}
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {**_TLS, "tls": ("false", "true")}
_LOGIN: Final = ("sentinel_password", "sentinel_username")
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "redis": (),
    "rediss": tuple(sorted((*_FILES, *_TLS))),
    "redis+sentinel": tuple(sorted((*_FILES, *_WORDS, *_LOGIN))),
    "redis+cluster": tuple(sorted((*_FILES, *_WORDS))),
}


class RedisUrl(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL means.

    Attributes:
        kind: One server, or who knows the servers.
        addresses: The server, the Sentinels, or some of the cluster's servers; empty for a socket.
        path: A Unix socket's path.
        service: What the Sentinels call the primary.
        tls: Options for TLS, by the client library's names; None without TLS.
    """

    kind: Kind
    addresses: tuple[Address, ...] = ()
    path: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls: Mapping[str, str | bool] | None = None

    def __repr__(self) -> str:
        return f"RedisUrl({self.kind}, {self.addresses})"


class _Parts(msgspec.Struct, frozen=True):
    """A URL in its raw pieces."""

    scheme: str
    login: str
    hosts: str
    path: str
    query: str

    def __repr__(self) -> str:
        return f"_Parts({self.scheme})"


def read(text: str) -> RedisUrl:
    """Return what a URL means; `InvalidInput` with every problem if it has any."""
    problems = problems_of(text)
    parts = _parts(text)
    if problems or parts is None:
        raise InvalidInput("; ".join(f"REDIS_URL {problem}" for problem in problems) + ".")
    username, password = _login_of(parts.login)
    if parts.scheme == "unix":
        database = _DATABASE.fullmatch(parts.query)
        return RedisUrl(
            kind="server",
            path=unquote(parts.path),
            username=username,
            password=password,
            database=int(database["database"]) if database else 0,
        )
    options = dict(parse_qsl(parts.query[1:]))
    found = _PATHS[parts.scheme].fullmatch(parts.path)
    named = found.groupdict() if found else {}
    return RedisUrl(
        kind=_KINDS.get(parts.scheme, "server"),
        addresses=tuple(_address_of(host, parts.scheme) for host in parts.hosts.split(",")),
        username=username,
        password=password,
        database=int(named.get("database") or 0),
        service=named.get("service") or "",
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls=_tls_of(options) if parts.scheme == "rediss" or options.get("tls") == "true" else None,
    )


def problems_of(text: str) -> list[str]:
    """Return what is wrong with a URL, each as the end of a sentence about it; nothing if it can be used."""
    if any(character.isspace() or not character.isprintable() for character in text):
        return ["must be one word, without spaces or control characters"]
    parts = _parts(text)
    if parts is None or parts.scheme not in _FORMS:
        return [f"must be {_SERVER}, {_SENTINEL} or {_CLUSTER}, {_ENCODED}"]
    if "#" in text:
        return [f"has a '#', which means nothing there: {_write(parts)}"]
    if parts.scheme == "unix":
        return _of_socket(parts)
    # Where the hosts cannot be read, what comes after them is seldom what was meant to.
    return _of_hosts(parts) or [*_of_path(parts), *_of_options(parts)]


def is_host(text: str) -> bool:
    """Whether that can be the name or the address of a host."""
    return _HOST.fullmatch(text) is not None


def _parts(text: str) -> _Parts | None:
    found = _SPLIT.fullmatch(text)
    if found is None:
        return None
    login, _, hosts = found["authority"].rpartition("@")
    return _Parts(found["scheme"], login, hosts, found["path"], found["query"] or "")


def _write(parts: _Parts) -> str:
    return f"write {_FORMS[parts.scheme]}, {_ENCODED}"


def _of_socket(parts: _Parts) -> list[str]:
    problems = []
    if parts.hosts or parts.path in {"", "/"}:
        problems.append("must have three slashes before the socket's path: unix:///path")
    if parts.query and not _DATABASE.fullmatch(parts.query):
        problems.append("takes one option after its path: ?db= and a number")
    return problems


def _of_hosts(parts: _Parts) -> list[str]:
    hosts = parts.hosts.split(",")
    if len(hosts) > 1 and parts.scheme not in _KINDS:
        return [f"names several hosts: write {_SENTINEL} or {_CLUSTER}"]
    found = [_HOST_AND_PORT.fullmatch(host) for host in hosts]
    if not all(found):
        return [f"cannot be read: {_write(parts)}"]
    problems = []
    if not all(is_host(_host_of(each["host"])) for each in found if each):
        problems.append(f"names no host: {_write(parts)}")
    if not all(1 <= int(each["port"]) <= _MOST_PORTS for each in found if each and each["port"]):
        problems.append("must have a port from 1 to 65535")
    return problems


def _of_path(parts: _Parts) -> list[str]:
    if _PATHS[parts.scheme].fullmatch(parts.path):
        return []
    return [f"{_ENDS[parts.scheme]}; {_write(parts)}"]


def _of_options(parts: _Parts) -> list[str]:
    options = parse_qsl(parts.query[1:], keep_blank_values=True)
    if not options:
        return ["has a '?' and no option after it"] if parts.query else []
    allowed = _OPTIONS[parts.scheme]
    names = [name for name, _ in options]
    if len(set(names)) < len(names) or not set(names) <= set(allowed):
        told = f"the options {', '.join(allowed)}, each once" if allowed else "no options"
        return [f"takes {told} (a '?' in its password is written %3F)"]
    return _of_values(options) + _of_tls(parts.scheme, dict(options))


def _of_values(options: Sequence[tuple[str, str]]) -> list[str]:
    problems = [
        f"names a file in {name} that is not there or may not be read"
        for name, value in options
        if name in _FILES and not _is_readable(Path(value))
    ]
    problems += [
        f"must have one of {', '.join(_WORDS[name])} as {name}"
        for name, value in options
        if name in _WORDS and value not in _WORDS[name]
    ]
    return problems


def _of_tls(scheme: str, options: Mapping[str, str]) -> list[str]:
    wants = scheme == "rediss" or options.get("tls") == "true"
    if not wants and any(name.startswith("ssl_") for name in options):
        return ["has options of TLS and not tls=true, without which they mean nothing"]
    return []


def _login_of(login: str) -> tuple[str | None, str | None]:
    username, _, password = login.partition(":")
    return unquote(username) or None, unquote(password) or None


def _address_of(text: str, scheme: str) -> Address:
    found = _HOST_AND_PORT.fullmatch(text)
    host, port = (found["host"], found["port"]) if found else (text, None)
    return _host_of(host), int(port or (26379 if scheme == "redis+sentinel" else 6379))


def _host_of(text: str) -> str:
    return unquote(text.removeprefix("[").removesuffix("]"))


def _tls_of(options: Mapping[str, str]) -> dict[str, str | bool]:
    told: dict[str, str | bool] = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if "ssl_check_hostname" in told:
        told["ssl_check_hostname"] = told["ssl_check_hostname"] == "true"
    return told


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except (OSError, ValueError):
        return False
