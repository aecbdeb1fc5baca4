"""Access tokens of an issuer: JWTs (RFC 9068, RFC 8725), and who a token that holds says is calling.

Rules: pure but for the clock that PyJWT reads. Every fault is a `BadToken`, whatever the token is made of.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from jwt import ExpiredSignatureError, PyJWK, PyJWT, PyJWTError

from server.json_depth import is_too_deep
from server.principal import PERMISSIONS, Permission, Principal, check_subject

LEEWAY: Final = 30.0
"""Seconds that the issuer's clock may differ from ours."""
BYTES_AT_MOST: Final = 8192
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_GLOB: Final = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,63}\Z")


class BadToken(Exception):
    """The token does not hold; the message is for its bearer and has nothing of it."""


class Header(msgspec.Struct, frozen=True):
    """What a token says of its signature, before anything is verified."""

    kid: str | None
    algorithm: str


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What tokens must say, and where.

    Args:
        issuer: Who signs, exactly as in `iss`.
        audiences: Whom tokens are for: one of these is in `aud`.
        algorithms: By which they may be signed.
        scope_claim: Where the permissions are, as words or a list; `scp` is looked at where there is no `scope`.
        tenants_claim: Where the tenants are: globs, as words or a list. A token without it may touch none.
        subject_claim: The caller's name.
    """

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    scope_claim: str = "scope"
    tenants_claim: str = "mcp_tenants"
    subject_claim: str = "sub"


class _StrictJwt(PyJWT):
    """Takes no payload that says one thing twice."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        return _object(decoded["payload"])


_JWT: Final = _StrictJwt()


def require_form(token: str) -> None:
    """Raise `BadToken` unless it has the form of a signed one, in bounds; an encrypted one has five parts."""
    if len(token) > BYTES_AT_MOST or not _FORM.match(token):
        raise BadToken("The token is none that was given out for this server.")


def header_of(token: str, algorithms: Sequence[str]) -> Header:
    """Return what a token of that form says of its signature. Raises `BadToken`."""
    try:
        told = _object(_decoded(token.partition(".")[0]))
    except ValueError:
        raise BadToken("The token's header cannot be read.") from None
    kid, algorithm, kind = told.get("kid"), told.get("alg"), told.get("typ", "")
    if "crit" in told or "b64" in told:
        raise BadToken("The token wants something understood that is not.")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise BadToken(f"The token is not signed by one of {', '.join(algorithms)}.")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise BadToken("The token is of another kind than an access token.")
    if not isinstance(kid, str | None):
        raise BadToken("The token's key has no name.")
    return Header(kid, algorithm)


def verified(token: str, header: Header, key: PyJWK, rules: ClaimRules) -> tuple[Principal, float]:
    """Return the caller, and when the token expires in seconds of the epoch, leeway included. Raises `BadToken`."""
    try:
        claims = _JWT.decode(
            token,
            key,
            algorithms=[header.algorithm],
            audience=rules.audiences,
            issuer=rules.issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True, "verify_sub": False},
        )
        expires = float(claims["exp"])
    except ExpiredSignatureError:
        raise BadToken("The token has expired.") from None
    except PyJWTError as error:
        raise BadToken(_FAULTS.get(type(error).__name__, "The token's signature does not hold.")) from None
    except (ValueError, TypeError, OverflowError):
        raise BadToken("The token cannot be read.") from None
    return principal_of(claims, rules), expires + LEEWAY


def principal_of(claims: Mapping[str, Any], rules: ClaimRules) -> Principal:
    """Return whom the claims of a token that holds tell of. Raises `BadToken`."""
    subject = claims.get(rules.subject_claim)
    if not isinstance(subject, str) or check_subject(subject):
        raise BadToken(f"The token's claim {rules.subject_claim!r} names nobody.")
    scope = claims.get(rules.scope_claim)
    if scope is None and rules.scope_claim == "scope":
        scope = claims.get("scp")
    known: Mapping[str, Permission] = {each: each for each in PERMISSIONS}
    permissions = frozenset(known[word] for word in _words(scope) if word in known)
    return Principal(subject, permissions, _globs(_words(claims.get(rules.tenants_claim)), rules.tenants_claim))


def _globs(words: Sequence[str], claim: str) -> Sequence[str]:
    if not all(map(_GLOB.match, words)):
        raise BadToken(f"The token's claim {claim!r} has something that is no tenant and no glob.")
    return words


def _words(told: object) -> Sequence[str]:
    """Return the words of a claim; none where there is none or it is something else."""
    if isinstance(told, str):
        return told.split()
    if isinstance(told, list):
        return [each for each in told if isinstance(each, str)]
    return ()


def _decoded(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _object(text: bytes) -> dict[str, Any]:
    """Return a JSON object in which nothing is said twice: two readers would take it for two things.

    Its depth is bounded, for how deep Python's parser goes before it gives up differs between versions of Python.
    """
    if is_too_deep(text):
        raise ValueError("too deep")
    told = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    if not isinstance(told, dict):
        raise ValueError("no object")  # noqa: TRY004 - the callers have one fault for all that cannot be read
    return told


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("said twice")
    return told


def _refuse(constant: str) -> float:
    raise ValueError(constant)


_FAULTS: Final = {
    "InvalidAudienceError": "The token is for another server.",
    "InvalidIssuerError": "The token is of another issuer.",
    "ImmatureSignatureError": "The token does not hold yet.",
    "InvalidIssuedAtError": "The token's time is no time.",
    "MissingRequiredClaimError": "The token says not until when (exp), by whom (iss) or for whom (aud) it is.",
}
