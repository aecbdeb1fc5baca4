"""The write side's shell: load, decide, append, and try again when somebody else was faster.

A call returns when its event is in the log, the tenant's key is materialised, and this replica serves the new state.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from registry import codec, decide
from registry.appender import Appender
from registry.errors import CommandReused, CorruptEntry, LogDiverged, RegistryUnavailable, VersionConflict
from registry.events import SealedSecret, TenantEvent, TenantRegistered
from registry.inputs import Registration
from registry.log import (
    START,
    Appended,
    Conflict,
    DestroyKey,
    Diverged,
    Head,
    KeepKey,
    KeyChange,
    Outcome,
    Position,
    Proposal,
    Repeated,
    Reused,
    SetKey,
    TenantLog,
)
from registry.names import check_tenant_id
from registry.secrets import DataKey, MasterKeys
from registry.state import Live, Removed, Tenant, evolve

_ROUNDS: Final = 16
"""How often a decision is made anew when other writers of the same tenant were faster."""

Status: TypeAlias = Literal["registered", "replaced", "unchanged", "removed"]


class ReadSide(Protocol):
    """What the write side needs to know of the fold."""

    @property
    def position(self) -> Position:
        """How far the log is folded."""

    async def refresh(self, tenant_id: str) -> Tenant | None:
        """Fold up to the tenant's head and return the tenant. Raises `RegistryUnavailable` or `LogDiverged`."""

    async def reached(self, seq: int) -> bool:
        """Wait, bounded, until the fold includes entry number `seq`; return whether it does."""


class Materialiser(Protocol):
    """Writes a tenant's key; older states never overwrite newer ones."""

    async def materialise(self, tenant: Tenant) -> bool:
        """Write or delete the key; return whether this state was not older than what was there."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who commands and why, as the audit history will tell it."""

    actor: str
    reason: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a command led to.

    Attributes:
        status: What happened.
        version: The tenant's version now.
        position: Where in the log that version stands.
        served: Whether this replica serves it already; False only when its own tail is late.
    """

    status: Status
    version: int
    position: Position
    served: bool = True


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, ready to be appended."""

    event: TenantEvent
    status: Status
    key: KeyChange
    digest: str


class TenantRegistry:
    """Registers and removes tenants.

    Every method may be cancelled: the command then has happened whole or not at all. Every method raises
    `RegistryUnavailable` when Redis does not answer, and `LogDiverged` when the log is not the one this replica knows.

    Args:
        log: Where events go.
        view: The fold of the same log.
        keys: Where tenants are materialised.
        master: What wraps data keys.
        now: The clock.
        new_id: Fresh ids for events and commands.
    """

    def __init__(
        self,
        *,
        log: TenantLog,
        view: ReadSide,
        keys: Materialiser,
        master: MasterKeys,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._log = log
        self._appender = Appender(log)
        self._view = view
        self._keys = keys
        self._master = master
        self._now = now
        self._new_id = new_id

    async def register(
        self, tenant_id: str, registration: Registration, caller: Caller, *, expected_version: int | None = None
    ) -> Result:
        """Make the tenant be what `registration` says. The same again appends nothing and says `unchanged`.

        Raises `InvalidInput` for a malformed id and `VersionConflict` if the tenant is not at `expected_version`
        (0: never registered).
        """
        check_tenant_id(tenant_id)
        command_id = self._new_id()
        for _ in range(_ROUNDS):
            tenant = await self._view.refresh(tenant_id)
            decide.check_version(tenant_id, tenant, expected_version)
            plan = await self._plan_registration(tenant_id, tenant, registration, caller, command_id)
            if isinstance(plan, decide.Unchanged):
                await self._materialise(plan.tenant)
                return Result(status="unchanged", version=plan.tenant.version, position=plan.tenant.position)
            result = await self._carry_out(tenant, plan)
            if result:
                return result
        raise _contended(tenant_id)

    async def remove(self, tenant_id: str, caller: Caller, *, expected_version: int | None = None) -> Result:
        """End the tenant and destroy its data key.

        Raises `UnknownTenant`, `RemovedTenant`, and `VersionConflict` as `register` does.
        """
        check_tenant_id(tenant_id)
        command_id = self._new_id()
        for _ in range(_ROUNDS):
            tenant = await self._view.refresh(tenant_id)
            if isinstance(tenant, Removed):
                # The retry of a removal that was cut short after its event: see it through before saying so.
                await self._materialise(tenant)
            decide.require_live(tenant_id, tenant)
            decide.check_version(tenant_id, tenant, expected_version)
            event = decide.remove(tenant_id, tenant, self._origin(caller, command_id))
            result = await self._carry_out(
                tenant, _Plan(event=event, status="removed", key=DestroyKey(), digest=f"remove:{event.version}")
            )
            if result:
                return result
        raise _contended(tenant_id)

    async def _plan_registration(
        self, tenant_id: str, tenant: Tenant | None, registration: Registration, caller: Caller, command_id: str
    ) -> _Plan | decide.Unchanged:
        key, change = await self._data_key(tenant_id, tenant)
        kept = _same_secret(tenant, registration, key)
        if isinstance(tenant, Live) and decide.is_unchanged(tenant, registration.config, same_secret=kept is not None):
            return decide.Unchanged(tenant)
        secret = kept.secret if kept else _seal(tenant_id, decide.next_version(tenant), registration, key)
        event = decide.register(tenant_id, tenant, registration.config, secret, self._origin(caller, command_id))
        digest = key.digest(_content(tenant_id, registration))
        return _Plan(
            event=event, status="replaced" if isinstance(tenant, Live) else "registered", key=change, digest=digest
        )

    async def _data_key(self, tenant_id: str, tenant: Tenant | None) -> tuple[DataKey, KeyChange]:
        """Return the live tenant's own data key, or a new one: a tenant that comes back never gets its old key."""
        if isinstance(tenant, Live):
            (wrapped,) = await self._log.data_keys([tenant_id])
            if wrapped is not None:
                return self._master.unwrap(tenant_id, wrapped), KeepKey()
        key, wrapped = self._master.new_data_key(tenant_id)
        return key, SetKey(wrapped)

    async def _carry_out(self, tenant: Tenant | None, plan: _Plan) -> Result | None:
        """Append the plan's event and see it through. None when the tenant has moved on: decide again."""
        outcome = await self._appender.append(self._proposal(tenant, plan))
        position = self._position_of(outcome, tenant, plan.event)
        if position is None:
            return None
        await self._materialise(evolve(tenant, plan.event, position))
        served = await self._view.reached(position.seq)
        return Result(status=plan.status, version=plan.event.version, position=position, served=served)

    def _proposal(self, tenant: Tenant | None, plan: _Plan) -> Proposal:
        event = plan.event
        return Proposal(
            tenant=event.tenant,
            expected=tenant.position.seq if tenant else 0,
            after=self._view.position,
            type=codec.type_of(event),
            data=codec.encode(event),
            head=Head(
                position=START,
                version=event.version,
                alive=isinstance(event, TenantRegistered),
                event_id=event.event_id,
                command_id=event.command_id,
                digest=plan.digest,
            ),
            key=plan.key,
        )

    def _position_of(self, outcome: Outcome, tenant: Tenant | None, event: TenantEvent) -> Position | None:
        match outcome:
            case Appended(position):
                return position
            case Repeated(head):
                return head.position
            case Conflict(head):
                _check_head(tenant, head)
                return None
            case Reused():
                raise CommandReused(f"Command {event.command_id} was used before with other content; use a fresh id.")
            case Diverged(end):
                raise LogDiverged(
                    f"The log ends at {end or 'nothing'} and does not hold {self._view.position}, up to which this "
                    "replica has read it; nothing was written. Restore the log, or restart this replica on the new one."
                )

    async def _materialise(self, tenant: Tenant) -> None:
        """Write the key. Idempotent and fenced, so one retry is safe; the event is in the log whatever happens here."""
        try:
            await self._keys.materialise(tenant)
        except RegistryUnavailable:
            await self._keys.materialise(tenant)

    def _origin(self, caller: Caller, command_id: str) -> decide.Origin:
        return decide.Origin(
            actor=caller.actor,
            reason=caller.reason,
            time=self._now(),
            event_id=self._new_id(),
            command_id=command_id,
        )


class _Kept(msgspec.Struct, frozen=True):
    """The tenant's present secret goes on, whatever it is."""

    secret: SealedSecret | None


def _same_secret(tenant: Tenant | None, registration: Registration, key: DataKey) -> _Kept | None:
    """Return the tenant's secret if it is what `registration` brings: an unchanged password recycles no connection."""
    if not isinstance(tenant, Live):
        return None
    if tenant.secret is None or registration.password is None:
        return _Kept(None) if tenant.secret is None and registration.password is None else None
    if tenant.secret.key != key.id:
        return None
    return _Kept(tenant.secret) if key.open(tenant.tenant, tenant.secret) == registration.password else None


def _check_head(tenant: Tenant | None, head: Head | None) -> None:
    """Raise `CorruptEntry` if the head is behind what the log told: then no decision can ever match it."""
    if tenant and (head is None or head.position.seq < tenant.position.seq):
        raise CorruptEntry(
            f"The head of tenant {tenant.tenant!r} is missing or behind the log ({tenant.position}): somebody changed "
            "the heads by hand. Put it back as the log tells it; nothing was written."
        )


def _seal(tenant_id: str, version: int, registration: Registration, key: DataKey) -> SealedSecret | None:
    return key.seal(tenant_id, version, registration.password) if registration.password else None


def _content(tenant_id: str, registration: Registration) -> bytes:
    password = registration.password.reveal() if registration.password else None
    return json.dumps([tenant_id, msgspec.to_builtins(registration.config), password]).encode()


def _contended(tenant_id: str) -> VersionConflict:
    return VersionConflict(f"Other writers keep changing tenant {tenant_id!r}; look at it again and decide anew.")
