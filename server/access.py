"""Who gets in, as the settings say: put together here, and nowhere else."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from registry.errors import InvalidInput
from server.admission import Doorman
from server.authentication import Authenticator, Bearers, Everybody, Issuer
from server.challenge import Challenge
from server.errors import StartError
from server.principal import Principal
from server.settings import Settings
from server.signature_kinds import DEFAULT_ALGORITHMS
from server.token_file import watched_grants
from server.watched_file import WatchedFile


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """Who tells who calls, and who answers those that do not get in."""

    authenticator: Authenticator
    challenge: Challenge
    doorman: Doorman

    @classmethod
    def of(cls, settings: Settings) -> "Entrance":
        """Return what the settings ask for. Raises `StartError` as `authenticator_of` does."""
        challenge = challenge_of(settings)
        return cls(
            authenticator=authenticator_of(settings),
            challenge=challenge,
            doorman=Doorman(challenge, settings.body_timeout),
        )

    async def again(self, scope: Any) -> Principal:  # noqa: ANN401 - a scope
        """Tell who sent the request of that scope, as of now. Raises `Refused` when they are let in no more."""
        return await self.authenticator.caller(scope["headers"])


def authenticator_of(settings: Settings) -> Authenticator:
    """Return what tells who calls. Raises `StartError` if a file says nothing that can be used."""
    if settings.tokens_file is None and settings.oauth_issuer is None:
        return Everybody()
    try:
        grants = watched_grants(settings.tokens_file) if settings.tokens_file else None
        return Bearers(grants, _issuer_of(settings), time.time)
    except InvalidInput as error:
        raise StartError(error.message) from None


def challenge_of(settings: Settings) -> Challenge:
    """Return what tells those who do not get in what is wanted."""
    return Challenge(settings.resource_url if settings.oauth_issuer else None, settings.oauth_issuer)


def _issuer_of(settings: Settings) -> Issuer | None:
    if settings.oauth_issuer is None or settings.resource_url is None:
        return None
    from server.issuer_keys import FetchedKeys, KeysInFile  # noqa: PLC0415 - a tenth of a second that few need
    from server.issuer_tokens import IssuerTokens  # noqa: PLC0415 - the same
    from server.jwks import parse_keys  # noqa: PLC0415 - the same
    from server.jwt_tokens import ClaimRules  # noqa: PLC0415 - the same

    algorithms = settings.oauth_algorithms or DEFAULT_ALGORITHMS
    rules = ClaimRules(
        issuer=settings.oauth_issuer,
        audiences=settings.oauth_audience or (settings.resource_url,),
        algorithms=algorithms,
        scope_claim=settings.oauth_scope_claim,
        tenants_claim=settings.oauth_tenants_claim,
        subject_claim=settings.oauth_subject_claim,
    )
    jwks = settings.oauth_jwks
    if jwks is not None and not urlsplit(jwks).netloc:
        file = WatchedFile(Path(jwks), lambda text: parse_keys(text, algorithms))
        return IssuerTokens(KeysInFile(file), rules, time.time)
    return IssuerTokens(FetchedKeys(settings.oauth_issuer, jwks, algorithms, time.monotonic), rules, time.time)
