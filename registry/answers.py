"""What a command led to, and what it had led to already: a caller that got no answer may ask again."""

import contextlib

import msgspec

from registry.appender import Appender
from registry.chain import events_back
from registry.entries import Position
from registry.errors import CommandReused, CorruptEntry
from registry.events import TenantEvent, is_removal
from registry.inputs import Registration
from registry.log import TenantLog
from registry.planner import Planner, Status
from registry.state import Live, Quarantined, Removed, Tenant


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


class FirstAnswers:
    """Finds the answer that a command got when it was carried out.

    Args:
        log: Where a tenant's events are.
        appender: Finds a command among a tenant's last ones.
        planner: Tells whether it was the same command.
    """

    def __init__(self, log: TenantLog, appender: Appender, planner: Planner) -> None:
        self._log = log
        self._appender = appender
        self._planner = planner

    async def find(self, tenant: Tenant, command_id: str, registration: Registration | None) -> Result | None:
        """Return the first answer if the command was carried out before; None if it was not.

        Args:
            tenant: As of its head.
            command_id: The caller's.
            registration: What the command asks for; None for a removal.

        Raises `CommandReused` if it was another command, and `RegistryUnavailable`. May be cancelled.
        """
        last = await self._last(tenant, command_id, registration)
        if last:
            return last
        found = await self._appender.find(command_id, tenant.position, 0)
        if found is None:
            return None
        if not await self._planner.led_to(found.event, registration):
            raise reused(command_id)
        status = await self._status_of(found.event)
        return Result(status=status, version=found.event.version, position=found.position)

    async def _last(self, tenant: Tenant, command_id: str, registration: Registration | None) -> Result | None:
        """Return the first answer to the tenant's last command: the tenant tells of it, also when its entry is gone."""
        if isinstance(tenant, Quarantined) or tenant.command_id != command_id:
            return None
        if not await self._planner.led_to(tenant, registration):
            raise reused(command_id)
        return Result(status=_status_as(tenant), version=tenant.version, position=tenant.position)

    async def _status_of(self, event: TenantEvent) -> Status:
        if is_removal(event):
            return "removed"
        if event.previous is None:
            return "registered"
        with contextlib.suppress(CorruptEntry):  # the event before may be gone; this one was carried out all the same
            async for before in events_back(self._log, event.previous):
                return "registered" if is_removal(before.event) else "replaced"
        return "replaced"


def reused(command_id: str) -> CommandReused:
    """Return what tells a caller that the id names another command."""
    return CommandReused(f"Command {command_id} was used before with other content; use a fresh id.")


def _status_as(tenant: Live | Removed) -> Status:
    """Return what the event did that made the tenant what it is."""
    if isinstance(tenant, Removed):
        return "removed"
    return "registered" if tenant.born == tenant.changed_at else "replaced"
