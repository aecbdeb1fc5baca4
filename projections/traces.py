"""Whether anything says that there was a log where there is none.

Who begins one there keeps the old one from being put back, and shows those who wait for it another log.
"""

from collections.abc import AsyncIterator

import msgspec

from projections.replicas import StoredLine
from registry.adoption import tenant_keys
from registry.names import Names
from registry.redis_client import RedisClient


class _OwnDocument(msgspec.Struct):
    """A tenant's key as this system writes it: a plain one of the earlier system has no `seq`."""

    seq: int


async def trace_of_a_log(redis: RedisClient, names: Names) -> str | None:
    """Return what says that there was a log, in words; None if nothing does. Raises `RegistryUnavailable`."""
    if await redis.run("EXISTS", names.heads):
        return "what is left of its heads"
    for text in await redis.run("HVALS", names.replicas):
        name = _who_has_read(text)
        if name:
            return f"replica {name}, which has read it,"
    async for tenant in _fenced(redis, names):
        return f"the fence of tenant {tenant!r}"
    async for tenant in tenant_keys(redis, names):
        if await redis.run("TYPE", names.tenant(tenant)) == b"string" and _is_own(
            await redis.run("GET", names.tenant(tenant))
        ):
            return f"the key of tenant {tenant!r}"
    return None


def _who_has_read(text: bytes) -> str | None:
    """Return the name of the replica that a line is of, if it has read a log."""
    try:
        line = msgspec.json.decode(text, type=StoredLine)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line.name if line.log else None


def _is_own(document: bytes | None) -> bool:
    try:
        msgspec.json.decode(document or b"", type=_OwnDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


async def _fenced(redis: RedisClient, names: Names) -> AsyncIterator[str]:
    before, after = names.fence("*").split("*")
    async for key in redis.scan(names.fence("*")):
        yield key.decode("utf-8", "replace").removeprefix(before).removesuffix(after)
