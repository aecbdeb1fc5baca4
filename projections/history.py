"""The audit history: what happened to one tenant, read from the log itself."""

from registry.chain import Recorded, events_back
from registry.log import TenantLog
from registry.state import Tenant


async def history_of(log: TenantLog, tenant: Tenant, limit: int) -> list[Recorded]:
    """Return the tenant's last `limit` events, newest first. Raises `RegistryUnavailable` and `CorruptEntry`."""
    told: list[Recorded] = []
    async for recorded in events_back(log, tenant.position.entry):
        told.append(recorded)
        if len(told) == limit:
            break
    return told
