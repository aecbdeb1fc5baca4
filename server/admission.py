"""The door: no request goes on before it is known who sends it, but for health checks and what says how to get in.

It stands before everything that reads a body. Whoever calls is put into the request's scope, where `caller_of` finds
them.
"""

import asyncio
import time
from collections import Counter
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access_refused import Reason, Refused
from server.authentication import Authenticator
from server.challenge import Challenge, body_of
from server.failed_logins import FailedLogins
from server.log_fields import TELLING, Telling
from server.principal import Permission, Principal

METRICS: Final = "/metrics"
_OPEN: Final = frozenset({"/livez", "/readyz"})
_OPEN_BELOW: Final = "/.well-known/"
_KEY: Final = "mcp_postgres.caller"
_OF_ALL: Final[Permission] = "audit:read"
"""What reading the metrics takes, and every tenant: they tell of all together."""


class Doorman:
    """Answers those who are refused, and makes those wait whose logins failed.

    Args:
        challenge: Tells what is wanted.
        patience: Seconds that the body of a refused request may take to arrive: it is read and thrown away.

    Attributes:
        counted: How many requests were refused, by reason.
    """

    def __init__(self, challenge: Challenge, patience: float) -> None:
        self._challenge = challenge
        self._patience = patience
        self._failed = FailedLogins()
        self.counted: Counter[Reason] = Counter()

    async def turn_away(self, refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of which nothing was read yet."""
        if refused.reason == "bad_token":
            refused = await self._slowed(refused, _address_of(scope))
        whole = await _thrown_away(receive, self._patience)
        await self.answer(refused, send, last=not whole)

    async def answer(
        self, refused: Refused, send: Send, *, message_id: int | str | None = None, last: bool = False
    ) -> None:
        """Answer a request; `last` closes the connection, whose rest nobody wants to read."""
        self.counted[refused.reason] += 1
        body = body_of(refused, message_id)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(b"cache-control", b"no-store"), *self._challenge.headers(refused)]
        if last:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _slowed(self, refused: Refused, address: str) -> Refused:
        """Count the failed login, wait as long as it costs, and return what is answered."""
        now = time.monotonic()
        delay = self._failed.failed(address, now)
        unsaid = self._failed.unsaid(now)
        if unsaid is not None:
            logger = structlog.get_logger("auth")
            logger.warning("login failed", address=address, problem=refused.message, not_told=unsaid)
        if not delay:
            return refused
        if not self._failed.may_wait(address):
            return Refused("too_many", "Too many logins have failed; try again later.")
        try:
            await asyncio.sleep(delay)
        finally:
            self._failed.waited(address)
        return refused


class Admission:
    """Lets a request through to `app`, or has it turned away. Keeps nothing, so that there may be several.

    Args:
        app: What answers those who get in.
        authenticator: Tells who calls.
        doorman: Answers the others.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, doorman: Doorman) -> None:
        self._app = app
        self._authenticator = authenticator
        self._doorman = doorman

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in _OPEN or scope["path"].startswith(_OPEN_BELOW):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._authenticator.caller(scope["headers"])
            _require_for(scope["path"], caller)
        except Refused as refused:
            await self._doorman.turn_away(refused, scope, receive, send)
            return
        scope[_KEY] = caller
        telling: Telling | None = scope.get(TELLING)
        if telling is not None:
            telling.add("subject", caller.subject)
        await self._app(scope, receive, send)


def caller_of(scope: Scope | None) -> Principal:
    """Return who sent the request that `Admission` let through."""
    caller: Principal = (scope or {})[_KEY]
    return caller


def _require_for(path: str, caller: Principal) -> None:
    if path == METRICS and not (caller.may(_OF_ALL) and caller.touches_all):
        raise Refused("forbidden", f"{METRICS} needs the permission {_OF_ALL} and every tenant (*).", scope=(_OF_ALL,))


def _address_of(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


async def _thrown_away(receive: Receive, patience: float) -> bool:
    """Read the body and keep nothing of it, for at most so many seconds and bytes; return whether that was all.

    A connection that is closed on what it still sends loses the answer.
    """
    size = 0
    try:
        async with asyncio.timeout(patience):
            while size <= _THROWN_AWAY_AT_MOST:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        pass
    return False


_THROWN_AWAY_AT_MOST: Final = 1 << 20
