"""One Redis server: a bounded set of connections, and the four ways in which commands go over them.

The client library repeats every command up to ten times by default; an append with lost replies became eleven events.
Its repetition is off here, and each caller decides for itself what may be sent again. Its clients for Sentinel and
Cluster are not used either: their pools raise instead of waiting, and in a cluster ASKING and the command it is for may
go over two connections. What is left of the library is the same for every topology, so replies have the same shapes.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError, ExecAbortError, RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.typing import EncodableT

from registry.redis_url import Address, RedisUrl

Word: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Word]
_Result = TypeVar("_Result")


class Node:
    """A bounded set of connections to one server; who finds all of them busy waits.

    Every method raises what the library raises, and may be cancelled. Replies of `many` and `atomically` may be
    exceptions among others: what Redis answered to that command.
    """

    def __init__(self, pool: BlockingConnectionPool, address: Address) -> None:
        self.address = address
        self._pool = pool
        self._redis = Redis(connection_pool=pool)
        self._closed = False
        self._running: set[asyncio.Timeout] = set()
        self._ended = asyncio.Event()

    async def run(self, *words: Word) -> Any:  # noqa: ANN401 - the reply's shape is the command's
        """Run one command and return the reply as the library parses it; as it came if the command is named in bytes.

        A replay is entries and little else, and the library takes a microsecond for each.
        """
        return await self._unhurried(self._redis.execute_command(*words))

    async def run_asking(self, *words: Word) -> Any:  # noqa: ANN401 - as in run
        """Run one command on a slot that is on its way here."""
        return _checked((await self.many([["ASKING"], words]))[-1])

    async def many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip, in order; others may come in between."""
        pipeline = self._redis.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        replies: list[Any] = await self._unhurried(pipeline.execute(raise_on_error=False))
        return replies

    async def atomically(self, commands: Sequence[Command], *, asking: bool = False) -> list[Any]:
        """Run commands in MULTI and EXEC; raises the first refusal if none was run.

        Not by the library's transaction: its errors repeat what the command said.
        """
        before: list[Command] = [["ASKING"], ["MULTI"]] if asking else [["MULTI"]]
        # The library parses replies by the command's name, and QUEUED is not one: by bytes it does not know it.
        queued = [[str(words[0]).encode(), *words[1:]] for words in commands]
        replies = await self.many([*before, *queued, ["EXEC"]])
        done = replies[-1]
        if isinstance(done, ExecAbortError):
            done = next((reply for reply in replies if isinstance(reply, RedisError)), done)
        return [self._parsed(words, reply) for words, reply in zip(commands, _checked(done), strict=True)]

    async def let_go(self) -> None:
        """Close the connections that are idle: where one broke, they broke with it."""
        await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close all connections; commands under way fail.

        They are interrupted as by a cancellation, which leaves nothing behind. To close a connection under a command
        breaks the library in the middle of its steps.
        """
        self._closed = True
        for command in tuple(self._running):
            command.reschedule(asyncio.get_running_loop().time())
        while self._running:
            self._ended.clear()
            await self._ended.wait()
        await self._pool.disconnect()

    def _parsed(self, words: Command, reply: Any) -> Any:  # noqa: ANN401 - as in run
        parse = self._redis.response_callbacks.get(str(words[0]))
        return reply if parse is None or isinstance(reply, Exception) else parse(reply)

    async def _unhurried(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await a command; a cancellation that comes while it is sent is not lost.

        The library sends within `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes in the
        moment when it is done. A loop that reads for ever would then never end.
        """
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        if asked:
            await _told_now(work)
        try:
            return await self._interruptible(work)
        except RuntimeError as error:
            # uvloop's word for writing to a connection that was reset just now, where asyncio's is an OSError.
            if "handler is closed" in str(error):
                raise RedisConnectionError("the connection is closed") from error
            raise
        finally:
            if task and task.cancelling() > asked:
                raise asyncio.CancelledError

    async def _interruptible(self, work: Awaitable[_Result]) -> _Result:
        try:
            async with asyncio.timeout(None) as command:
                self._running.add(command)
                try:
                    return await work
                finally:
                    self._running.discard(command)
        except TimeoutError:
            if self._closed:
                raise RedisConnectionError("The server was given up.") from None
            raise
        finally:
            if self._closed:
                # Whoever came in the moment of closing has opened a connection that nobody would close.
                await self._pool.disconnect(inuse_connections=False)
            self._ended.set()


class NodeMaker:
    """Makes nodes of one URL: same login, same TLS, same bounds.

    Args:
        url: Whose login and TLS; the nodes' addresses come from who makes them.
        connections: How many each node may have open.
        timeout: Seconds to connect, to wait for a connection, and to get one reply.

    Attributes:
        known: Where all servers of this Redis are or were, as the URL and the servers themselves tell it.
    """

    def __init__(self, url: RedisUrl, connections: int, timeout: float) -> None:
        self.known: set[Address] = set(url.addresses)
        self._url = url
        self._connections = connections
        self._timeout = timeout

    def server(self, address: Address) -> Node:
        """Return a node of a server that holds data; nothing is connected yet."""
        url = self._url
        self.known.add(address)
        return self._node(address, url.username, url.password, url.database, self._connections, self._timeout)

    def sentinel(self, address: Address, timeout: float) -> Node:
        """Return a node of a Sentinel."""
        return self._node(address, self._url.sentinel_username, self._url.sentinel_password, 0, 1, timeout)

    def _node(
        self,
        address: Address,
        username: str | None,
        password: str | None,
        database: int,
        connections: int,
        timeout: float,
    ) -> Node:
        pool = BlockingConnectionPool(
            **self._reached(address),
            username=username,
            password=password,
            db=database,
            max_connections=connections,
            timeout=timeout,
            socket_connect_timeout=timeout,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            legacy_responses=False,
            # They would move a connection by themselves. Like the library's name, they need a permission of their own.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            driver_info=None,
        )
        return Node(pool, address)

    def _reached(self, address: Address) -> dict[str, Any]:
        if self._url.path is not None:
            return {"connection_class": _Local, "path": self._url.path}
        host, port = address
        kind = _Plain if self._url.tls is None else _Encrypted
        return {"connection_class": kind, "host": host, "port": port, **(self._url.tls or {})}


class _Packed:
    """Writes commands out in C: the library's own way takes seven times as long, 1.7 ms for one with 1,000 keys."""

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """Return the command as bytes; a name of two words is two, as the library has it."""
        name, *words = args
        first = name.split() if isinstance(name, str | bytes) else [name]
        packed: bytes = hiredis.pack_command((*first, *words))
        return [packed]


class _Plain(_Packed, Connection):
    """Over TCP."""


class _Encrypted(_Packed, SSLConnection):
    """Over TLS."""


class _Local(_Packed, UnixDomainSocketConnection):
    """Over a socket of this machine."""


async def _told_now(work: Coroutine[Any, Any, Any]) -> None:
    """Let a cancellation come out that came while the task ran, as by a signal under a long print, before `work`."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        work.close()
        raise


def _checked(reply: Any) -> Any:  # noqa: ANN401 - as in run
    if isinstance(reply, Exception):
        raise reply
    return reply
