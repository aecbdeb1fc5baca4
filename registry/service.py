"""The write side's shell: load, decide, append, and try again when somebody else was faster.

A call returns when its event is in the log, the tenant's key is materialised, and this replica serves the new state, or
says that it does not yet.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from registry import codec, decide
from registry.answers import FirstAnswers, Result, reused
from registry.appender import Appender
from registry.entries import START, AsOf, Head, Position, Unreadable
from registry.errors import CorruptEntry, RegistryUnavailable, VersionConflict
from registry.events import TenantEvent
from registry.inputs import Registration
from registry.log import Appended, Conflict, Diverged, Outcome, Proposal, Repeated, Reused, TenantLog, Twin
from registry.names import check_command_id, check_tenant_id
from registry.planner import Caller, Plan, Planner
from registry.secrets import MasterKeys
from registry.signing import Signer
from registry.state import Live, Quarantined, Removed, Tenant, evolve
from registry.stored import proposed_head
from registry.tally import Tally

_ROUNDS: Final = 16
"""How often a decision is made anew when other writers of the same tenant were faster."""


class ReadSide(Protocol):
    """What the write side needs to know of the fold."""

    @property
    def as_of(self) -> AsOf:
        """How far the log is folded, and in which epoch."""

    def knows(self, tenant_id: str) -> bool:
        """Whether the fold has the tenant, live or not."""

    async def refresh(self, tenant_id: str) -> Tenant | None:
        """Fold up to the tenant's head and return the tenant. Raises `RegistryUnavailable` or `LogDiverged`."""

    async def reached(self, position: Position) -> bool:
        """Wait, bounded, until the fold includes `position`; return whether it does."""

    def twin_of(self, tenant_id: str) -> str | None:
        """Return the id of a tenant in the fold that differs from `tenant_id` in case alone, if there is one."""

    def tells(self, event: TenantEvent) -> bool:
        """Whether the fold's tenant is what `event` made of it, or a later one."""


class Materialiser(Protocol):
    """Writes a tenant's key; older states never overwrite newer ones."""

    async def materialise(self, tenant: Tenant, as_of: AsOf) -> bool:
        """Write or delete the key; return whether this state was not older than what was there."""

    async def unblock(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:
        """Write the keys also where what the log has lost was there; return whose could be written."""


class TenantRegistry:
    """Registers and removes tenants.

    Every method may be cancelled: the command then has happened whole or not at all. Every method raises
    `RegistryUnavailable` when Redis does not answer or the log is not the one this replica has read, and `LogDiverged`
    when it waits for an operator to restore it.

    Args:
        log: Where events go.
        view: The fold of the same log.
        keys: Where tenants are materialised.
        master: What wraps data keys.
        now: The clock.
        new_id: Fresh ids for events and commands.
        tally: Where what came of appends is counted.
        signer: Signs events, if they are signed here.
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
        tally: Tally | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._signer = signer or Signer()
        self._appender = Appender(log, tally)
        self._planner = Planner(log, master, now, new_id)
        self._answers = FirstAnswers(log, self._appender, self._planner)
        self._view = view
        self._keys = keys
        self._new_id = new_id

    async def register(
        self,
        tenant_id: str,
        registration: Registration,
        caller: Caller,
        *,
        expected_version: int | None = None,
        beside_twin: bool = False,
    ) -> Result:
        """Make the tenant be what `registration` says. The same again appends nothing and says `unchanged`.

        Raises `InvalidInput` for a malformed id, and, unless `beside_twin`, for one that would be new beside another
        that differs from it in case alone; `VersionConflict` if the tenant is not at `expected_version` (0: never
        registered).
        """
        check_tenant_id(tenant_id)
        command_id = self._command_id(caller)
        for _ in range(_ROUNDS):
            tenant, as_of = await self._known(tenant_id)
            repeated = await self._repeated(tenant, as_of, caller, registration)
            if repeated:
                return repeated
            decide.check_version(tenant_id, tenant, expected_version)
            if not beside_twin:
                decide.check_twin(tenant_id, tenant, self._view.twin_of(tenant_id))
            plan = await self._planner.registration(tenant_id, tenant, registration, caller, command_id)
            if isinstance(plan, decide.Unchanged):
                await self._materialise(plan.tenant, as_of)
                return Result(status="unchanged", version=plan.tenant.version, position=plan.tenant.position)
            alone = not beside_twin and not isinstance(tenant, Live | Quarantined)
            result = await self._carry_out(tenant, as_of, plan, alone=alone)
            if result:
                return result
        raise _contended(tenant_id)

    async def remove(self, tenant_id: str, caller: Caller, *, expected_version: int | None = None) -> Result:
        """End the tenant and destroy its data key.

        Raises `UnknownTenant`, `RemovedTenant`, and `VersionConflict` as `register` does.
        """
        check_tenant_id(tenant_id)
        command_id = self._command_id(caller)
        for _ in range(_ROUNDS):
            tenant, as_of = await self._known(tenant_id)
            repeated = await self._repeated(tenant, as_of, caller, None)
            if repeated:
                return repeated
            if isinstance(tenant, Removed):
                # The retry of a removal that was cut short after its event: see it through before saying so.
                await self._materialise(tenant, as_of)
            decide.require_present(tenant_id, tenant)
            decide.check_version(tenant_id, tenant, expected_version)
            plan = await self._planner.removal(tenant_id, tenant, caller, command_id)
            result = await self._carry_out(tenant, as_of, plan)
            if result:
                return result
        raise _contended(tenant_id)

    async def _known(self, tenant_id: str) -> tuple[Tenant | None, AsOf]:
        """Return the tenant as of its head, and what was read then."""
        # Invariant: there is no await between the two, so that they are of one moment.
        return await self._view.refresh(tenant_id), self._view.as_of

    async def _repeated(
        self, tenant: Tenant | None, as_of: AsOf, caller: Caller, registration: Registration | None
    ) -> Result | None:
        """Return the first answer if the caller's command was carried out before, and see that through."""
        if caller.command_id is None or tenant is None:
            return None
        first = await self._answers.find(tenant, caller.command_id, registration)
        if first:
            await self._materialise(tenant, as_of)
        return first

    def _command_id(self, caller: Caller) -> str:
        return self._new_id() if caller.command_id is None else check_command_id(caller.command_id)

    async def _carry_out(self, tenant: Tenant | None, as_of: AsOf, plan: Plan, *, alone: bool = False) -> Result | None:
        """Append the plan's event and see it through. None when the tenant has moved on: decide again.

        Invariant: `as_of` is of the fold that told `tenant`. A log that was restored meanwhile gives the tenant's
        number to something else; it does not hold that position, and takes nothing that was decided on it.
        """
        plan = msgspec.structs.replace(plan, event=self._signer.sign(plan.event, tenant))
        after = evolve(tenant, plan.event, START)
        proposal = msgspec.structs.replace(self._proposal(tenant, as_of.position, plan, after), alone=alone)
        outcome = await self._appender.append(proposal)
        position = self._position_of(outcome, tenant, as_of.position, plan.event)
        if position is None:
            return None
        await self._materialise(msgspec.structs.replace(after, position=position), as_of)
        # A log that was lost and restored meanwhile may have got as far without the event.
        served = await self._view.reached(position) and self._view.tells(plan.event)
        if self._view.as_of.epoch != as_of.epoch:
            # Somebody restored the log in between: what late writers have read since would get over our fence.
            await self._materialise_again(plan.event.tenant)
        return Result(status=plan.status, version=plan.event.version, position=position, served=served)

    def _proposal(self, tenant: Tenant | None, read: Position, plan: Plan, after: Tenant) -> Proposal:
        event = plan.event
        assert not isinstance(after, Quarantined)  # noqa: S101 - no event that is decided here leads to it
        return Proposal(
            tenant=event.tenant,
            expected=tenant.position.seq if tenant else 0,
            after=read,
            type=codec.type_of(event),
            data=codec.encode(event),
            head=proposed_head(after),
            key=plan.key,
        )

    def _position_of(
        self, outcome: Outcome, tenant: Tenant | None, read: Position, event: TenantEvent
    ) -> Position | None:
        match outcome:
            case Appended(position):
                return position
            case Repeated(head):
                # Another call with the same command was faster: its event is not ours, and the next round finds it.
                return head.position if head.event_id == event.event_id else None
            case Conflict(head):
                _check_head(tenant, head)
                return None
            case Reused():
                raise reused(event.command_id)
            case Twin(twin):
                raise decide.twin_taken(event.tenant, twin)
            case Diverged(end):
                raise RegistryUnavailable(
                    f"The log ends at {end or 'nothing'} and does not hold {read}, up to which this "
                    "replica has read it; the change is not in it. The replica is about to find out what happened to "
                    "the log; try again in a few seconds."
                )

    async def _materialise(self, tenant: Tenant, as_of: AsOf) -> None:
        """Write the key. Idempotent and fenced, so one retry is safe; the event is in the log whatever happens here."""
        try:
            written = await self._keys.materialise(tenant, as_of)
        except RegistryUnavailable:
            written = await self._keys.materialise(tenant, as_of)
        if not written:
            await self._unblock(tenant)

    async def _materialise_again(self, tenant_id: str) -> None:
        tenant, as_of = await self._known(tenant_id)
        if tenant:
            await self._materialise(tenant, as_of)

    async def _unblock(self, tenant: Tenant) -> None:
        """See why the key was not to be written: the tenant has moved on, or the log has lost what the fence tells."""
        current, as_of = await self._known(tenant.tenant)
        if current is None or current.position != tenant.position:
            return  # who wrote the later state sees it through
        if not await self._keys.unblock([current], as_of):
            raise RegistryUnavailable(
                f"The change of tenant {tenant.tenant!r} is in the log, at {tenant.position}; its key could not be "
                "written yet, because a state that this replica has not read is there. Try again."
            )


def _check_head(tenant: Tenant | None, head: Head | Unreadable | None) -> None:
    """Raise `CorruptEntry` if the head is none, or behind what the log told: then no decision can ever match it."""
    if isinstance(head, Unreadable):
        raise CorruptEntry(head.why)
    if tenant and (head is None or head.position.seq < tenant.position.seq):
        raise CorruptEntry(
            f"The head of tenant {tenant.tenant!r} is missing or behind the log ({tenant.position}): somebody changed "
            "the heads by hand. Put it back as the log tells it; nothing was written."
        )


def _contended(tenant_id: str) -> VersionConflict:
    return VersionConflict(f"Other writers keep changing tenant {tenant_id!r}; look at it again and decide anew.")
