"""Which tenants a caller sees: those that are theirs. The others are not there, however the question is put."""

from projections.directory import Directory
from projections.follower import Follower
from registry.decide import require_live
from registry.names import check_tenant_id
from registry.state import Live, Tenant
from server.principal import Principal


class Sight:
    """The fold's tenants, as each caller sees them."""

    def __init__(self, follower: Follower, directory: Directory) -> None:
        self._follower = follower
        self._directory = directory

    async def tenant(self, tenant_id: str, principal: Principal) -> Tenant | None:
        """Return the tenant for use; None if the log never heard of it, or the caller may not touch it.

        Raises `InvalidInput` and what `Follower.tenant` raises. May be cancelled.
        """
        check_tenant_id(tenant_id)
        if principal.touches(tenant_id):
            return await self._follower.tenant(tenant_id)
        self._follower.require_ready()
        await self.pass_by(tenant_id)
        return None

    async def live_tenant(self, tenant_id: str, principal: Principal) -> Live:
        """Return the tenant for use; what `tenant` and `require_live` raise, with a hint where case alone is wrong."""
        tenant = await self.tenant(tenant_id, principal)
        if isinstance(tenant, Live):
            return tenant
        return require_live(tenant_id, tenant, twin=self.twin(tenant_id, principal))

    def twin(self, tenant_id: str, principal: Principal) -> str | None:
        """Return the id that was meant, if one of the caller's tenants differs from `tenant_id` in case alone."""
        twin = self._directory.twin_of(tenant_id)
        return twin if twin and principal.touches(twin) else None

    async def pass_by(self, tenant_id: str) -> None:
        """Go the way to a tenant that nobody ever registered: its time and its errors tell nothing of one hidden."""
        await self._follower.ask(tenant_id)

    def live(self, principal: Principal) -> list[Live]:
        """Return the caller's live tenants, by id. Raises what `Follower.require_ready` raises."""
        self._follower.require_ready()
        live = self._directory.live()
        return live if principal.touches_all else [tenant for tenant in live if principal.touches(tenant.tenant)]
