"""Who is connected, and who goes when there are too many: the one that has been idle for longest.

So a crowd of clients that connect and say little keeps nobody out: each newcomer takes the place of one, and has
sent its request before its own turn comes.
"""

from collections.abc import Callable
from typing import Protocol

from server.refusals import HttpTally


class Client(Protocol):
    """A connection."""

    def drop(self) -> None:
        """End it at once, whatever is still unsent."""


class Crowd:
    """Connections, bounded. One is idle until a whole request of it has arrived, and again when that was answered.

    Args:
        most: How many there may be.
        tally: Counts those that had to go.
        on_count: Told how many there are when that changes.
    """

    def __init__(self, most: int, tally: HttpTally, on_count: Callable[[int], None] = lambda _clients: None) -> None:
        self._most = most
        self._tally = tally
        self._on_count = on_count
        self._clients: set[Client] = set()
        self._idle: dict[Client, None] = {}

    def enter(self, client: Client) -> bool:
        """Take one in, as the last of the idle; False if all places are taken by clients that wait for answers."""
        if len(self._clients) >= self._most and not self._make_room():
            return False
        self._clients.add(client)
        self._idle[client] = None
        self._counted()
        return True

    def wait(self, client: Client) -> None:
        """Note that it waits for an answer: it is not dropped now."""
        self._idle.pop(client, None)

    def rest(self, client: Client) -> None:
        """Note that it has its answer."""
        if client in self._clients:
            self._idle[client] = None

    def leave(self, client: Client) -> bool:
        """Forget it; False if it was not known."""
        known = client in self._clients
        self._clients.discard(client)
        self._idle.pop(client, None)
        self._counted()
        return known

    def _counted(self) -> None:
        self._tally.clients = len(self._clients)
        self._on_count(len(self._clients))

    def _make_room(self) -> bool:
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        self.leave(longest)
        self._tally.note("too_many_clients")
        longest.drop()
        return True
