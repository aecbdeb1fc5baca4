"""What the replicas last told of themselves, read from Redis with the age that Redis's own clock gives it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from projections.replicas import ReplicaState, read_line
from registry.names import Names
from registry.redis_client import RedisClient, Script

_REPLICAS: Final = Script("projections", "replicas.lua")


class Heartbeat(msgspec.Struct, frozen=True):
    """One field of the hash of replicas.

    Attributes:
        name: The field, unread.
        text: What stands there, unread.
        state: What it says; None if none of ours wrote it.
    """

    name: bytes
    text: bytes
    state: ReplicaState | None


async def heartbeats(redis: RedisClient, names: Names) -> Sequence[Heartbeat]:
    """Return every replica's last heartbeat, in no order, all as of one moment.

    Raises `RegistryUnavailable`; may be cancelled.
    """
    (seconds, microseconds), flat = await redis.script(_REPLICAS, [names.replicas], [])
    now = int(seconds) * 1000 + int(microseconds) // 1000
    return [Heartbeat(name, text, read_line(text, now)) for name, text in zip(flat[::2], flat[1::2], strict=True)]
