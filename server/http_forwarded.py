"""Who the client is behind a proxy that is believed: uvicorn knows, and is asked where a request says so."""

from collections.abc import Awaitable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from server.http_heads import OfHead

_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})


class Forwarded:
    """An application whose requests may come through a proxy.

    Args:
        app: Answers.
        trusted: Addresses whose word is taken for the client's, as uvicorn writes them.
    """

    def __init__(self, app: ASGIApp, trusted: list[str] | str) -> None:
        behind: Any = app
        self._app = app
        self._behind: Any = ProxyHeadersMiddleware(behind, trusted)
        self._is_forwarded = OfHead(_is_forwarded)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or whatever else the application is told of."""
        if scope["type"] == "http" and self._is_forwarded(scope):
            answered: Awaitable[None] = self._behind(scope, receive, send)
            return answered
        return self._app(scope, receive, send)


def _is_forwarded(scope: Scope) -> bool:
    return any(name in _FORWARDED for name, _ in scope["headers"])
