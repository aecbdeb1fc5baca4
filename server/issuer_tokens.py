"""Judges an issuer's tokens, and remembers those that held: a signature is not verified anew for each call."""

from collections.abc import Callable
from typing import Final

import msgspec
from jwt import PyJWK

from server.access_refused import Refused
from server.issuer_keys import KeySource
from server.jwks import KeySet
from server.jwt_tokens import BadToken, ClaimRules, Header, header_of, require_form, verified
from server.principal import Principal
from server.tokens import Digest, digest_of

_REMEMBERED_AT_MOST: Final = 10_000


class _Held(msgspec.Struct, frozen=True):
    """A token that held: whose it is, by which keys, and until when."""

    principal: Principal
    keys: KeySet
    until: float


class IssuerTokens:
    """From a token to the principal it names.

    Invariant: what is remembered holds as long as the keys do: when they change in anything, each token is verified
    again.

    Args:
        source: Where the issuer's keys are.
        rules: What its tokens must say.
        now: Seconds of the epoch.
    """

    def __init__(self, source: KeySource, rules: ClaimRules, now: Callable[[], float]) -> None:
        self._source = source
        self._rules = rules
        self._now = now
        self._held: dict[Digest, _Held] = {}

    async def run(self) -> None:
        """Keep the keys up to date until cancelled."""
        await self._source.run()

    async def principal(self, token: str) -> Principal:
        """Return whom a token names. Raises `Refused`; may be cancelled."""
        try:
            return await self._principal(token)
        except BadToken as error:
            raise Refused("bad_token", str(error)) from None

    async def _principal(self, token: str) -> Principal:
        digest = digest_of(token)
        held = self._held.get(digest)
        if held is not None and held.keys is self._source.keys and self._now() < held.until:
            return held.principal
        self._held.pop(digest, None)
        require_form(token)
        header = header_of(token, self._rules.algorithms)
        keys, key = await self._key(header)
        principal, until = verified(token, header, key, self._rules)
        self._remember(digest, _Held(principal, keys, until))
        return principal

    async def _key(self, header: Header) -> tuple[KeySet, PyJWK]:
        """Return the key that the header names; the issuer may have a new one."""
        found = self._known(header)
        if found is None:
            await self._source.look_again()
            found = self._known(header)
        if found is not None:
            return found
        if self._source.keys is None:
            raise Refused("unavailable", "The issuer's keys cannot be had, so no token can be judged; try again.")
        raise BadToken("The token's key is not one of the issuer's.")

    def _known(self, header: Header) -> tuple[KeySet, PyJWK] | None:
        keys = self._source.keys
        key = keys.find(header.kid, header.algorithm) if keys else None
        return (keys, key) if keys and key else None

    def _remember(self, digest: Digest, held: _Held) -> None:
        if len(self._held) >= _REMEMBERED_AT_MOST:
            del self._held[next(iter(self._held))]
        self._held[digest] = held
