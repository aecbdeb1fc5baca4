"""What a failed Redis command means for the caller."""

import errno
import socket

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from registry.redis_errors import unavailable
from tests.tables import table


@table(
    ("error", "says"),
    [
        (AuthenticationError("invalid username-password pair"), "into REDIS_URL"),
        (NoPermissionError("no permission for 'xadd'"), "no permission for 'xadd'"),
        (RedisTimeoutError("Timeout reading from redis.internal:6379"), "did not answer in time"),
        (RedisConnectionError("Error 111 connecting to redis.internal:6379"), "cannot be reached"),
        (BusyLoadingError("loading the dataset in memory"), "loading its data"),
        (ConnectionResetError("reset"), "cannot be reached"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), "CONFIG SET maxmemory"),
        (ReadOnlyError("You can't write against a read only replica."), "read-only replica"),
        (ResponseError("unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'pw' "), "know HELLO"),
        (ResponseError("unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, "), "know HELLO"),
        (InvalidResponse("protocol error"), "InvalidResponse"),
    ],
)
def test_every_failure_of_redis_is_retryable_and_says_what_happened(error: Exception, says: str) -> None:
    told = unavailable(error)

    assert says in told.message
    assert told.retryable


@table(
    ("cause", "why"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.9.8.7', 6379)"), "connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "redis.internal: Name or service not known"), "host name is not known"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/run/redis.internal"), "no such file"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('10.9.8.7', 6379)"), "reached; try again"),
    ],
)
def test_an_operator_reads_why_redis_is_not_reached_and_a_caller_not_where_it_is(cause: OSError, why: str) -> None:
    error = RedisConnectionError("Error connecting to redis.internal:6379")
    error.__context__ = cause

    told = unavailable(error).message

    assert why in told
    assert "10.9.8.7" not in told
    assert "redis.internal" not in told


def test_where_redis_is_stands_in_no_message() -> None:
    told = unavailable(RedisConnectionError("Error 111 connecting to redis.internal:6379"))

    assert "redis.internal" not in told.message
