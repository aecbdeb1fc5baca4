"""Taking over an earlier system's keys while the server runs, and telling what became of them."""

import asyncio
from typing import Final

import structlog

from projections.follower import Follower
from registry.adoption import Adopted, adopt
from registry.errors import LogDiverged, RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient
from registry.service import TenantRegistry

_PAUSE: Final = 1.0
"""Seconds between two tries while Redis does not answer or the log waits for an operator."""
_SHOWN: Final = 20
"""Ids in a log line."""


async def adopt_once(redis: RedisClient, names: Names, follower: Follower, registry: TenantRegistry) -> None:
    """Take the keys over as soon as the registry is read and Redis lets us. Raises nothing; may be cancelled."""
    await follower.complete()
    adopted = Adopted([], {})
    logger = structlog.get_logger("adoption")
    while True:
        try:
            await adopt(redis, names, follower, registry, adopted)
            break
        except (RegistryUnavailable, LogDiverged):
            await asyncio.sleep(_PAUSE)
        except Exception:  # a supervised task: nobody awaits it, so what broke is told here or nowhere
            logger.exception("keys not adopted")
            break
    if adopted.tenants:
        logger.info("plain keys adopted", count=len(adopted.tenants), tenants=adopted.tenants[:_SHOWN])
    for tenant_id, reason in adopted.refused.items():
        logger.warning("key not adopted", tenant=tenant_id[:80], reason=reason)
