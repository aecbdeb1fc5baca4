"""The addresses of a host name, as this machine's resolver tells them.

The resolver blocks, and nothing ends a look-up that waits for a name server: it runs in a thread of its own, which the
process does not wait for when it ends. A tenant's name server that never answers holds one of them, however many calls
ask for the same name; the loop's own threads, which others need, it holds none of. Names that never answered yet hold
no more than half of the places, however many are made up, and one that nobody waits for any more waits for no place.
"""

import asyncio
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import Final, TypeAlias

from server.network_policy import Address
from server.threads import settle

LookUp: TypeAlias = Callable[[str], Sequence[Address]]

_AT_MOST: Final = 64
"""Look-ups under way; the next one waits."""
_STRANGERS_AT_MOST: Final = _AT_MOST // 2
"""Those of names that did not answer when they were last asked for, or never were."""
_REMEMBERED: Final = 10_000
"""Names that answered; of more, the one that answered the longest ago is a stranger again."""


def look_up(host: str) -> Sequence[Address]:
    """Ask the system, and wait. Raises `socket.gaierror` where there is no such host."""
    try:
        # In bytes: given text, Python would write it in another alphabet first.
        found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from None
    return [ip_address(place[0]) for *_, place in found]


class Resolver:
    """Looks names up.

    Args:
        ask: Blocks, and raises `OSError` where nothing is found.
    """

    def __init__(self, ask: LookUp = look_up) -> None:
        self._ask = ask
        self._under_way: dict[str, asyncio.Task[Sequence[Address]]] = {}
        self._places = asyncio.Semaphore(_AT_MOST)
        self._strangers = asyncio.Semaphore(_STRANGERS_AT_MOST)
        self._answered: OrderedDict[str, None] = OrderedDict()

    async def addresses(self, host: str) -> Sequence[Address]:
        """Return the host's addresses, the best first, each once; an address is its own. `OSError` if it has none.

        May be cancelled: a look-up that has begun goes on, for the next caller who asks.
        """
        try:
            return [ip_address(host)]
        except ValueError:
            return await asyncio.shield(self._under_way.get(host) or await self._begun(host))

    async def _begun(self, host: str) -> asyncio.Task[Sequence[Address]]:
        """Wait for a place, and return the look-up that has it, or one that somebody else began meanwhile."""
        async with AsyncExitStack() as places:
            if host not in self._answered:
                await places.enter_async_context(self._strangers)
            await places.enter_async_context(self._places)
            task = self._under_way.get(host)
            if task is None:
                task = self._under_way[host] = asyncio.create_task(self._ask_apart(host, places.pop_all()))
                task.add_done_callback(lambda done: self._forget(host, done))
            return task

    def _forget(self, host: str, done: asyncio.Task[Sequence[Address]]) -> None:
        del self._under_way[host]
        if not done.cancelled():
            done.exception()  # nobody may be left to hear it

    async def _ask_apart(self, host: str, places: AsyncExitStack) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Address]] = loop.create_future()
        self._answered.pop(host, None)
        async with places:
            threading.Thread(target=_ask_for, args=(self._ask, host, loop, answer), daemon=True).start()
            found = list(dict.fromkeys(await answer))
        self._answered[host] = None
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        return found


def _ask_for(
    ask: LookUp, host: str, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Sequence[Address]]
) -> None:
    """Ask, in a thread, and tell the loop; nobody hears it where the loop has ended meanwhile."""
    try:
        found, failure = ask(host), None
    except OSError as error:
        found, failure = (), error
    settle(loop, answer, found, failure)
