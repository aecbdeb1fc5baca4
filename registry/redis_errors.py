"""What a failed command means: for its caller, and for the connections it came over."""

import os
import socket
from collections.abc import Sequence
from ssl import SSLError
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
    TryAgainError,
)

from registry.errors import CommandRefused, RegistryUnavailable


class NoServer(RedisConnectionError):
    """There is no server to send a command to; the text is ours and may be shown."""


_LOST: Final = (RedisConnectionError, RedisTimeoutError, OSError, ReadOnlyError, ClusterDownError)
_TLS: Final = (
    "TLS with Redis failed: its certificate is not trusted or is another host's, it wants one of ours, or it speaks no "
    "TLS; check the ssl_ options of REDIS_URL."
)
_UNBLOCKED: Final = "UNBLOCKED"
_NO_REPLICAS: Final = "NOREPLICAS"
_NO_HELLO: Final = ("unknown command 'HELLO'", "unknown command `HELLO`")
_ARGUMENTS: Final = ", with args beginning with"
"""What Redis puts before the arguments of a command that it does not know; HELLO's hold the password."""
_OUT_OF_MEMORY: Final = (
    "Redis takes no more writes: it has used all of its maxmemory. Raise that (CONFIG SET maxmemory), or free memory "
    "there; once it takes writes, mcp-postgres log compact shortens the log."
)
_TOLD: Final[Sequence[tuple[type[Exception] | tuple[type[Exception], ...] | str, str]]] = (
    (AuthenticationError, "Redis wants a user and password, or other ones; put them into REDIS_URL."),
    (BusyLoadingError, "Redis is loading its data; try again."),
    (RedisTimeoutError, "Redis did not answer in time; try again."),
    (
        ReadOnlyError,
        (
            "This Redis is a read-only replica: the primary has moved, or REDIS_URL names a replica. Try again; if it "
            "stays so, name the primary, or write redis+sentinel:// to have it looked up."
        ),
    ),
    (ClusterDownError, "The Redis cluster has no primary for this key (CLUSTERDOWN or MASTERDOWN); try again."),
    (
        (AskError, TryAgainError),
        (
            "The key's slot is on its way to another server of the Redis cluster; try again. (If REDIS_URL says "
            "redis:// and the server is part of a cluster, write redis+cluster://.)"
        ),
    ),
    (_UNBLOCKED, "Redis became a replica while it was waited for; try again."),
    (_NO_REPLICAS, "Redis refuses writes while too few replicas follow it (min-replicas-to-write); try again."),
)
"""What failures mean that may pass by themselves: by class, or by the code that the server's answer begins with."""


def is_lost(error: Exception) -> bool:
    """Whether another connection, or another server, may do better: what is idle is let go, the primary looked up.

    That includes a primary that is none any more: it answers, and refuses what is written or unblocks what waits.
    """
    return _is(error, _LOST) or _is(error, _UNBLOCKED)


def unavailable(error: Exception) -> RegistryUnavailable:
    """Say what a failed command means for the caller. Never repeats what the URL holds, nor where servers are."""
    if _is_of_tls(error):
        return RegistryUnavailable(_TLS)
    if isinstance(error, NoServer):
        return RegistryUnavailable(str(error))
    told = next((told for kind, told in _TOLD if _is(error, kind)), None)
    if told is not None:
        return RegistryUnavailable(told)
    if isinstance(error, RedisConnectionError | OSError):
        why = _why_unreached(error)
        return RegistryUnavailable(f"Redis cannot be reached{f' ({why})' if why else ''}; try again.")
    if isinstance(error, ResponseError):
        return _refused(error)
    return RegistryUnavailable(f"Redis failed ({type(error).__name__}); try again.")


def _refused(error: ResponseError) -> CommandRefused:
    said, _, _ = str(error).partition(_ARGUMENTS)
    if isinstance(error, NoPermissionError):
        return CommandRefused(f"Redis does not let this server's user do what it needs ({said}); check its ACL.")
    if isinstance(error, OutOfMemoryError):
        return CommandRefused(_OUT_OF_MEMORY)
    if said in _NO_HELLO:
        return CommandRefused(
            "This server does not know HELLO: it is too old (Redis 7.0 or Valkey 8 is needed), or it was renamed."
        )
    return CommandRefused(f"Redis refused a command: {said}")


def _why_unreached(error: BaseException | None) -> str | None:
    """Return what the system says is at the bottom of it, without the address that its own message may have."""
    if error is None:
        return None
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return _why_unreached(error.__cause__ or error.__context__)


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether TLS is at the bottom of it: the library says that a connection failed, and on the way from what."""
    return error is not None and (isinstance(error, SSLError) or _is_of_tls(error.__cause__ or error.__context__))


def _is(error: Exception, kind: type[Exception] | tuple[type[Exception], ...] | str) -> bool:
    if isinstance(kind, str):
        return isinstance(error, ResponseError) and str(error).startswith(kind)
    return isinstance(error, kind)
