"""Looking once at the Redis that holds the log, as soon as it answers: what would lose the log is refused."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from registry.errors import CommandRefused, RegistryUnavailable, UnsafeRedis
from registry.redis_client import RedisClient
from registry.redis_safety import Finding, inspect

_PATIENCE: Final = 1.0
"""Seconds that a start waits for it: Redis may be away then."""
_ALLOW: Final = "To go on all the same, say --allow-unsafe-redis (MCP_POSTGRES_ALLOW_UNSAFE_REDIS=1)."


class RedisCheck:
    """Call it whenever Redis is there (again): it looks until it has seen, and does nothing from then on.

    Args:
        redis: What is looked at.
        allow_unsafe: Say what would be refused, and go on.
    """

    def __init__(self, redis: RedisClient, *, allow_unsafe: bool) -> None:
        self._redis = redis
        self._allow_unsafe = allow_unsafe
        self._done = False
        self._logger = structlog.get_logger("redis")

    async def __call__(self) -> None:
        """Look. Raises `UnsafeRedis`, and `RegistryUnavailable` when Redis does not answer. May be cancelled."""
        if self._done:
            return
        try:
            found = await inspect(self._redis)
        except CommandRefused as error:
            self._logger.warning("redis not checked", reason=error.message)
            found = []
        refused = [finding for finding in found if finding.level == "refuse"]
        if refused and not self._allow_unsafe:
            raise UnsafeRedis(_sentence(refused))
        for finding in found:
            self._logger.warning("redis is not safe", what=finding.what, change=finding.setting)
        self._done = True

    async def at_start(self) -> None:
        """Look, if Redis answers at once. Raises `UnsafeRedis`."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self()
        except (RegistryUnavailable, TimeoutError):
            return


def _sentence(refused: Sequence[Finding]) -> str:
    told = "; ".join(f"{finding.what} (to mend it: {finding.setting})" for finding in refused)
    return f"This Redis must not hold the log: {told}. {_ALLOW}"
