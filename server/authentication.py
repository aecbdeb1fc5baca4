"""Who calls: from a request's headers to a principal, or to a refusal. The one place where a token is believed.

A static token is looked up by the SHA-256 of what was presented. How long that takes depends on the hash, which nobody
can steer towards that of a token they do not know, and not on the token: so nothing is learned from the time, and it
takes as long with ten thousand tokens as with one.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from server.access_refused import Refused
from server.principal import Principal
from server.tokens import Grants, digest_of, is_like_a_token, is_whole
from server.watched_file import WatchedFile

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""
_BEARER: Final = b"bearer"
_NOT_KNOWN: Final = "The token is not known here, or was taken back; ask the operator for one."


class Authenticator(Protocol):
    """Tells who calls."""

    @property
    def required(self) -> bool:
        """Whether there is anybody who may not get in."""

    async def caller(self, headers: Headers) -> Principal:
        """Return who sent the headers. Raises `Refused`; may be cancelled."""

    async def run(self) -> None:
        """Keep up with what files and issuers say, until cancelled."""


class Issuer(Protocol):
    """Judges the tokens of an issuer."""

    async def principal(self, token: str) -> Principal:
        """Return whose a token is. Raises `Refused`; may be cancelled."""

    async def run(self) -> None:
        """Keep up with what the issuer says, until cancelled."""


class Everybody:
    """Lets everybody in, as one caller who may do everything."""

    required = False

    def __init__(self) -> None:
        self._anybody = Principal("anonymous")

    async def caller(self, headers: Headers) -> Principal:  # noqa: ARG002 - nothing of them matters
        """Return the one caller there is."""
        return self._anybody

    async def run(self) -> None:
        """Wait: there is nothing to keep up with."""
        await asyncio.Event().wait()


class Bearers:
    """Lets those in who bear a token: one of the file, or one of the issuer.

    Args:
        grants: The file of tokens, if there is one.
        issuer: What judges an issuer's tokens, if there is one.
        now: Seconds of the epoch.
    """

    required = True

    def __init__(self, grants: WatchedFile[Grants] | None, issuer: Issuer | None, now: Callable[[], float]) -> None:
        self._grants = grants
        self._issuer = issuer
        self._now = now

    async def run(self) -> None:
        """Keep up with what the file and the issuer say, until cancelled."""
        async with asyncio.TaskGroup() as loops:
            for each in (self._grants, self._issuer):
                if each is not None:
                    loops.create_task(each.run())

    async def caller(self, headers: Headers) -> Principal:
        """Return whose token the request bears. Raises `Refused`; may be cancelled."""
        token = bearer_of(headers)
        if is_like_a_token(token):
            return self._granted(token)
        if self._issuer is None:
            raise Refused("bad_token", _NOT_KNOWN)
        return await self._issuer.principal(token)

    def _granted(self, token: str) -> Principal:
        grant = self._grants.current.get(digest_of(token)) if self._grants else None
        if grant is None:
            raise Refused("bad_token", _NOT_KNOWN if is_whole(token) else "The token is damaged: copy the whole of it.")
        if grant.expires is not None and grant.expires.timestamp() <= self._now():
            raise Refused("bad_token", "The token has expired; ask the operator for a new one.")
        return grant.principal


def bearer_of(headers: Headers) -> str:
    """Return the token of the one Authorization header, which is the only place where one is looked for."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        raise Refused("no_token", "This server wants a bearer token, in the Authorization header.")
    if len(given) > 1:
        raise Refused("bad_request", "There is more than one Authorization header; send one.")
    scheme, _, token = given[0].partition(b" ")
    if scheme.lower() != _BEARER or not token:
        raise Refused("no_token", "This server wants a bearer token: Authorization: Bearer TOKEN.")
    if not token.isascii():
        raise Refused("bad_token", _NOT_KNOWN)
    return token.strip().decode()
