"""What a replica tells its operators in the log without being asked."""

from collections.abc import Sequence
from typing import Final

import structlog

from projections.keyring import Keyring
from registry.state import Quarantined, Tenant

_SHOWN: Final = 20
"""Ids in a log line."""


def tell_quarantined(tenants: Sequence[Tenant]) -> int:
    """Log which of the tenants cannot be used; return how many."""
    quarantined = [tenant for tenant in tenants if isinstance(tenant, Quarantined)]
    for tenant in quarantined:
        structlog.get_logger("replica").error("tenant quarantined", tenant=tenant.tenant, reason=tenant.reason)
    return len(quarantined)


async def check_keys(keyring: Keyring) -> None:
    """Log whose data keys do not open; raises `SecretUnreadable` if none does, and `RegistryUnavailable`."""
    unreadable = await keyring.check()
    if unreadable:
        logger = structlog.get_logger("replica")
        logger.error("data keys that do not open", count=len(unreadable), tenants=unreadable[:_SHOWN])
