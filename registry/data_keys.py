"""All tenants' wrapped data keys in Redis, for who wraps them anew."""

from collections.abc import Sequence
from typing import Final

import msgspec

from registry.names import Names
from registry.redis_client import RedisClient, Script, Word

_REWRAP: Final = Script("registry", "rewrap.lua")


class Rewrapped(msgspec.Struct, frozen=True):
    """One data key as it was read, and the same wrapped anew."""

    tenant: str
    before: str
    after: str


class DataKeys:
    """The data keys of one log. Every method raises `RegistryUnavailable` and may be cancelled.

    Args:
        redis: A client whose timeout leaves Redis time for 100,000 keys at once, for whoever asks for all.
        names: What the keys are called.
    """

    def __init__(self, redis: RedisClient, names: Names) -> None:
        self._redis = redis
        self._names = names

    async def all(self) -> dict[str, str]:
        """Return each tenant's wrapped data key."""
        found = await self._redis.run("HGETALL", self._names.data_keys)
        return {tenant.decode(errors="replace"): raw.decode(errors="replace") for tenant, raw in found.items()}

    async def replace(self, keys: Sequence[Rewrapped], stamp: str) -> int:
        """Put keys in the place of what was read, where that is still there; return how many were.

        `stamp` is what `last_rewrapped` tells afterwards. Sent again after a lost reply it changes nothing.
        """
        words: list[Word] = [stamp]
        for key in keys:
            words += (key.tenant, key.before, key.after)
        return sum(await self._redis.script(_REWRAP, [self._names.data_keys, self._names.rotation], words))

    async def last_rewrapped(self) -> str | None:
        """Return a word that is another one each time data keys were wrapped anew; None if they never were."""
        raw = await self._redis.run("HGET", self._names.rotation, "last")
        return None if raw is None else raw.decode(errors="replace")
