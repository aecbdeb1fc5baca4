"""How far a call is that still runs, for a client that wants to know."""

from asyncpg import Connection

from server.meter import Meter, meter_of


class Progress:
    """Counts what comes from the tenant's server for one call."""

    def __init__(self) -> None:
        self._meter: Meter | None = None
        self._before = 0

    @property
    def rows(self) -> int:
        """How many rows came so far."""
        return self._meter.rows - self._before if self._meter else 0

    def follow(self, connection: Connection) -> None:
        """Count the rows that come on this connection from now on, for as long as the call has it."""
        self._meter = meter_of(connection)
        self._before = self._meter.rows


def followed(connection: Connection, progress: Progress | None) -> Connection:
    """Return the connection, which `progress` follows from now on, if a client wants to know."""
    if progress:
        progress.follow(connection)
    return connection
