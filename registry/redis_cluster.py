"""Which server of a cluster a command goes to: the owner of its key's slot, as the servers themselves tell it."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError, ResponseError

from registry.redis_errors import NoServer
from registry.redis_node import Node, NodeMaker, Word
from registry.redis_url import Address, RedisUrl

_SLOTS: Final = 16384
_UNKNOWN_HOSTS: Final = frozenset({"", "?"})


class Cluster:
    """Every primary of a cluster, and which slots it owns. The map is read again after any failure or redirection."""

    sharded = True
    fixed = False

    def __init__(self, url: RedisUrl, make: NodeMaker) -> None:
        self._seeds = url.addresses
        self._make = make
        self._nodes: dict[Address, Node] = {}
        self._owners: list[Address | None] = [None] * _SLOTS
        self._last: Address | None = None
        self._stale = True
        self._lock = asyncio.Lock()

    async def node_of(self, key: Word | None) -> Node:
        """See `Topology.node_of`."""
        await self._refresh()
        owner = next(self._owned()) if key is None else self._owners[_slot_of(key)]
        if owner is None:
            self._stale = True
            raise NoServer("No server of the Redis cluster has this key's slot; try again, and look at CLUSTER INFO.")
        return self._node(owner)

    async def primaries(self) -> Sequence[Node]:
        """See `Topology.primaries`."""
        await self._refresh()
        return [self._node(address) for address in dict.fromkeys(self._owned())]

    def moved(self, error: MovedError, asked: Node) -> Node:
        """See `Topology.moved`."""
        address = (error.host or asked.address[0], error.port)
        self._owners[error.slot_id] = address
        self._stale = True
        return self._node(address)

    def told_to_ask(self, error: AskError, asked: Node) -> Node:
        """See `Topology.told_to_ask`."""
        return self._node((error.host or asked.address[0], error.port))

    async def lost(self, node: Node) -> None:
        """See `Topology.lost`."""
        self._last = node.address
        self._stale = True

    async def close(self) -> None:
        """See `Topology.close`."""
        for node in tuple(self._nodes.values()):
            await node.close()

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make.server(address)
        return node

    def _owned(self) -> Iterator[Address]:
        return (owner for owner in self._owners if owner is not None)

    async def _refresh(self) -> None:
        if self._stale:
            async with self._lock:
                if self._stale:
                    await self._read_map()

    async def _read_map(self) -> None:
        """Ask servers for the map until one answers: those we know, those of the URL, at last the one that failed."""
        known = dict.fromkeys(itertools.chain(self._owned(), self._seeds))
        failure: Exception | None = None
        for address in sorted(known, key=lambda each: each == self._last):
            node = self._node(address)
            try:
                ranges = await node.run("CLUSTER", "SLOTS")
            except ResponseError as error:
                raise _no_cluster(error) from error
            except (RedisError, OSError) as error:
                failure = error
                await node.let_go()
                continue
            if ranges:
                self._stale = False
                self._make.known |= _all_of(ranges, address[0])
                await self._take(_owners_of(ranges, address[0]))
                return
        raise failure or NoServer("No server of the Redis cluster knows who has which slots; try again.")

    async def _take(self, owners: list[Address | None]) -> None:
        """Use a map, and close servers that it no longer has: commands that wait there would wait in vain."""
        self._owners = owners
        kept = set(self._owned())
        for address in [address for address in self._nodes if address not in kept]:
            await self._nodes[address].close()
            del self._nodes[address]


def _slot_of(key: Word) -> int:
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _owners_of(ranges: Sequence[Any], asked: str) -> list[Address | None]:
    """Read the answer of CLUSTER SLOTS; a server that does not know its own name has the one it was asked under."""
    owners: list[Address | None] = [None] * _SLOTS
    for first, last, owner, *_ in ranges:
        owners[first : last + 1] = [_address_of(owner, asked)] * (last + 1 - first)
    return owners


def _all_of(ranges: Sequence[Any], asked: str) -> set[Address]:
    """Read the same answer for every server in it, replicas too."""
    return {_address_of(server, asked) for _, _, *servers in ranges for server in servers}


def _address_of(server: Sequence[Any], asked: str) -> Address:
    name = (server[0] or b"").decode()
    return (asked if name in _UNKNOWN_HOSTS else name, int(server[1]))


def _no_cluster(error: ResponseError) -> Exception:
    if "cluster support disabled" in str(error):
        return NoServer("This Redis is no cluster; write redis:// or rediss:// in REDIS_URL.")
    return error
