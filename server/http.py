"""The HTTP shell: where the MCP endpoint and the health checks are, and the context of each request's log lines."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projections.phase import Status
from server.departure import again, read_ahead

ALIAS: Final = "/mcp"
_REFUSED_LOGINS: Final = frozenset({401, 429})
"""They have lines of their own, of which there are not more than a log can bear."""
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")


def build_app(
    endpoint: ASGIApp,
    path: str,
    status: Callable[[], Status],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    arrival: "Arrival",
    metrics: Callable[[], bytes],
    door: "Door",
) -> ASGIApp:
    """Return the whole application.

    Args:
        endpoint: What answers MCP.
        path: Where, beside `/mcp`.
        status: What the follower is doing now.
        lifespan: Entered before the first request and left after the last.
        arrival: How long a body may take.
        metrics: Writes them in Prometheus's text form.
        door: Who gets in.
    """

    async def livez(_request: Request) -> Response:
        return _json({"status": "ok"}, 200)

    async def readyz(_request: Request) -> Response:
        now = status()
        told = {"phase": now.phase, "ready": now.ready, "position": now.position} if door.discreet else now
        return _json(told, 200 if now.ready else 503)

    async def metered(_request: Request) -> Response:
        return Response(metrics(), media_type="text/plain; version=0.0.4")

    async def metadata(request: Request) -> Response:
        return Response(door.documents[request.url.path], media_type="application/json")

    async def elsewhere(_request: Request, _error: Exception) -> Response:
        return _json(
            {"error": f"Nothing is here; MCP is at {path}, health at /livez and /readyz, metrics at /metrics."}, 404
        )

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metered)]
    routes += [Route(place, endpoint) for place in dict.fromkeys((path, ALIAS))]
    routes += [Route(place, metadata) for place in door.documents]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: elsewhere})
    # A redirect would repeat the Host header of a request that nobody has checked yet.
    app.router.redirect_slashes = False
    return RequestLog(door.before(BodyDeadline(app, arrival)), frozenset(route.path for route in routes))


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets in.

    Args:
        before: Puts what asks for that before an application.
        documents: What anybody may read who wants to know how, by path.
        discreet: Whether there is anybody who does not: health checks then tell no more than they must.
    """

    before: Callable[[ASGIApp], ASGIApp]
    documents: Mapping[str, bytes]
    discreet: bool


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request's body may be, and how many seconds it may take to arrive."""

    max_body: int
    seconds: float


class BodyDeadline:
    """Hands a request on when its body has arrived, and answers 408 when that takes too long.

    What is refused for its size is for the application to refuse: of that it gets as much as shows that it is too much.
    """

    def __init__(self, app: ASGIApp, arrival: Arrival) -> None:
        self._app = app
        self._arrival = arrival

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._arrival.seconds):
                _, told, _ = await read_ahead(receive, self._arrival.max_body)
        except TimeoutError:
            answer = _json({"error": f"The body did not arrive within {self._arrival.seconds:g} s."}, 408)
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)
            return
        if told[-1]["type"] == "http.disconnect":
            return
        await self._app(scope, again(told, receive), send)


class RequestLog:
    """Gives each request an id, which its log lines and its answer carry; a caller may bring one in `X-Request-Id`.

    Args:
        app: What answers.
        places: The paths that lines tell.
    """

    def __init__(self, app: ASGIApp, places: frozenset[str]) -> None:
        self._app = app
        self._places = places
        self._logger = structlog.get_logger("http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        begun, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                quiet = status < 400 or status in _REFUSED_LOGINS  # noqa: PLR2004 - client errors begin
                log = self._logger.debug if quiet else self._logger.info
                spent = round((time.perf_counter() - begun) * 1000, 2)
                # What is no place of ours may be anything, a password, too.
                path = scope["path"] if scope["path"] in self._places else None
                log("request", method=scope["method"], path=path, status=status, ms=spent)


def _request_id(scope: Scope) -> bytes:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return bytes(given) if _REQUEST_ID.match(given) else uuid.uuid4().hex.encode()


def _json(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
