"""Redis behind a few methods, the same for one server, for what Sentinels watch and for a cluster.

Nothing is sent twice here unless a server said that it did not carry it out (MOVED, ASK, TRYAGAIN): whether a command
that failed was carried out is unknown, and each caller decides for itself what may be sent again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set as AbstractSet
from typing import Any, Final, Protocol, Self, TypeVar

from redis.exceptions import (
    AskError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
    TryAgainError,
)

from registry.redis_cluster import Cluster
from registry.redis_commands import key_of
from registry.redis_errors import is_lost, unavailable
from registry.redis_node import Command, Node, NodeMaker, Word
from registry.redis_script import Script
from registry.redis_topology import OneServer, Sentinels, Topology
from registry.redis_url import Address, RedisUrl, read

__all__ = ["RedisClient", "Script", "Word"]

_Result = TypeVar("_Result")
_Sent_co = TypeVar("_Sent_co", covariant=True)

_HOPS: Final = 40
_PAUSE: Final = 0.05
"""Seconds between two tries of a command that a cluster puts off; with `_HOPS`, two seconds in all."""
_REBUILD_AFTER: Final = 10.0
"""Seconds of failures and nothing else after which all connections, and what is known of the servers, begin anew."""


class RedisClient:
    """A bounded set of connections to each server of one Redis.

    Every method raises `RegistryUnavailable` when Redis does not answer or refuses for a reason of its own; whether the
    command was carried out is then unknown. Every method may be cancelled.

    Args:
        connect: Makes what knows the servers; called again when nothing has worked for a while.
        known: Where the servers are, as far as that has been told; grows while the client is used.
        rebuild_after: Seconds until then.
    """

    def __init__(
        self,
        connect: Callable[[], Topology],
        *,
        known: AbstractSet[Address] = frozenset(),
        rebuild_after: float = _REBUILD_AFTER,
    ) -> None:
        self.known = known
        self._connect = connect
        self._servers = connect()
        self._rebuild_after = rebuild_after
        self._failing_since: float | None = None

    @classmethod
    def from_url(cls, url: str, *, connections: int = 50, timeout: float = 2.0) -> Self:
        """Return a client of what `registry.redis_url` reads; nothing is connected yet. `InvalidInput` for other words.

        Args:
            url: Where Redis is, password included.
            connections: How many may be open to each server; the next caller waits.
            timeout: Seconds to connect, and to get one reply; a blocking command needs more than it blocks.
        """
        meant = read(url)
        make = NodeMaker(meant, connections, timeout)
        return cls(lambda: _topology(meant, make), known=make.known)

    @property
    def fixed(self) -> bool:
        """Whether the URL names the very server, so that nobody else is looked for when it is no primary."""
        return self._servers.fixed

    async def run(self, *words: Word) -> Any:  # noqa: ANN401 - the reply's shape is the command's
        """Run one command on the primary that holds its key and return the reply as the library parses it.

        A command without a key runs on any primary.
        """
        return await self._watched(self._run(words))

    async def script(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Any:  # noqa: ANN401 - as in run
        """Run a script by its digest, and by its text where Redis does not know it (yet, or after a failover).

        All keys are in one slot.
        """
        words: list[Word] = [len(keys), *keys, *args]

        async def run() -> Any:  # noqa: ANN401 - as in run
            try:
                return await self._run(["EVALSHA", script.sha, *words])
            except NoScriptError:
                return await self._run(["EVAL", script.text, *words])

        return await self._watched(run())

    async def scripts(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Word]]]) -> list[Any]:
        """Run a script many times as `pipeline` runs commands, each with its keys and arguments."""
        return await self._watched(self._scripts(script, calls))

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run many commands in one round trip to each server; return their replies in order.

        Not atomic: others may come in between, and commands of different slots run side by side. When one is refused,
        the others have been carried out all the same; the first refusal is raised.
        """
        return await self._watched(self._all_of(commands))

    async def atomically(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in MULTI and EXEC, all of one slot; return their replies in order.

        When one is refused as it runs, the others have been carried out all the same; the first refusal is raised.
        """
        if not commands:
            return []

        async def send(node: Node, *, asking: bool) -> list[Any]:
            return _unrefused(await node.atomically(commands, asking=asking))

        return await self._watched(self._routed(key_of(commands[0]), send))

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what stands under each key, in order; None where there is nothing, or no string."""
        if not keys:
            return []
        if not self._servers.sharded:
            found: list[bytes | None] = await self.run("MGET", *keys)
            return found
        return await self._watched(self._strings_of(keys))

    async def scan(self, pattern: str, count: int = 500) -> AsyncIterator[bytes]:
        """Yield the keys of every primary that match. May tell a key twice, and misses one that moves meanwhile."""
        for node in await self._watched(self._servers.primaries()):
            cursor = b"0"
            while True:
                words = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
                cursor, keys = await self._watched(self._at(node, node.run(*words)))
                for key in keys:
                    yield key
                if int(cursor) == 0:
                    break

    async def on_every_primary(self, *words: Word) -> list[Any]:
        """Run one command on each primary; return the replies. One after the other: not for what is called often."""
        nodes = await self._watched(self._servers.primaries())
        return [await self._watched(self._at(node, node.run(*words))) for node in nodes]

    async def close(self) -> None:
        """Close all connections; commands under way fail."""
        await self._servers.close()

    async def _run(self, words: Command) -> Any:  # noqa: ANN401 - as in run
        async def send(node: Node, *, asking: bool) -> Any:  # noqa: ANN401 - as in run
            return await (node.run_asking(*words) if asking else node.run(*words))

        return await self._routed(key_of(words), send)

    async def _routed(self, key: Word | None, send: "_Send[_Result]") -> _Result:
        """Send to the key's primary, and go where the servers say it is. Each said that nothing was carried out."""
        servers, asking = self._servers, False
        node = await servers.node_of(key)
        for hop in range(_HOPS):
            try:
                return await self._at(node, send(node, asking=asking))
            except MovedError as error:
                node, asking = servers.moved(error, node), False
            except AskError as error:
                node, asking = servers.told_to_ask(error, node), True
            except TryAgainError:
                node, asking = await servers.node_of(key), False
            if hop > 1:
                await asyncio.sleep(_PAUSE)
        raise TryAgainError

    async def _scripts(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Word]]]) -> list[Any]:
        words: list[list[Word]] = [[len(keys), *keys, *args] for keys, args in calls]
        replies = await self._many([["EVALSHA", script.sha, *each] for each in words])
        return _unrefused(
            [
                await self._again(["EVAL", script.text, *each]) if isinstance(reply, NoScriptError) else reply
                for each, reply in zip(words, replies, strict=True)
            ]
        )

    async def _all_of(self, commands: Sequence[Command]) -> list[Any]:
        return _unrefused(await self._many(commands))

    async def _strings_of(self, keys: Sequence[str]) -> list[bytes | None]:
        """Do what MGET does, for keys of many slots."""
        replies = await self._many([["GET", key] for key in keys])
        return _unrefused([None if _is_of_another_type(reply) else reply for reply in replies])

    async def _many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands on their servers at the same time; return replies and refusals in order."""
        groups: dict[Node, list[int]] = {}
        for number, words in enumerate(commands):
            groups.setdefault(await self._servers.node_of(key_of(words)), []).append(number)
        replies: list[Any] = [None] * len(commands)

        async def send(node: Node, numbers: list[int]) -> None:
            told = await self._at(node, _answering(node.many([commands[number] for number in numbers])))
            for number, reply in zip(numbers, told, strict=True):
                replies[number] = reply

        sent = await asyncio.gather(*(send(*group) for group in groups.items()), return_exceptions=True)
        for outcome in sent:
            if isinstance(outcome, BaseException):
                raise outcome
        return [
            await self._again(words) if isinstance(reply, (AskError, TryAgainError)) else reply
            for words, reply in zip(commands, replies, strict=True)
        ]

    async def _again(self, words: Command) -> Any:  # noqa: ANN401 - as in run
        """Run one of many where the servers say that it belongs; return its reply or its refusal."""
        try:
            return await self._run(words)
        except ResponseError as error:
            if is_lost(error):
                raise
            return error

    async def _at(self, node: Node, work: Awaitable[_Result]) -> _Result:
        """Await what a server does; where it is of no use any more, say so to who knows the others."""
        try:
            return await work
        except (RedisError, OSError) as error:
            if is_lost(error):
                if not isinstance(error, RedisTimeoutError):
                    await node.let_go()
                await self._servers.lost(node)
            raise

    async def _watched(self, work: Awaitable[_Result]) -> _Result:
        """Await, say what a failure means, and begin anew when for a while there was nothing else."""
        try:
            result = await work
        except (RedisError, OSError) as error:
            if is_lost(error):
                await self._count_failure()
            else:
                self._failing_since = None
            raise unavailable(error) from None  # what Redis said may repeat the password, also in a traceback
        self._failing_since = None
        return result

    async def _count_failure(self) -> None:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since >= self._rebuild_after:
            before, self._servers, self._failing_since = self._servers, self._connect(), None
            await before.close()


class _Send(Protocol[_Sent_co]):
    """Sends one thing to a server; `asking` where the server is only about to own the slot."""

    def __call__(self, node: Node, *, asking: bool) -> Awaitable[_Sent_co]:
        """Send it."""


def _topology(url: RedisUrl, make: NodeMaker) -> Topology:
    match url.kind:
        case "server":
            return OneServer(make.server(url.addresses[0] if url.addresses else ("", 0)))
        case "sentinel":
            return Sentinels(url, make)
        case "cluster":
            return Cluster(url, make)


async def _answering(work: Awaitable[list[Any]]) -> list[Any]:
    """Await replies; raise if one says that the server is none to ask."""
    replies = await work
    for reply in replies:
        if isinstance(reply, Exception) and is_lost(reply):
            raise reply
    return replies


def _unrefused(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _is_of_another_type(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")
