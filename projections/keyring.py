"""The tenants' wrapped data keys, kept so that a pool can open a connection while Redis is away.

What is kept here opens nothing without the master key; passwords are opened one at a time, for one connection, and not
kept at all.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from projections.pages import in_pages
from registry.errors import SecretUnreadable
from registry.log import TenantLog
from registry.secrets import DataKey, MasterKeys, Secret, data_key_id, master_of
from registry.state import Live, Tenant

_PAGE: Final = 1000
_BREATH: Final = 200
"""Keys that are tried before others have a turn: a millisecond."""
_PAUSE: Final = 0.005
"""Seconds of that turn: nobody waits for this."""


class Keyring:
    """Wrapped data keys by tenant, as the log last told them."""

    def __init__(self, log: TenantLog, master: MasterKeys) -> None:
        self._log = log
        self._master = master
        self._wrapped: dict[str, str] = {}

    async def refresh(self, tenants: Sequence[Tenant]) -> None:
        """Fetch the keys of tenants that changed. Raises `RegistryUnavailable`; may be cancelled and repeated."""
        for page in in_pages(tenants, _PAGE):
            found = await self._log.data_keys([tenant.tenant for tenant in page])
            for tenant, wrapped in zip(page, found, strict=True):
                self._take(tenant, wrapped)

    def wrapped(self, tenant: Live) -> str | None:
        """Return the tenant's data key as it is stored, if it is the one that sealed the tenant's secret."""
        wrapped = self._wrapped.get(tenant.tenant)
        return wrapped if wrapped and tenant.secret and data_key_id(wrapped) == tenant.secret.key else None

    async def password(self, tenant: Live) -> Secret | None:
        """Open the tenant's password; None if it has none. Raises `SecretUnreadable` or `RegistryUnavailable`."""
        secret = tenant.secret
        if secret is None:
            return None
        key = await self._known(tenant)
        if key is None:
            # Another key since, or the same under another master key.
            await self.refresh([tenant])
            key = await self._fetched(tenant)
        return key.open(tenant.tenant, tenant.config.login, secret)

    async def require_one(self) -> None:
        """Raise `SecretUnreadable` if there are keys and none opens; `RegistryUnavailable` where that is not known.

        Then the master key is another installation's, and what it would seal nobody else could open. As a rule the
        first that is tried opens: who starts need not wait until all are.
        """
        error: SecretUnreadable | None = None
        for tenant_id in self._to_try():
            wrapped = self._wrapped.get(tenant_id)
            if wrapped is None:
                continue  # it has gone meanwhile
            try:
                await self._master.unwrap(tenant_id, wrapped)
            except SecretUnreadable as cause:
                error = cause
            else:
                return
        if error:
            raise SecretUnreadable(
                f"The master keys of {self._master.where} open none of the {len(self._wrapped)} data keys in Redis: "
                "the tenants were registered with another key. Name the right one there. "
                f"({error.message})"
            )

    async def check(self) -> list[str]:
        """Try every data key, a few at a time; return the tenants whose key does not open, by id.

        Where the master keys are elsewhere, one data key of each is tried, and of others only whether there is their
        master key. Raises what `require_one` does. May be cancelled.
        """
        await self.require_one()
        unreadable = []
        for number, tenant_id in enumerate(self._to_try()):
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(_PAUSE)
            try:
                if tenant_id in self._wrapped:  # it may have gone meanwhile
                    await self._master.unwrap(tenant_id, self._wrapped[tenant_id])
            except SecretUnreadable:
                unreadable.append(tenant_id)
        if unreadable and self._master.remote:
            lost = {master_of(self._wrapped[each]) for each in unreadable if each in self._wrapped}
            unreadable = [each for each, wrapped in self._wrapped.items() if master_of(wrapped) in lost]
        return sorted(unreadable)

    def _to_try(self) -> list[str]:
        """Return whose keys are tried: everybody's, or one under each master key where those are elsewhere."""
        if not self._master.remote:
            return list(self._wrapped)
        return list({master_of(wrapped): tenant_id for tenant_id, wrapped in self._wrapped.items()}.values())

    def _take(self, tenant: Tenant, wrapped: str | None) -> None:
        # Invariant: the key that opens what is held is not given up for none or another one: the log may have lost it.
        fits = (
            wrapped is not None
            and isinstance(tenant, Live)
            and tenant.secret
            and data_key_id(wrapped) == tenant.secret.key
        )
        if isinstance(tenant, Live) and self.wrapped(tenant) and not fits:
            return
        if wrapped is None:
            self._wrapped.pop(tenant.tenant, None)
        else:
            self._wrapped[tenant.tenant] = wrapped

    async def _known(self, tenant: Live) -> DataKey | None:
        """Return the data key that sealed the tenant's secret, if what is kept opens."""
        wrapped = self.wrapped(tenant)
        try:
            return await self._master.unwrap(tenant.tenant, wrapped) if wrapped else None
        except SecretUnreadable:
            return None

    async def _fetched(self, tenant: Live) -> DataKey:
        wrapped = self._wrapped.get(tenant.tenant)
        if wrapped is None:
            raise SecretUnreadable(f"Tenant {tenant.tenant!r} has no data key any more; register it again.")
        return await self._master.unwrap(tenant.tenant, wrapped)
