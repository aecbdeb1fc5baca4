"""Keeps the tenants' keys equal to the fold while nothing else happens: what was edited, deleted or evicted is mended.

One replica at a time does so, by a lease in Redis: the work is the same whoever does it, and twice does no harm.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from projections.directory import Directory
from projections.tenant_keys import TenantKeys
from registry.errors import RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient
from registry.tally import Tally

_SHOWN: Final = 20
"""Ids in a log line."""


class Reconciler:
    """Compares and mends every `every` seconds, unless another replica did in that time.

    Args:
        redis, names: Where the lease is.
        keys: What is compared and mended.
        directory: What the keys should say.
        is_current: Whether the directory is up to date with the log; what another log says is not to be overwritten.
        owner: This replica's name, for whoever looks at the lease.
        every: Seconds between two looks, of all replicas together.
        tally: Where what was mended is counted.
    """

    def __init__(
        self,
        *,
        redis: RedisClient,
        names: Names,
        keys: TenantKeys,
        directory: Directory,
        is_current: Callable[[], bool],
        owner: str,
        every: float,
        tally: Tally | None = None,
    ) -> None:
        self._redis = redis
        self._names = names
        self._keys = keys
        self._directory = directory
        self._is_current = is_current
        self._owner = owner
        self._every = every
        self._tally = tally or Tally()
        self._logger = structlog.get_logger("reconciler")

    async def run(self) -> None:
        """Go on until cancelled. Redis being away is somebody else's to tell."""
        while True:
            await asyncio.sleep(self._every)
            try:
                if self._is_current() and await self._take_lease():
                    await self.mend()
            except RegistryUnavailable:
                continue
            except Exception:  # the supervising loop: the next look may do better, and nobody else would tell
                self._logger.exception("keys not compared")

    async def mend(self) -> list[str]:
        """Compare all keys now, mend those that differ, return their tenants' ids. Raises `RegistryUnavailable`."""
        mended = await self._keys.repair(tuple(self._directory.all()))
        self._tally.keys_repaired += len(mended)
        if mended:
            self._logger.warning("tenant keys repaired", count=len(mended), tenants=mended[:_SHOWN])
        return mended

    async def _take_lease(self) -> bool:
        """Take the lease for a little less than a round, so that it is free when the next one is due."""
        milliseconds = max(1, int(self._every * 900))
        return bool(await self._redis.run("SET", self._names.repair, self._owner, "NX", "PX", milliseconds))
