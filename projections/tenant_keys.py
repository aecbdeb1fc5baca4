"""Where an event becomes a key: `<prefix>:tenant:<id>`, one readable JSON document per live tenant.

Anyone may write a state here, as often as they like: a fence beside each key keeps older states from overwriting newer
ones, and the same state written twice is the same bytes.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from projections.pages import in_pages
from registry.entries import AsOf
from registry.fences import is_false
from registry.names import Names
from registry.redis_client import RedisClient, Script, Word
from registry.redis_log import RedisLog
from registry.state import Live, Quarantined, Tenant
from registry.stored import document_of

FENCE_AFTER_REMOVAL: Final = timedelta(days=1)
"""How long a removal's fence stays: far longer than any replica can be frozen and still come back with an old state."""

_MATERIALISE: Final = Script("projections", "materialise.lua")
_UNFENCE: Final = Script("projections", "unfence.lua")
_PAGE: Final = 200


class TenantKeys:
    """The tenants' keys in Redis. Every method raises `RegistryUnavailable`, and may be cancelled and repeated.

    Args:
        redis, names: Where the keys are, and the log that they follow from.
    """

    def __init__(self, redis: RedisClient, names: Names) -> None:
        self._redis = redis
        self._names = names
        self._log = RedisLog(redis, redis, names)

    async def materialise(self, tenant: Tenant, as_of: AsOf) -> bool:
        """Write the live tenant's document, or delete the removed one's; return False if a later state is there.

        A quarantined tenant's key is left as it is: what should stand there is what cannot be read.
        """
        return isinstance(tenant, Quarantined) or bool(await self._write([tenant], as_of))

    async def documents(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """Return what stands under each tenant's key, in order."""
        return await self._redis.get_many([self._names.tenant(tenant) for tenant in tenants])

    async def repair(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:
        """Compare the keys with `tenants` and write those that differ; return the ids of the tenants mended.

        Args:
            tenants: What the keys should say.
            as_of: What was read when they were found so.
        """
        mended = []
        known = [tenant for tenant in tenants if not isinstance(tenant, Quarantined)]
        for page in in_pages(known, _PAGE):
            await asyncio.sleep(0)  # calls go first
            found = await self.documents([tenant.tenant for tenant in page])
            differing = [tenant for tenant, text in zip(page, found, strict=True) if differs(tenant, text)]
            written = await self._write(differing, as_of)
            mended += written
            if len(written) < len(differing):
                mended += await self.unblock([each for each in differing if each.tenant not in written], as_of)
        return mended

    async def write_all(self, tenants: Sequence[Tenant], as_of: AsOf) -> None:
        """Write every state and its fence, of removed tenants too, as far as nothing later is there."""
        for page in in_pages(tenants, _PAGE):
            await self._write(page, as_of)

    async def false_fences(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[tuple[Tenant, bytes]]:
        """Return whose keys are kept from being written by a state that the log has lost, and the fence that does.

        In a cluster the log's server may fall back by itself; the fences stay.
        """
        fences = await self._redis.get_many([self._names.fence(tenant.tenant) for tenant in tenants])
        # Invariant: the end is looked up after the fences, or one that is set meanwhile would seem to be beyond it.
        end = await self._log.end()
        if end is None:
            return []
        return [
            (tenant, fence)
            for tenant, fence in zip(tenants, fences, strict=True)
            if fence and is_false(fence, tenant, as_of, end)
        ]

    async def unfence(self, fences: Sequence[tuple[Tenant, bytes]]) -> list[str]:
        """Take fences away that are still as they were seen; return whose they were."""
        calls = [([self._names.fence(tenant.tenant)], [fence]) for tenant, fence in fences]
        gone = await self._redis.scripts(_UNFENCE, calls)
        return [tenant.tenant for (tenant, _), done in zip(fences, gone, strict=True) if done]

    async def unblock(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:
        """Write states also where a fence tells of what the log has lost; return whose could be written.

        `as_of` must be what is read now: a late writer would take a later state for one that was lost.
        """
        await self.unfence(await self.false_fences(tenants, as_of))
        return await self._write(tenants, as_of)

    async def _write(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:
        """Write the states that are not older than what is there; return whose they are."""
        writable = [tenant for tenant in tenants if not isinstance(tenant, Quarantined)]
        written = await self._redis.scripts(_MATERIALISE, [self._words(tenant, as_of) for tenant in writable])
        return [tenant.tenant for tenant, done in zip(writable, written, strict=True) if done]

    def _words(self, tenant: Tenant, as_of: AsOf) -> tuple[list[str], list[Word]]:
        life = int(FENCE_AFTER_REMOVAL.total_seconds() * 1000)
        words: list[Word] = [as_of.epoch.opened, tenant.position.seq, written_for(tenant), life]
        return [self._names.tenant(tenant.tenant), self._names.fence(tenant.tenant)], words


def differs(tenant: Tenant, text: bytes | None) -> bool:
    """Whether something else is under the tenant's key: of a removed one, that it is empty and not gone."""
    return text != (written_for(tenant) or None)


def written_for(tenant: Tenant) -> bytes:
    """Return what stands under the tenant's key; nothing for one that is not live."""
    return document_of(tenant) if isinstance(tenant, Live) else b""
