"""Which tenants a caller sees: those that are theirs. The others are not there, however the question is put."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from projections.directory import Directory
from projections.follower import Follower
from projections.roster import beginning_with
from registry.decide import require_live
from registry.names import check_tenant_id
from registry.state import Live, Tenant
from server.principal import Principal

_KEPT: Final = 16
"""Sets of globs of which it is kept what they fit."""


class Sight:
    """The fold's tenants, as each caller sees them."""

    def __init__(self, follower: Follower, directory: Directory) -> None:
        self._follower = follower
        self._directory = directory
        self._seen_in: Sequence[str] = ()
        self._seen: dict[tuple[str, ...], Sequence[str]] = {}

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

    def ids(self, principal: Principal, prefix: str = "") -> Sequence[str]:
        """Return the ids of the caller's live tenants that begin with `prefix`, in order; a snapshot.

        Raises what `Follower.require_ready` raises.
        """
        self._follower.require_ready()
        ids = self._mine(principal)
        if not prefix:
            return ids  # a page of 100,000 is not worth a copy of all
        span = beginning_with(prefix, ids)
        return ids[span.start : span.stop]

    def _mine(self, principal: Principal) -> Sequence[str]:
        """Return the ids of all of the caller's, looked through once for as long as nobody comes or goes."""
        ids = self._directory.roster.ids()
        if principal.touches_all:
            return ids
        if ids is not self._seen_in:
            self._seen_in, self._seen = ids, {}
        mine = self._seen.get(principal.tenants)
        if mine is None:
            spans = (beginning_with(each, ids) for each in principal.beginnings())
            mine = [ids[at] for span in spans for at in span if principal.touches(ids[at])]
            if len(self._seen) == _KEPT:
                self._seen.clear()
            self._seen[principal.tenants] = mine
        return mine

    def containing(self, principal: Principal, sought: str) -> Iterator[str]:
        """Yield the ids of the caller's live tenants that have `sought` in them, in order and whatever the case.

        Raises as `ids` does.
        """
        if principal.touches_all:
            self._follower.require_ready()
            return self._directory.roster.containing(sought)
        lower = sought.lower()
        return (each for each in self.ids(principal) if lower in each.lower())

    def live(self, ids: Iterable[str]) -> list[Live]:
        """Return the tenants of ids that `ids` returned just now."""
        return list(self._directory.live_of(ids))


def page_of(ids: Sequence[str], after: str | None, limit: int) -> tuple[Sequence[str], bool]:
    """Return the first `limit` of the ordered ids behind `after`, and whether there are more."""
    begin = 0 if after is None else bisect_right(ids, after)
    return ids[begin : begin + limit], len(ids) > begin + limit
