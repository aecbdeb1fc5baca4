"""How a connection to a tenant's server is made: TLS is agreed upon here, and a meter stands before the driver.

The driver makes its connections by an event loop that it is given, and offers no other place to stand between it and
the server from the first byte on. So it is given one that is the running loop in all but that.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

from registry.secrets import Secret
from server.meter import Meter

_SSL_REQUEST: Final = struct.pack(">ii", 8, 80877103)


class Unencrypted(ConnectionError):
    """The server offers no TLS."""


class NotPostgres(ConnectionError):
    """The server answers something that is not Postgres's protocol."""


class Elsewhere(ConnectionError):
    """What was connected to is not what was to be connected to."""


class Wire:
    """The running event loop, for one login of the driver with `direct_tls`, which leaves asking for TLS to this.

    The password is put into the driver here and taken out by `forget`: given to it as a parameter, it would stay in
    what the driver keeps of every connection for as long as that is open.

    Attributes:
        meter: Stands before the driver; None as long as nothing is connected.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, password: Secret | None = None) -> None:
        self.meter: Meter | None = None
        self._password = password
        self._loop = loop
        self._transport: asyncio.Transport | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loop has
        return getattr(self._loop, name)

    async def create_connection(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext | None = None,
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect as the loop does, with a meter before the driver's protocol. Raises what that raises.

        And `Elsewhere`, and `Unencrypted` or `NotPostgres` where `ssl` is asked for. May be cancelled.

        Args:
            factory: Makes the driver's protocol.
            host: An address. A name would be looked up here, where nobody judges what comes of it.
            port: Its port.
            ssl: Asks for TLS; knows by itself whose certificate the server must show.
        """
        if ssl is not None:
            return await self._create_encrypted(factory, host, port, ssl)
        self._transport, meter = await self._loop.create_connection(lambda: self._metered(factory()), host, port)
        _require_peer(self._transport, host)
        return self._transport, meter.driver

    def forget(self) -> None:
        """Take the password away from the driver and from here: the login is over, one way or the other."""
        self._password = None
        if self.meter is not None:
            _give(self.meter.driver, "")

    def abort(self) -> None:
        """Let go of what was connected: the driver forgets its socket when it stumbles over a login's last message."""
        if self._transport is not None:
            # A TLS transport of Python 3.11.2 (Debian 12's) that was closed twice, as the driver does, says this.
            with contextlib.suppress(AttributeError):
                self._transport.abort()

    async def _create_encrypted(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int, context: ssl.SSLContext
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        transport, question = await self._loop.create_connection(lambda: _Question(self._loop), host, port)
        try:
            _require_peer(transport, host)
            transport.write(_SSL_REQUEST)
            _require_yes(await question.answer)
            encrypted = await self._loop.start_tls(transport, question, context, server_hostname=host)
        except BaseException:
            transport.abort()
            raise
        if encrypted is None:
            raise ConnectionResetError
        self._transport = encrypted
        meter = self._metered(factory())
        meter.connection_made(encrypted)
        encrypted.set_protocol(meter)
        return encrypted, meter.driver

    def _metered(self, driver: asyncio.Protocol) -> Meter:
        _give(driver, self._password.reveal() if self._password else "")
        self.meter = Meter(driver)
        return self.meter


class _Question(asyncio.Protocol):
    """Asks for TLS; the answer is what comes before it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[bytes] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError())


def _give(driver: asyncio.Protocol, password: str) -> None:
    protocol: Any = driver
    protocol.password = password  # an attribute of its own that it reads when the server asks for a password


def _require_peer(transport: asyncio.Transport, host: str) -> None:
    """Let go, and raise `Elsewhere`, if the socket is connected to another address: that counts, not what was asked."""
    peer = transport.get_extra_info("peername")
    if peer is None or ip_address(peer[0]) != ip_address(host):
        transport.abort()
        raise ConnectionResetError if peer is None else Elsewhere


def _require_yes(answer: bytes) -> None:
    if answer == b"N":
        raise Unencrypted
    if answer != b"S":  # nor with a byte more, which would pass for one that came encrypted (CVE-2021-23222)
        raise NotPostgres
