"""The handshake of TLS, in front of the HTTP protocol: bounded in time, and a place in the crowd that can be taken.

A loop's own servers keep a connection in its handshake to themselves: nobody can count it or end it. So the loop's TLS
is used as the protocol of a plain server; it is uvloop's, because uvloop's transports carry it.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState
from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # its stubs know the loop alone

from server.http_bounds import Bounds
from server.http_protocol import Impatient, Make

if TYPE_CHECKING:
    from server.certificates import Certificates

_LONGEST_HANDSHAKE: Final = 10.0
"""Seconds, for those who are patient with requests."""
_GOODBYE: Final = 1.0
"""Seconds that a client has to agree that a connection ends."""


class Entrance(SSLProtocol):  # type: ignore[misc]  # as above
    """Shakes hands, then carries the HTTP protocol, which is in the crowd from the beginning."""

    def __init__(self, inside: Impatient, certificates: "Certificates", bounds: Bounds) -> None:
        loop, seconds = asyncio.get_running_loop(), min(bounds.patience, _LONGEST_HANDSHAKE)
        super().__init__(loop, inside, certificates.context, None, True, None, True, seconds, _GOODBYE)  # noqa: FBT003 - by place
        self._inside = inside
        self._bounds = bounds

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, if there is a place."""
        if self._inside.approach(transport):
            super().connection_made(transport)
        else:
            self._bounds.tally.note("too_many_clients")
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End both; one that was inside leaves by itself."""
        super().connection_lost(exc)
        if self._inside.turn_back():
            self._bounds.tally.note("no_handshake")


def behind_tls(make: Make, certificates: "Certificates", bounds: Bounds) -> Callable[..., Entrance]:
    """Return what makes HTTP protocols behind a handshake, as uvicorn calls it."""

    def entrance(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Entrance:
        return Entrance(make(config, server_state, app_state, _loop), certificates, bounds)

    return entrance
