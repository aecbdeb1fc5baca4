"""A limit on what one answer of a database may bring into memory.

A portal limits rows, not their size, and the driver reads a whole step before anybody sees a row of it: sixty-four rows
of a hundred megabytes each would take the process, and with it every other tenant's calls.
"""

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy[asyncpg.Record]


class Meter(asyncio.Protocol):
    """Counts what arrives between a socket and the driver, and cuts the connection when it is too much.

    Attributes:
        tripped: Whether it did; the driver then reports a lost connection.
    """

    def __init__(self, transport: asyncio.Transport, driver: asyncio.Protocol) -> None:
        self.tripped = False
        self._transport = transport
        self._left = math.inf
        self._driver = driver

    def allow(self, size: float) -> None:
        """Let `size` more bytes in, from now on; `math.inf` is no limit."""
        self._left = size

    def data_received(self, data: bytes) -> None:
        """Hand them on, or cut."""
        self._left -= len(data)
        if self._left >= 0:
            self._driver.data_received(data)
        elif not self.tripped:
            self.tripped = True
            self._transport.abort()

    def eof_received(self) -> bool | None:
        """Hand it on."""
        return self._driver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        self._driver.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand it on."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._driver.resume_writing()


def meter_of(connection: "Connection") -> Meter:
    """Return the meter of a connection, put there if it has none yet."""
    driver: Any = connection
    transport: asyncio.Transport = driver._transport  # noqa: SLF001 - the driver has no public way to its socket
    protocol: Any = transport.get_protocol()
    if isinstance(protocol, Meter):
        return protocol
    meter = Meter(transport, protocol)
    transport.set_protocol(meter)
    return meter
