"""The HTTP shell: where the MCP endpoint and the health checks are, and the context of each request's log lines."""

import re
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projections.follower import Status

ALIAS: Final = "/mcp"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")


def build_app(
    endpoint: ASGIApp,
    path: str,
    status: Callable[[], Status],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> ASGIApp:
    """Return the whole application.

    Args:
        endpoint: What answers MCP.
        path: Where, beside `/mcp`.
        status: What the follower is doing now.
        lifespan: Entered before the first request and left after the last.
    """

    async def livez(_request: Request) -> Response:
        return _json({"status": "ok"}, 200)

    async def readyz(_request: Request) -> Response:
        now = status()
        return _json(now, 200 if now.ready else 503)

    async def elsewhere(_request: Request, _error: Exception) -> Response:
        return _json({"error": f"Nothing is here; MCP is at {path}, health at /livez and /readyz."}, 404)

    routes = [Route("/livez", livez), Route("/readyz", readyz)]
    routes += [Route(place, endpoint) for place in dict.fromkeys((path, ALIAS))]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: elsewhere})
    return RequestLog(app)


class RequestLog:
    """Gives each request an id, which its log lines and its answer carry; a caller may bring one in `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
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
                log = self._logger.debug if status < 400 else self._logger.info  # noqa: PLR2004 - client errors begin
                spent = round((time.perf_counter() - begun) * 1000, 2)
                log("request", method=scope["method"], path=scope["path"], status=status, ms=spent)


def _request_id(scope: Scope) -> bytes:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return bytes(given) if _REQUEST_ID.match(given) else uuid.uuid4().hex.encode()


def _json(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
