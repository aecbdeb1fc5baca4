"""Where an event becomes a key: `<prefix>:tenant:<id>`, one readable JSON document per live tenant.

Anyone may write a state here, as often as they like: a fence beside each key keeps older states from overwriting newer
ones, and the same state written twice is the same bytes.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from registry.names import Names
from registry.redis_client import RedisClient, Script
from registry.state import Live, Quarantined, Tenant

FENCE_AFTER_REMOVAL: Final = timedelta(days=1)
"""How long a removal's fence stays: far longer than any replica can be frozen and still come back with an old state."""

_MATERIALISE: Final = Script("projections", "materialise.lua")
_PAGE: Final = 500


class TenantKeys:
    """The tenants' keys in Redis. Every method raises `RegistryUnavailable`, and may be cancelled and repeated."""

    def __init__(self, redis: RedisClient, names: Names) -> None:
        self._redis = redis
        self._names = names

    async def materialise(self, tenant: Tenant) -> bool:
        """Write the live tenant's document, or delete the removed one's; return False if a later state is there.

        A quarantined tenant's key is left as it is: what should stand there is what cannot be read.
        """
        if isinstance(tenant, Quarantined):
            return False
        written = await self._redis.script(
            _MATERIALISE,
            [self._names.tenant(tenant.tenant), self._names.fence(tenant.tenant)],
            [tenant.position.seq, document_of(tenant), int(FENCE_AFTER_REMOVAL.total_seconds() * 1000)],
        )
        return bool(written)

    async def repair(self, tenants: Sequence[Tenant]) -> list[str]:
        """Compare the keys with `tenants` and write those that differ; return the ids of the tenants mended."""
        mended = []
        known = [tenant for tenant in tenants if not isinstance(tenant, Quarantined)]
        for start in range(0, len(known), _PAGE):
            await asyncio.sleep(0)  # calls go first: nobody waits for this
            page = known[start : start + _PAGE]
            found = await self._redis.get_many([self._names.tenant(tenant.tenant) for tenant in page])
            for tenant, document in zip(page, found, strict=True):
                if document != (document_of(tenant) or None) and await self.materialise(tenant):
                    mended.append(tenant.tenant)
        return mended


def document_of(tenant: Tenant) -> bytes:
    """Return what stands under the tenant's key; nothing for a removed one. Equal states give equal bytes."""
    return msgspec.json.encode(tenant.document) if isinstance(tenant, Live) else b""
