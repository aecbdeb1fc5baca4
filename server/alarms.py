"""What a replica tells its operators in the log without being asked."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from projections.keyring import Keyring
from registry.errors import RegistryUnavailable, SecretUnreadable
from registry.state import Quarantined, Tenant

_SHOWN: Final = 20
"""Ids in a log line."""


def tell_quarantined(tenants: Sequence[Tenant]) -> int:
    """Log which of the tenants cannot be used; return how many."""
    quarantined = [tenant for tenant in tenants if isinstance(tenant, Quarantined)]
    for tenant in quarantined:
        structlog.get_logger("replica").error("tenant quarantined", tenant=tenant.tenant, reason=tenant.reason)
    return len(quarantined)


class KeyAlarm:
    """Tells whose data keys do not open, each time when the replica has become ready: nobody waits for that."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._due = asyncio.Event()

    async def begin(self) -> None:
        """Try keys before the replica is ready; raises what `Keyring.require_one` does."""
        await self._keyring.require_one()
        self._due.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        logger = structlog.get_logger("replica")
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                unreadable = await self._keyring.check()
            except (SecretUnreadable, RegistryUnavailable):
                continue  # who needs a key is told; and the follower, when it looks again
            except Exception:  # a supervised loop: nobody awaits it, so what broke is told here or nowhere
                logger.exception("data keys not tried")
                continue
            if unreadable:
                logger.error("data keys that do not open", count=len(unreadable), tenants=unreadable[:_SHOWN])
