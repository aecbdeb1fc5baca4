"""What is blanked in a log line: fields that may hold a secret, by name, and what looks like one in any text.

Rules: pure. This is the second line of defence. The first is that secrets are no texts (`registry/secrets.py`), that no
statement and no argument of a call is logged, and that an exception is told without its text
(`server/tracebacks.py`); what is known here by its form is caught wherever it comes from, libraries included.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

_BLANK: Final = "***"
_NUMBERS: Final = frozenset({bool, int, float, type(None)})
"""What holds no secret but under a secret's name."""
_SHOWN: Final = 120
"""Characters of a wrong setting: enough to find it."""
_REMEMBERED: Final = 512
"""Names of fields, and the fields of lines; there are some hundred."""
_SECRET_FIELDS: Final = frozenset({"dsn", "redis_url", "data", "key", "pwd", "cookie", "set-cookie"})
_SECRET_WORDS: Final = ("password", "passwd", "passphrase", "secret", "token", "authorization", "credential", "_key")

_DATABASE_LOGIN: Final = re.compile(
    r"(?P<scheme>\b(?:postgres(?:ql)?|rediss?|redis\+[a-z]+)(?:\+[a-z0-9]+)?(?::|%3a)(?:/|%2f){2}).+(?:@|%40)",
    re.IGNORECASE,
)
"""All up to the last `@` of the line: what was not encoded as it should be, a space or a slash, is hidden, too."""
_URL_PASSWORD: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*):\S+@", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"""(?P<name>\b[\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key)[\w-]*\\*["']?\s*[=:]\s*)
        (?: \\*"(?:[^"\\]|\\.)*\\*"? | '(?:[^'\\]|\\.)*'? | [^\s,;&)}\]]+ )""",
    re.IGNORECASE | re.VERBOSE,
)
"""`password=…` of a conninfo or a query, `"password": "…"` of JSON, of JSON in a text and of a repr."""
_KEY: Final = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/_-]{43}=(?![A-Za-z0-9+/=])")
"""32 bytes in base64: what a key file holds, and nothing that is told otherwise."""
_AUTHORIZATION: Final = re.compile(r"\b(?P<kind>bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)


def without_secrets(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line's fields with what may be a secret blanked, however deep; what is no JSON becomes its repr."""
    if _is_harmless(event):
        return dict(event)
    # What begins with an underscore is structlog's own, and goes before the line is written.
    return {name: value if name.startswith("_") else _blanked(value, name) for name, value in event.items()}


def redacted(text: str) -> str:
    """Return the text with passwords of URLs, `password=…` and the like, and bearer tokens blanked."""
    if _is_plain(text):
        return text
    text = _DATABASE_LOGIN.sub(rf"\g<scheme>{_BLANK}@", text)
    text = _URL_PASSWORD.sub(rf"\g<scheme>:{_BLANK}@", text)
    text = _AUTHORIZATION.sub(rf"\g<kind> {_BLANK}", text)
    text = _KEY.sub(_BLANK, text)
    return _NAMED.sub(rf"\g<name>{_BLANK}", text)


def shown(value: object) -> str:
    """Return a wrong setting as it may be told: quoted, cut off, and without what looks like a secret."""
    text = redacted(str(value))
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _is_harmless(event: Mapping[str, Any]) -> bool:
    """Whether no field can hold a secret: looked at together, for most lines are harmless and each look takes time."""
    texts = []
    for value in event.values():
        if type(value) is str:
            texts.append(value)
        elif type(value) not in _NUMBERS:
            return False
    return _is_plain("\n".join(texts)) and not _any_is_secret(tuple(event))


def _blanked(value: Any, name: str = "") -> Any:  # noqa: ANN401 - whatever a line was given
    if _is_secret(name):
        return _BLANK
    match value:
        case str():
            return value if _is_plain(value) else redacted(value)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): _blanked(each, str(key)) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_blanked(each) for each in value]
        case _:
            return redacted(repr(value))


def _is_plain(text: str) -> bool:
    """Whether nothing of the text can look like a secret: each pattern needs one of these. Five times as fast."""
    if not text.isascii() or ":" in text or "=" in text or "%" in text:
        return False
    small = text.lower()
    return "bearer" not in small and "basic" not in small


@lru_cache(_REMEMBERED)
def _any_is_secret(names: tuple[str, ...]) -> bool:
    return any(map(_is_secret, names))


@lru_cache(_REMEMBERED)
def _is_secret(name: str) -> bool:
    name = name.lower()
    return name in _SECRET_FIELDS or any(word in name for word in _SECRET_WORDS)
