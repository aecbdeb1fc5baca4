"""Whether a Redis may hold the log: what its INFO says of version, role, eviction and persistence.

INFO alone is read: managed services do not allow CONFIG. It tells whether there is an append-only file, and not how
often that is synced.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from registry.errors import RegistryUnavailable
from registry.redis_client import RedisClient

Info: TypeAlias = Mapping[str, Any]

_NO_EVICTION: Final = "CONFIG SET maxmemory-policy noeviction, and maxmemory-policy noeviction in redis.conf"
_APPEND_ONLY: Final = "CONFIG SET appendonly yes, and appendonly yes in redis.conf"
_LEAST: Final = {"Redis": (7, 0), "Valkey": (8, 0)}


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a Redis.

    Attributes:
        level: Whether the log may not be there at all, or may be lost one day.
        what: What is wrong, as a sentence without its full stop.
        setting: What to change.
    """

    level: Literal["refuse", "warn"]
    what: str
    setting: str


async def inspect(redis: RedisClient) -> list[Finding]:
    """Look at every primary and return what is wrong, each thing once.

    Raises `RegistryUnavailable` when one does not answer, and `CommandRefused` when INFO is not permitted.
    """
    infos: Sequence[Info] = await redis.on_every_primary("INFO")
    if not redis.fixed and not all(_is_primary(info) for info in infos):
        # Whoever finds primaries by asking was told an old one, and will be told better.
        raise RegistryUnavailable("The primary of this Redis is changing; try again.")
    return list(dict.fromkeys(finding for info in infos for finding in findings(info)))


def findings(info: Info) -> list[Finding]:
    """Return what is wrong with a server, by its INFO as the client parses it. What it does not tell is not wrong."""
    found = (_of_version(info), _of_role(info), _of_eviction(info), _of_persistence(info))
    return [finding for finding in found if finding is not None]


def _of_version(info: Info) -> Finding | None:
    # Valkey tells the Redis that it is compatible with, beside its own version.
    valkey = info.get("valkey_version")
    name, version = ("Valkey", valkey) if valkey else ("Redis", info.get("redis_version", ""))
    least = _LEAST[name]
    numbers = tuple(int(word) for word in str(version).split(".")[:2] if word.isdecimal())
    if len(numbers) < len(least) or numbers >= least:
        return None
    needed = ".".join(map(str, least))
    return Finding("refuse", f"this is {name} {version}", f"upgrade it to {needed} or newer")


def _of_role(info: Info) -> Finding | None:
    if _is_primary(info):
        return None
    return Finding(
        "refuse",
        "this server is a replica (role:slave), which takes no writes or loses them",
        "name the primary in REDIS_URL, or write redis+sentinel:// to have it looked up",
    )


def _is_primary(info: Info) -> bool:
    return bool(info.get("role", "master") == "master")


def _of_eviction(info: Info) -> Finding | None:
    policy = str(info.get("maxmemory_policy", ""))
    if policy.startswith("allkeys-"):
        return Finding("refuse", f"maxmemory-policy is {policy}, which evicts the whole log at once", _NO_EVICTION)
    if policy.startswith("volatile-"):
        what = f"maxmemory-policy is {policy}, which evicts what protects tenants' keys from late writers"
        return Finding("warn", what, _NO_EVICTION)
    return None


def _of_persistence(info: Info) -> Finding | None:
    if info.get("aof_enabled", 1):
        return None
    what = "there is no append-only file (aof_enabled:0), so a restart forgets what the last snapshot did not hold"
    return Finding("warn", what, _APPEND_ONLY)
