"""The embedded Valkey where a Unix socket will not do: behind a proxy, in a sandbox, for a connection that is cut."""

from pathlib import Path

from server.embedded.sockets import LOOPBACK
from server.embedded.valkey import EmbeddedValkey


class OpenValkey(EmbeddedValkey):
    """One that also listens on a port of the loopback address, without a password."""

    def __init__(self, data: Path, *, port: int) -> None:
        super().__init__(data)
        self._port = port

    @property
    def tcp_url(self) -> str:
        """The same server over TCP."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    def _options(self, socket_file: Path) -> tuple[str | Path, ...]:
        return (*super()._options(socket_file), "--port", str(self._port))
