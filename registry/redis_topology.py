"""Which server a command goes to: always the same one, or the one that the Sentinels name."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

from redis.exceptions import AskError, MovedError, RedisError

from registry.redis_errors import NoServer
from registry.redis_node import Node, NodeMaker, Word
from registry.redis_url import Address, RedisUrl

_SENTINEL_TIMEOUT: Final = 1.0
"""Seconds that a Sentinel may take: the others know as well."""
_LOOK_EVERY: Final = 0.5
"""Seconds after which a primary that works is looked up again. After SENTINEL FAILOVER the old one takes writes for ten
seconds more, and all of them are lost; the sooner we leave it, the fewer they are."""


class Topology(Protocol):
    """Knows the servers. Methods raise what the library raises, and may be cancelled.

    `sharded`: keys are spread over several primaries. `fixed`: the URL names the server, and nobody else is looked for.
    """

    sharded: bool
    fixed: bool

    async def node_of(self, key: Word | None) -> Node:
        """Return the primary that holds the key; any primary for no key."""

    async def primaries(self) -> Sequence[Node]:
        """Return every primary."""

    def moved(self, error: MovedError, asked: Node) -> Node:
        """Return the server that `asked` says has the slot now, and remember it."""

    def told_to_ask(self, error: AskError, asked: Node) -> Node:
        """Return the server that `asked` says will have the slot, for this once."""

    async def lost(self, node: Node) -> None:
        """Take note that a server is of no use: where there are others, they are looked up before the next command."""

    async def close(self) -> None:
        """Close every node."""


class OneServer:
    """A server that is named, behind an address that may come to mean another one."""

    sharded = False
    fixed = True

    def __init__(self, node: Node) -> None:
        self._node = node

    async def node_of(self, key: Word | None) -> Node:  # noqa: ARG002 - every key is there
        """See `Topology.node_of`."""
        return self._node

    async def primaries(self) -> Sequence[Node]:
        """See `Topology.primaries`."""
        return [self._node]

    def moved(self, error: MovedError, asked: Node) -> Node:  # noqa: ARG002 - the URL named one server
        """Refuse: the server is part of a cluster, and the URL does not say so."""
        raise error

    def told_to_ask(self, error: AskError, asked: Node) -> Node:  # noqa: ARG002 - as above
        """Refuse, as `moved` does."""
        raise error

    async def lost(self, node: Node) -> None:
        """See `Topology.lost`."""

    async def close(self) -> None:
        """See `Topology.close`."""
        await self._node.close()


class Sentinels:
    """The primary that Sentinels name. They are asked beside the commands while it works, and before them when not."""

    sharded = False
    fixed = False

    def __init__(self, url: RedisUrl, make: NodeMaker) -> None:
        self._service = url.service
        self._make = make
        self._sentinels = [make.sentinel(address, _SENTINEL_TIMEOUT) for address in url.addresses]
        self._primary: Node | None = None
        self._deposed: list[Node] = []
        self._stale = True
        self._looked = 0.0
        self._lock = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    async def node_of(self, key: Word | None) -> Node:  # noqa: ARG002 - every key is there
        """See `Topology.node_of`."""
        primary = self._primary
        if primary is None or self._stale:
            async with self._lock:
                return await self._look_before() if self._primary is None or self._stale else self._primary
        if time.monotonic() - self._looked > _LOOK_EVERY and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_again())
        return primary

    async def primaries(self) -> Sequence[Node]:
        """See `Topology.primaries`."""
        return [await self.node_of(None)]

    def moved(self, error: MovedError, asked: Node) -> Node:  # noqa: ARG002 - Sentinels watch no cluster
        """Refuse: what the Sentinels name is part of a cluster."""
        raise error

    def told_to_ask(self, error: AskError, asked: Node) -> Node:  # noqa: ARG002 - as above
        """Refuse, as `moved` does."""
        raise error

    async def lost(self, node: Node) -> None:
        """See `Topology.lost`."""
        if node is self._primary:
            self._stale = True

    async def close(self) -> None:
        """See `Topology.close`."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for node in (*self._sentinels, *self._deposed, *([self._primary] if self._primary else ())):
            await node.close()

    async def _look_before(self) -> Node:
        """Ask before a command. Where nobody answers, the primary that was named last may be well all the same."""
        try:
            return await self._look()
        except NoServer:
            if self._primary is None:
                raise
            return self._primary

    async def _look_again(self) -> None:
        """Ask beside the commands. That nobody answers is no reason to leave a primary that works."""
        try:
            async with self._lock:
                await self._look()
        except (RedisError, OSError):
            self._looked = time.monotonic()

    async def _look(self) -> Node:
        """Use the primary that the Sentinels name. Commands that wait at another one wait in vain, so they fail now."""
        address = await self._named()
        self._looked, self._stale = time.monotonic(), False
        primary = self._primary
        if primary is None or primary.address != address:
            self._deposed += [primary] if primary else []
            primary = self._primary = self._make.server(address)
        while self._deposed:
            await self._deposed[-1].close()
            self._deposed.pop()
        return primary

    async def _named(self) -> Address:
        """Return what the first Sentinel to answer says; who does not is asked last from then on."""
        answered, failure = False, None
        for sentinel in tuple(self._sentinels):
            try:
                named = await sentinel.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            except (RedisError, OSError) as error:
                failure = error
                self._sentinels.remove(sentinel)
                self._sentinels.append(sentinel)
                continue
            answered = True
            if named:
                host, port = named
                return host.decode(), int(port)
        raise NoServer(
            "No Sentinel knows the service that REDIS_URL names; correct its name."
            if answered
            else "No Sentinel answers, or lets this server in; try again, and check REDIS_URL (sentinel_password too)."
        ) from failure
