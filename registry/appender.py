"""Where an event is appended: once, however often its reply is lost.

A lost reply leaves open whether the event is in the log. The same proposal is sent once more: its command's id lets the
log tell a repetition from a second command, and where somebody else has been faster, the tenant's events tell.
"""

import contextlib
from typing import Final

from registry.chain import Recorded, events_back
from registry.errors import CorruptEntry, RegistryUnavailable
from registry.log import Appended, Conflict, Outcome, Position, Proposal, TenantLog

REMEMBERED: Final = 32
"""How many of a tenant's last commands are known again when they are repeated."""


class Appender:
    """Appends to one log. May be cancelled: the event is then in the log whole or not at all."""

    def __init__(self, log: TenantLog) -> None:
        self._log = log

    async def append(self, proposal: Proposal) -> Outcome:
        """Append, or say why not; `RegistryUnavailable` if even the second try got no reply."""
        try:
            return await self._log.append(proposal)
        except RegistryUnavailable:
            outcome = await self._log.append(proposal)
        if isinstance(outcome, Conflict) and outcome.head:
            # The first try may have been appended and overtaken: then the head tells of the other's command alone.
            found = await self.find(proposal.head.command_id, outcome.head.position, proposal.expected)
            return Appended(found.position) if found else outcome
        return outcome

    async def find(self, command_id: str, last: Position, after: int) -> Recorded | None:
        """Look for a command among a tenant's events, from its `last` back to the one behind entry number `after`.

        Looks at no more than `REMEMBERED` of them, and not past one that cannot be read. Raises `RegistryUnavailable`.
        """
        looked_at = 0
        with contextlib.suppress(CorruptEntry):
            async for recorded in events_back(self._log, last.entry):
                if recorded.position.seq <= after or looked_at == REMEMBERED:
                    return None
                if recorded.event.command_id == command_id:
                    return recorded
                looked_at += 1
        return None
