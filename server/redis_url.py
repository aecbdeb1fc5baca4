"""What a REDIS_URL may say, checked at start.

No problem repeats the URL or a part of it: what stands in the wrong place may be a piece of the password. Nor are
options of the client library let through: the timeouts that the log's guarantees rest on are not the URL's to change.
"""

import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_FORM: Final = "redis://user:password@host:port/0, rediss://host:port/0 or unix:///path?db=0"
_ENCODED: Final = "with special characters in its password percent-encoded"
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,5}")
_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_WORDS: Final = {
    "ssl_cert_reqs": frozenset({"none", "optional", "required"}),
    "ssl_check_hostname": frozenset({"true", "false"}),
}


def problems_of(text: str) -> list[str]:
    """Return what is wrong with a URL, each as the end of a sentence about it; nothing if it can be used."""
    if any(character.isspace() or not character.isprintable() for character in text):
        return ["must be one word, without spaces or control characters"]
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return [f"cannot be read: write {_FORM}, {_ENCODED}"]
    if url.fragment or "#" in text:
        return [f"has a '#', which means nothing there: write {_FORM}, {_ENCODED}"]
    match url.scheme:
        case "unix":
            return _of_path(url)
        case "redis" | "rediss":
            return _of_network(url, port) + _of_options(url)
        case _:
            return [f"must be {_FORM}, {_ENCODED}"]


def is_host(text: str) -> bool:
    """Whether that can be the name or the address of a host."""
    return _HOST.fullmatch(text) is not None


def _of_path(url: SplitResult) -> list[str]:
    problems = []
    if url.hostname or url.path in {"", "/"}:
        problems.append("must have three slashes before the socket's path: unix:///path")
    if url.query and not re.fullmatch(r"db=[0-9]{1,5}", url.query):
        problems.append("takes one option after its path: ?db= and a number")
    return problems


def _of_network(url: SplitResult, port: int | None) -> list[str]:
    problems = []
    if not is_host(unquote(url.hostname or "")):
        problems.append(f"names no host: write {_FORM}, {_ENCODED}")
    if port == 0:
        problems.append("must have a port from 1 to 65535")
    if not _DATABASE.fullmatch(url.path):
        problems.append(f"must end with the number of a database, or with the port; write {_FORM}, {_ENCODED}")
    return problems


def _of_options(url: SplitResult) -> list[str]:
    options = parse_qsl(url.query, keep_blank_values=True)
    if not options:
        return ["has a '?' and no option after it"] if url.query else []
    allowed = sorted({*_FILES, *_WORDS}) if url.scheme == "rediss" else []
    names = [name for name, _ in options]
    if len(set(names)) < len(names) or not set(names) <= set(allowed):
        told = f"the options {', '.join(allowed)}, each once" if allowed else "no options"
        return [f"takes {told} (a '?' in its password is written %3F)"]
    problems = [
        f"names a file in {name} that is not there or may not be read"
        for name, value in options
        if name in _FILES and not _is_readable(Path(value))
    ]
    problems += [
        f"must have one of {', '.join(sorted(_WORDS[name]))} as {name}"
        for name, value in options
        if name in _WORDS and value not in _WORDS[name]
    ]
    return problems


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except (OSError, ValueError):
        return False
