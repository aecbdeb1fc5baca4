"""The HTTP application: where the MCP endpoint, the health checks and the metrics are."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from projections.phase import Status
from server.http_front import Front, Outside

ALIAS: Final = "/mcp"


def build_app(
    mcp: ASGIApp,
    path: str,
    status: Callable[[], tuple[Status, Mapping[str, int]]],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    metrics: Callable[[], Awaitable[bytes]],
    door: "Door",
    outside: Outside,
) -> ASGIApp:
    """Return the whole application.

    Args:
        mcp: What answers MCP to those who got in: the intake around the endpoint.
        path: Where, beside `/mcp`.
        status: What the follower is doing now, and what is to be said of other processes on the port.
        lifespan: Entered before the first request and left after the last.
        metrics: Writes them in Prometheus's text form.
        door: Who gets in.
        outside: What the server looks like from outside.
    """

    async def livez(_request: Request) -> Response:
        return _json({"status": "ok"}, 200)

    async def readyz(_request: Request) -> Response:
        now, beside = status()
        told = {"phase": now.phase, "ready": now.ready, "position": now.position}
        whole = told if door.discreet else msgspec.structs.asdict(now)
        return _json({**whole, **beside}, 200 if now.ready else 503)

    async def metered(_request: Request) -> Response:
        return Response(await metrics(), media_type="text/plain; version=0.0.4")

    async def metadata(request: Request) -> Response:
        return Response(door.documents[request.url.path], media_type="application/json")

    async def elsewhere(_request: Request, _error: Exception) -> Response:
        return _json(
            {"error": f"Nothing is here; MCP is at {path}, health at /livez and /readyz, metrics at /metrics."}, 404
        )

    async def otherwise(_request: Request, _error: Exception) -> Response:
        answer = _json({"error": "This is read with GET."}, 405)
        answer.headers["allow"] = "GET, HEAD"
        return answer

    async def broken(_request: Request, error: Exception) -> Response:
        raise error  # the front answers for all

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metered)]
    routes += [Route(place, metadata) for place in door.documents]
    handlers = {404: elsewhere, 405: otherwise, Exception: broken}
    pages = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    # A redirect would repeat the Host header.
    pages.router.redirect_slashes = False
    places = frozenset(route.path for route in routes)
    return Front(door.before(mcp), door.before(pages), frozenset((path, ALIAS)), places, outside)


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets in.

    Args:
        before: Wraps an application, so that it sees only requests of callers who get in.
        documents: How to get in, for anybody to read, by path.
        discreet: Whether some callers do not get in; health checks then tell no more than they must.
    """

    before: Callable[[ASGIApp], ASGIApp]
    documents: Mapping[str, bytes]
    discreet: bool


def _json(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
