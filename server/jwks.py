"""The keys of an issuer, as it publishes them (RFC 7517): which of them may verify which token.

Rules: pure. A key verifies by the algorithms of its own kind and no others, whatever a token says; only public keys do,
and only those that are for signatures. A token names its key by `kid`, and by nothing else: what it brings along or
points to (`jwk`, `jku`, `x5u`, `x5c`) is not looked at.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from jwt import PyJWK, PyJWTError

from registry.errors import InvalidInput
from server.signature_kinds import DEFAULT_ALGORITHMS, OF_KIND

_KEYS_AT_MOST: Final = 100


class _Key(msgspec.Struct, frozen=True):
    """As much of a key as tells whether it is used."""

    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    crv: str | None = None
    key_ops: list[str] | None = None
    d: str | None = None


class _Set(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class KeySet:
    """The usable keys of one document.

    Args:
        keys: The name of each, where it has one, and what verifies by each of its algorithms.
    """

    def __init__(self, keys: Iterable[tuple[str | None, Mapping[str, PyJWK]]]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key of that name for that algorithm. A token without a name is believed if there is one key."""
        if kid is None and len(self._keys) != 1:
            return None
        fitting = (by[algorithm] for name, by in self._keys if algorithm in by and kid in (None, name))
        return next(fitting, None)


def parse_keys(text: str | bytes, algorithms: Collection[str] = DEFAULT_ALGORITHMS) -> KeySet:
    """Return the keys that verify by any of the algorithms. `InvalidInput` if there is none, or it is no key set."""
    try:
        told = msgspec.json.decode(text, type=_Set).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("no JSON Web Key Set") from None
    if len(told) > _KEYS_AT_MOST:
        raise InvalidInput(f"more than {_KEYS_AT_MOST} keys")
    keys = [key for each in told if (key := _usable(each, algorithms))]
    if not keys:
        raise InvalidInput(f"no public key for signatures by any of {', '.join(algorithms)}")
    return KeySet(keys)


def _usable(told: dict[str, Any], algorithms: Collection[str]) -> tuple[str | None, Mapping[str, PyJWK]] | None:
    """Return the key if it is one; None for what other programs may use, or nobody should."""
    try:
        key = msgspec.convert(told, _Key)
    except msgspec.ValidationError:
        return None
    if key.d is not None or key.use not in (None, "sig") or "verify" not in (key.key_ops or ["verify"]):
        return None
    of_kind = OF_KIND.get((key.kty, None if key.kty == "RSA" else key.crv), ())
    named = [each for each in of_kind if each in algorithms and key.alg in (None, each)]
    verifying = {each: made for each in named if (made := _made(told, each))}
    return (key.kid, verifying) if verifying else None


def _made(told: dict[str, Any], algorithm: str) -> PyJWK | None:
    try:
        made = PyJWK(told, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if made.Algorithm.check_key_length(made.key) else made
