"""What a command would append: the decision, the sealed secret, and what becomes of the tenant's data key."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from registry import decide
from registry.events import SealedSecret, TenantEvent
from registry.inputs import Registration
from registry.log import DestroyKey, KeepKey, KeyChange, SetKey, TenantLog
from registry.secrets import DataKey, MasterKeys
from registry.state import Live, Removed, Tenant

Status: TypeAlias = Literal["registered", "replaced", "unchanged", "removed"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who commands and why, as the audit history will tell it."""

    actor: str
    reason: str | None = None
    command_id: str | None = None
    """Given again with the same command, it gets the first answer and changes nothing."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, ready to be appended."""

    event: TenantEvent
    status: Status
    key: KeyChange


class Planner:
    """Makes plans for one log's tenants.

    Args:
        log: Where the tenants' data keys are.
        master: What wraps them.
        now: The clock.
        new_id: Fresh ids for events.
    """

    def __init__(
        self, log: TenantLog, master: MasterKeys, now: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._log = log
        self._master = master
        self._now = now
        self._new_id = new_id

    async def registration(
        self, tenant_id: str, tenant: Tenant | None, registration: Registration, caller: Caller, command_id: str
    ) -> Plan | decide.Unchanged:
        """Plan to make the tenant be what `registration` says. Raises `RegistryUnavailable` and `SecretUnreadable`."""
        key, change = await self._data_key(tenant_id, tenant, registration)
        kept = _same_secret(tenant, registration, key)
        if isinstance(tenant, Live) and decide.is_unchanged(tenant, registration.config, same_secret=kept is not None):
            return decide.Unchanged(tenant)
        secret = kept.secret if kept else _seal(tenant_id, decide.next_version(tenant), registration, key)
        origin = await self._origin(caller, command_id, _content(tenant_id, registration))
        event = decide.register(tenant_id, tenant, registration.config, secret, origin)
        event = msgspec.structs.replace(event, powers=registration.powers)
        return Plan(event=event, status="replaced" if isinstance(tenant, Live) else "registered", key=change)

    async def removal(self, tenant_id: str, tenant: Tenant | None, caller: Caller, command_id: str) -> Plan:
        """Plan to end the tenant. Raises `UnknownTenant`, `RemovedTenant` and `RegistryUnavailable`."""
        origin = await self._origin(caller, command_id, _content(tenant_id, None))
        event = decide.remove(tenant_id, tenant, origin)
        return Plan(event=event, status="removed", key=DestroyKey())

    async def led_to(self, said: TenantEvent | Live | Removed, registration: Registration | None) -> bool:
        """Whether this command (None: a removal) led to what is said; yes, too, if that can no longer be known."""
        return await self._master.is_digest_of(said.digest, _content(said.tenant, registration)) is not False

    async def _data_key(
        self, tenant_id: str, tenant: Tenant | None, registration: Registration
    ) -> tuple[DataKey | None, KeyChange]:
        """Return the live tenant's own data key, or a new one: a tenant that comes back never gets its old key.

        None where the password is elsewhere: then what an earlier registration sealed is not to be opened any more.
        """
        if registration.config.password_ref:
            return None, DestroyKey()
        if isinstance(tenant, Live):
            (wrapped,) = await self._log.data_keys([tenant_id])
            if wrapped is not None:
                return await self._master.unwrap(tenant_id, wrapped), KeepKey()
        key, wrapped = await self._master.new_data_key(tenant_id)
        return key, SetKey(wrapped)

    async def _origin(self, caller: Caller, command_id: str, content: bytes) -> decide.Origin:
        return decide.Origin(
            actor=caller.actor,
            reason=caller.reason,
            time=self._now(),
            event_id=self._new_id(),
            command_id=command_id,
            digest=await self._master.digest(content),
        )


class _Kept(msgspec.Struct, frozen=True):
    """The tenant's present secret goes on, whatever it is."""

    secret: SealedSecret | None


def _same_secret(tenant: Tenant | None, registration: Registration, key: DataKey | None) -> _Kept | None:
    """Return the tenant's secret if it is what `registration` brings: an unchanged password recycles no connection."""
    if not isinstance(tenant, Live):
        return None
    if tenant.secret is None or registration.password is None:
        return _Kept(None) if tenant.secret is None and registration.password is None else None
    if key is None or tenant.secret.key != key.id or tenant.config.login != registration.config.login:
        return None
    kept = key.open(tenant.tenant, tenant.config.login, tenant.secret)
    return _Kept(tenant.secret) if kept == registration.password else None


def _seal(tenant_id: str, version: int, registration: Registration, key: DataKey | None) -> SealedSecret | None:
    if key is None or registration.password is None:
        return None
    return key.seal(tenant_id, version, registration.config.login, registration.password)


def _content(tenant_id: str, registration: Registration | None) -> bytes:
    if registration is None:
        return json.dumps([tenant_id, "removal"]).encode()
    password = registration.password.reveal() if registration.password else None
    return json.dumps([tenant_id, msgspec.to_builtins(registration.config), password]).encode()
