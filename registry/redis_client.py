"""One Redis behind two methods: run a command, run a script.

The client library repeats every command up to ten times by default; an append with lost replies became eleven events.
Its repetition is off here, and each caller decides for itself what may be sent again.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Self, TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from registry.errors import RegistryUnavailable

Word: TypeAlias = str | bytes | int | float


class Script:
    """A Lua script that ships with a package, known to Redis by its digest."""

    def __init__(self, package: str, name: str) -> None:
        self.text = resources.files(package).joinpath(name).read_text("utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """A bounded set of connections to one Redis.

    Every method raises `RegistryUnavailable` when Redis does not answer or refuses for a reason of its own; whether the
    command was carried out is then unknown. Every method may be cancelled.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    def from_url(cls, url: str, *, connections: int = 50, timeout: float = 2.0) -> Self:
        """Return a client of `redis://`, `rediss://` or `unix://`; nothing is connected yet.

        Args:
            url: Where Redis is, password included.
            connections: How many may be open; the next caller waits.
            timeout: Seconds to connect, and to get one reply; a blocking command needs more than it blocks.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout,
            socket_connect_timeout=timeout,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            legacy_responses=False,
        )
        return cls(Redis(connection_pool=pool))

    async def run(self, *words: Word) -> Any:  # noqa: ANN401 - the reply's shape is the command's
        """Run one command and return the reply as the library parses it."""
        try:
            return await self._execute(*words)
        except (RedisError, OSError) as error:
            raise await self._failed(error) from error

    async def script(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Any:  # noqa: ANN401 - as in run
        """Run a script by its digest, and by its text where Redis does not know it (yet, or after a failover)."""
        words: list[Word] = [len(keys), *keys, *args]
        try:
            try:
                return await self._execute("EVALSHA", script.sha, *words)
            except NoScriptError:
                return await self._execute("EVAL", script.text, *words)
        except (RedisError, OSError) as error:
            raise await self._failed(error) from error

    async def close(self) -> None:
        """Close all connections; commands under way fail."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _failed(self, error: Exception) -> RegistryUnavailable:
        """Say what the error means; where a connection broke, let the idle ones go: they broke with it."""
        if isinstance(error, (RedisConnectionError, OSError)):
            await self._redis.connection_pool.disconnect(inuse_connections=False)
        return unavailable(error)

    async def _execute(self, *words: Word) -> Any:  # noqa: ANN401 - as in run
        """Run one command; a cancellation that comes while it is sent is not lost.

        The library sends within `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes in the
        moment when it is done. A loop that reads for ever would then never end.
        """
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        try:
            return await self._redis.execute_command(*words)
        except RuntimeError as error:
            # uvloop's word for writing to a connection that was reset just now, where asyncio's is an OSError.
            if "handler is closed" in str(error):
                raise RedisConnectionError("the connection is closed") from error
            raise
        finally:
            if task and task.cancelling() > asked:
                raise asyncio.CancelledError


def unavailable(error: Exception) -> RegistryUnavailable:
    """Say what a failed command means for the caller. Never repeats what the URL holds."""
    match error:
        case AuthenticationError():
            text = "Redis wants a user and password, or other ones; put them into REDIS_URL."
        case NoPermissionError():
            text = f"Redis does not let this server's user do what it needs ({error}); check its ACL."
        case RedisTimeoutError():
            text = "Redis did not answer in time; try again."
        case RedisConnectionError() | OSError():
            text = "Redis cannot be reached; try again."
        case ResponseError():
            text = f"Redis refused a command: {error}"
        case _:
            text = f"Redis failed ({type(error).__name__}); try again."
    return RegistryUnavailable(text)
