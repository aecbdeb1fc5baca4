"""Static bearer tokens: how one looks, and the file that says whose each is, which holds their hashes and no token.

Rules: pure; randomness and the time come in as arguments.

A token is 256 random bits, so that one unsalted SHA-256 of it tells nothing: there is nothing to guess. What does not
look like a token of ours is refused before it is looked up, so that the hash of a password, put into the file, opens
nothing. The prefix is for scanners that look for secrets in repositories, the checksum spares them false alarms.
"""

import tomllib
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from registry.errors import InvalidInput
from server.principal import PERMISSIONS, Permission, Principal, check_subject

PREFIX: Final = "mcppg_"
RANDOM_BYTES: Final = 32
ROLES: Final[Mapping[str, tuple[Permission, ...]]] = {
    "reader": ("tenants:read", "query:read"),
    "writer": ("tenants:read", "query:read", "query:write"),
    "auditor": ("tenants:read", "audit:read"),
    "admin": tuple(sorted(PERMISSIONS)),
}
"""Those that every file knows; it may define others, and not these anew."""

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = 43
"""Digits of 256 bits."""
_CHECKSUM: Final = 6
"""Digits of a CRC-32."""
_LENGTH: Final = len(PREFIX) + _BODY + _CHECKSUM

Digest: TypeAlias = bytes
"""SHA-256 of a whole token."""


class Grant(msgspec.Struct, frozen=True):
    """Whose a token is, and until when."""

    principal: Principal
    expires: datetime | None = None


Grants: TypeAlias = Mapping[Digest, Grant]


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One token, as the file tells it. What is misspelt is refused: a limit would be lost in silence otherwise."""

    subject: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    tenants: list[Annotated[str, Meta(min_length=1, max_length=63)]]
    role: str | None = None
    permissions: list[Permission] | None = None
    created: Annotated[datetime, Meta(tz=True)] | None = None
    expires: Annotated[datetime, Meta(tz=True)] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: list[_Line] = []
    roles: dict[str, list[Permission]] = {}


def token_of(random: bytes) -> str:
    """Return the token of `RANDOM_BYTES` random bytes."""
    body = PREFIX + _digits(int.from_bytes(random), _BODY)
    return body + _checksum(body)


def is_like_a_token(text: str) -> bool:
    """Whether it has the form of a token of ours, whole or not."""
    return len(text) == _LENGTH and text.startswith(PREFIX)


def is_whole(text: str) -> bool:
    """Whether what is like a token is as it was made: nothing mistyped or cut off."""
    return is_like_a_token(text) and text[-_CHECKSUM:] == _checksum(text[:-_CHECKSUM])


def digest_of(token: str) -> Digest:
    """Return what the file has of a token."""
    return sha256(token.encode()).digest()


def parse(text: str) -> Grants:
    """Return the grants that a token file tells, by digest. `InvalidInput` says what is wrong and of which token."""
    try:
        told = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"no TOML: {error}") from None
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidInput(f"{error} (tokens are counted from 0)") from None
    if anew := sorted(ROLES.keys() & told.roles.keys()):
        raise InvalidInput(f"the role {anew[0]!r} is built in and cannot be defined anew; choose another name")
    grants: dict[Digest, Grant] = {}
    for number, line in enumerate(told.tokens):
        digest = bytes.fromhex(line.sha256)
        if digest in grants:
            raise InvalidInput(f"tokens[{number}] ({line.subject!r}) has the sha256 of one before it")
        grants[digest] = _grant(line, number, {**ROLES, **told.roles})
    return grants


def line_of(
    token: str, subject: str, role: str, tenants: Sequence[str], *, created: datetime, expires: datetime | None = None
) -> str:
    """Return what the file says of a token: a block of TOML, to stand anywhere behind what is there."""
    told = {
        "subject": _quoted(subject),
        "role": _quoted(role),
        "tenants": f"[{', '.join(map(_quoted, tenants))}]",
        "sha256": _quoted(digest_of(token).hex()),
        "created": _moment(created),
    }
    if expires is not None:
        told["expires"] = _moment(expires)
    return "[[tokens]]\n" + "".join(f"{name} = {value}\n" for name, value in told.items())


def _grant(line: _Line, number: int, roles: Mapping[str, Sequence[Permission]]) -> Grant:
    where = f"tokens[{number}]"
    if fault := check_subject(line.subject):
        raise InvalidInput(f"{where} has a subject that {fault}")
    where += f" ({line.subject!r})"
    if (line.role is None) is (line.permissions is None):
        raise InvalidInput(f"{where} needs either a role or permissions")
    if line.role is not None and line.role not in roles:
        raise InvalidInput(f"{where} has the role {line.role!r}; there are {', '.join(roles)}")
    permissions = line.permissions if line.role is None else roles[line.role]
    return Grant(Principal(line.subject, frozenset(permissions or ()), tuple(line.tenants)), line.expires)


def _digits(number: int, length: int) -> str:
    text = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), _CHECKSUM)


def _quoted(text: str) -> str:
    """Write a TOML string. JSON's escapes are TOML's, but for the DEL character, which no name here holds."""
    return msgspec.json.encode(text).decode()


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
