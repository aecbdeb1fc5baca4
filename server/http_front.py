"""What every HTTP request meets first: is it for us, may its page call us; and what every answer leaves with.

Behind it come, for MCP: who the caller is, then the body (`server/http_intake.py`), then the endpoint. Kept flat: it
runs for each request; what its head alone decides is decided once for heads that come again.
"""

import logging
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from random import getrandbits
from typing import Final, TypeAlias

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http_heads import OfHead
from server.http_names import Names, Verdict
from server.log_fields import TELLING, Telling
from server.refusals import INTERNAL_ERROR, HttpTally, Refusal, body_of, headers_of, refuse

Header: TypeAlias = tuple[bytes, bytes]
PAGES: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""What probes and scrapers ask, by number as a rule; they tell of counts and states, and of no tenant by name."""
SAFE_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store, no-transform"),
)
"""Of every answer that does not say otherwise."""
_REFUSED_LOGINS: Final = frozenset({401, 429})
"""They have lines of their own, of which there are not more than a log can bear."""
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
_ADDED: Final = frozenset(
    {name for name, _ in (*SAFE_HEADERS, _HSTS)}
    | {b"x-request-id", b"vary", b"access-control-allow-origin", b"access-control-expose-headers"}
)
_LOGGED: Final = logging.getLogger("http")
"""Knows which lines are written."""
_ALLOWED: Final = b", ".join(
    (
        *(b"authorization", b"content-type", b"x-request-id", b"last-event-id"),
        *(b"mcp-protocol-version", b"mcp-session-id", b"mcp-method", b"mcp-name", b"mcp-param-tenant-id"),
    )
)
_EXPOSED: Final = b"retry-after, www-authenticate, x-request-id"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_REMEMBERED: Final = 256
"""Verdicts kept; clients send the same few headers."""

_HOST_MALFORMED: Final = Refusal(
    reason="host", status=400, message="A request has one Host header, which names one host and perhaps a port."
)
_HOST_FOREIGN: Final = Refusal(
    reason="host",
    status=421,
    message="This server does not answer under the Host of this request; its operator names the hosts in "
    "MCP_POSTGRES_ALLOWED_HOSTS (name or name:port).",
)
_ORIGIN_FOREIGN: Final = Refusal(
    reason="origin",
    status=403,
    message="Pages of the Origin of this request may not call this server; its operator names those that may in "
    "MCP_POSTGRES_ALLOWED_ORIGINS (https://name).",
)
_BROKEN: Final = "Something broke in the server, not in your request; its log has the cause under {}."


class Outside(msgspec.Struct, frozen=True):
    """Which hosts and origins are ours, where refusals are counted, and whether TLS is served here."""

    names: Names
    tally: HttpTally
    secure: bool = False


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a head says to the front.

    Attributes:
        refusal: What is wrong with it.
        request_id: The caller's name for the request; empty if there is none that may be taken.
        rpc: Whether MCP is asked.
        preflight: Whether a browser asks whether its page may call.
        shared: Headers of the answer for a page of another origin.
    """

    refusal: Refusal | None
    request_id: bytes
    rpc: bool
    preflight: bool
    shared: tuple[Header, ...]


class Front:
    """The outermost application.

    Args:
        mcp: Answers MCP, at `paths`; each request has passed the checks of Host and Origin.
        pages: Answers everything else, and the lifespan.
        paths: Where MCP is.
        places: Where pages are, for log lines.
        outside: What the server looks like from outside.
    """

    def __init__(
        self, mcp: ASGIApp, pages: ASGIApp, paths: frozenset[str], places: frozenset[str], outside: "Outside"
    ) -> None:
        self._mcp = mcp
        self._pages = pages
        self._paths = paths
        self._told = paths | places
        self._names = names = outside.names
        self._tally = outside.tally
        self._headers = (*SAFE_HEADERS, _HSTS) if outside.secure else SAFE_HEADERS
        self._logger = structlog.get_logger("http")
        self._judged = OfHead(self._judge)
        self._host = lru_cache(_REMEMBERED)(lambda header: names.host(header.decode("latin-1")))
        self._origin = lru_cache(_REMEMBERED)(lambda header: names.origin(header.decode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and write a line of it."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        judged = self._judged(scope)
        request_id = judged.request_id or b"%032x" % getrandbits(128)  # a name, and no secret
        begun, status, rpc = time.perf_counter(), 0, judged.rpc
        added = [*self._headers, (b"x-request-id", request_id), *judged.shared]

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message.get("headers", ()), added, rpc=rpc)
            await send(message)

        with Telling("request_id", request_id.decode()) as telling:
            scope[TELLING] = telling
            try:
                if judged.refusal is not None:
                    await refuse(judged.refusal, answer, self._tally, rpc=rpc)
                elif judged.preflight:
                    await _allow(answer)
                else:
                    await (self._mcp if rpc else self._pages)(scope, receive, answer)
            except Exception:  # the supervising edge: what broke is for the log alone
                self._logger.exception("request broke")
                if status:
                    raise  # the answer has begun: uvicorn cuts it off, so that it is not taken for a whole one
                await _apologise(request_id, answer, rpc=rpc)
            finally:
                quiet = status < 400 or status in _REFUSED_LOGINS  # noqa: PLR2004 - client errors begin
                if not quiet or _LOGGED.isEnabledFor(logging.DEBUG):
                    log = self._logger.debug if quiet else self._logger.info
                    spent = round((time.perf_counter() - begun) * 1000, 2)
                    # What is no place of ours may be anything, a password, too.
                    path = scope["path"] if scope["path"] in self._told else None
                    log("request", method=scope["method"], path=path, status=status, ms=spent)

    def _judge(self, scope: Scope) -> _Judged:
        hosts, origins, request_id = _told(scope)
        refusal = self._refusal(scope, hosts, origins)
        return _Judged(
            refusal=refusal,
            request_id=request_id,
            rpc=scope["path"] in self._paths,
            preflight=bool(origins) and _is_preflight(scope),
            shared=() if refusal else _shared(origins),
        )

    def _refusal(self, scope: Scope, hosts: list[bytes], origins: list[bytes]) -> Refusal | None:
        verdict = self._verdict(scope, hosts)
        if verdict == "malformed":
            return _HOST_MALFORMED
        if verdict == "foreign" or (verdict == "number" and scope["path"] not in PAGES):
            return _HOST_FOREIGN
        if origins and (len(origins) > 1 or not self._origin(origins[0])):
            return _ORIGIN_FOREIGN
        return None

    def _verdict(self, scope: Scope, hosts: list[bytes]) -> Verdict:
        if len(hosts) == 1:
            return self._host(hosts[0])
        return self._names.without_host() if not hosts and scope["http_version"] == "1.0" else "malformed"


def _told(scope: Scope) -> tuple[list[bytes], list[bytes], bytes]:
    """Return the Host and Origin headers, and the caller's `X-Request-Id` if it may be the request's id."""
    hosts, origins, request_id = [], [], b""
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"x-request-id" and not request_id and _REQUEST_ID.match(value):
            request_id = value
    return hosts, origins, request_id


def _completed(given: Iterable[Header], added: list[Header], *, rpc: bool) -> list[Header]:
    """Return the headers of an answer with those that every answer has, where it does not say otherwise itself."""
    headers = [*given]
    # The SDK lets streams be stored.
    kept = [each for each in headers if each[0] != b"cache-control"] if rpc else headers
    names = {name.lower() for name, _ in kept}
    return kept + added if names.isdisjoint(_ADDED) else kept + [each for each in added if each[0] not in names]


def _is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _shared(origins: list[bytes]) -> tuple[Header, ...]:
    """Return the headers that let a page of a foreign origin read the answer; the origin was judged before."""
    if not origins:
        return ()
    return (
        (b"access-control-allow-origin", origins[0]),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    )


async def _allow(answer: Send) -> None:
    """Tell a browser that the page may call: with a POST, and with the headers of MCP and of a login."""
    headers = [
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", _ALLOWED),
        (b"access-control-max-age", b"600"),
    ]
    await answer({"type": "http.response.start", "status": 204, "headers": headers})
    await answer({"type": "http.response.body", "body": b""})


async def _apologise(request_id: bytes, answer: Send, *, rpc: bool) -> None:
    told = Refusal(reason="unreadable", status=500, message=_BROKEN.format(request_id.decode()), code=INTERNAL_ERROR)
    body = body_of(told, rpc=rpc)
    await answer({"type": "http.response.start", "status": 500, "headers": headers_of(told, body)})
    await answer({"type": "http.response.body", "body": body})
