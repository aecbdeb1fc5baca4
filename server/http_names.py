"""Which Host and Origin headers are ours, so that no page of somebody else's reaches the server through a browser.

Rules: pure. A page that has its own name point at this server (DNS rebinding) sends that name as Host; a page that
calls across origins sends its own Origin. Neither is believed to be ours unless it was named. A Host that is a number
cannot come from rebinding, for no name was looked up; so health and metrics, which probes ask by number, answer those.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

import msgspec

ANY: Final = "*"
LOOPBACK: Final = ("127.0.0.1:*", "localhost:*", "[::1]:*")
"""The hosts that are answered where none are named."""
Verdict: TypeAlias = Literal["ours", "number", "foreign", "malformed"]
"""What a Host header is: named as ours; not named, and an address; not named; not one host."""
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{0,5}))?\Z")
_ORIGIN: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?#@\s]+)\Z")
_DEFAULT_PORTS: Final = (80, 443)
_HIGHEST_PORT: Final = 65_535


class Host(msgspec.Struct, frozen=True):
    """A host as it is compared: lower case, no final dot, addresses in their short form; no port, and 80, 443: None."""

    name: str
    port: int | None


class Names:
    """What is ours.

    Args:
        hosts: `name` (without a port, or with a default one), `name:port`, `name:*` for any, `*` for any host at all.
        origins: `scheme://name[:port]`, beside http and https on the hosts named; `*` for any.

    Both as `problem_of_host` and `problem_of_origin` accept them.
    """

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        given, pages = frozenset(hosts), frozenset(origins)
        self._any_host, self._any_origin = ANY in given, ANY in pages
        named = given - {ANY}
        self._at_any_port = {_host(each.removesuffix(":*")).name for each in named if each.endswith(":*")}
        self._hosts = {_host(each) for each in named if not each.endswith(":*")}
        self._origins = {_origin(each) for each in pages - {ANY}}

    def host(self, header: str) -> Verdict:
        """Judge a Host header."""
        host = read_host(header)
        if host is None:
            return "malformed"
        if self._any_host or self._is_named(host):
            return "ours"
        return "number" if _is_address(host.name) else "foreign"

    def without_host(self) -> Verdict:
        """Judge a request that has no Host, as HTTP/1.0 allows and no browser does."""
        return "ours" if self._any_host else "number"

    def origin(self, header: str) -> bool:
        """Whether pages of this origin may call. `null` (a sandbox, a file) may not, whatever is set."""
        origin = read_origin(header)
        if origin is None:
            return False
        scheme, host = origin
        return self._any_origin or origin in self._origins or (scheme in ("http", "https") and self._is_named(host))

    def _is_named(self, host: Host) -> bool:
        return host.name in self._at_any_port or host in self._hosts


def read_host(text: str) -> Host | None:
    """Return the host and port that a Host header names; None for what is no host, or more than one."""
    found = _HOST.match(text)
    if found is None:
        return None
    port = int(found["port"] or 0) or None
    name = _address(found["v6"]) if found["v6"] else found["name"].lower().removesuffix(".")
    if not name or (port or 0) > _HIGHEST_PORT:
        return None
    return Host(name, None if port in _DEFAULT_PORTS else port)


def read_origin(text: str) -> tuple[str, Host] | None:
    """Return the scheme and host of an Origin header; None for `null` and for what is none."""
    found = _ORIGIN.match(text)
    host = read_host(found["host"]) if found else None
    return (found["scheme"].lower(), host) if found and host else None


def problem_of_host(text: str) -> str | None:
    """Return what is wrong with one of the hosts to answer."""
    if text == ANY or read_host(text.removesuffix(":*")):
        return None
    return f"{text[:80]!r} is no host; write name, name:port, name:*, [address]:port or *, without http://"


def problem_of_origin(text: str) -> str | None:
    """Return what is wrong with one of the origins to answer."""
    if text == ANY or read_origin(text):
        return None
    return f"{text[:80]!r} is no origin; write it as browsers do, https://name or https://name:port, and no path"


def _host(text: str) -> Host:
    host = read_host(text)
    if host is None:
        raise ValueError(problem_of_host(text))
    return host


def _origin(text: str) -> tuple[str, Host]:
    origin = read_origin(text)
    if origin is None:
        raise ValueError(problem_of_origin(text))
    return origin


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    return _address(name) is not None
