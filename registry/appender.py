"""Where an event is appended: once, however often its reply is lost.

A lost reply leaves open whether the event is in the log. The same proposal is sent once more: its command's id lets the
log tell a repetition from a second command, and where somebody else has been faster, the tenant's events tell.
"""

from registry import codec
from registry.errors import RegistryUnavailable
from registry.events import TenantRegistered, TenantRemoved
from registry.log import Appended, Conflict, Entry, Head, Outcome, Proposal, TenantLog


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
            return await self._find(proposal, outcome.head) or outcome
        return outcome

    async def _find(self, proposal: Proposal, head: Head) -> Appended | None:
        """Look for the proposal's event between the tenant's head and the state that it was decided on."""
        position, at = head.position, head.position.entry
        while position.seq > proposal.expected:
            entry = await self._log.entry(at)
            event = codec.decode(entry) if isinstance(entry, Entry) else None
            if not isinstance(entry, Entry) or not isinstance(event, TenantRegistered | TenantRemoved):
                return None
            position = entry.position
            if event.command_id == proposal.head.command_id:
                return Appended(position)
            if event.previous is None:
                return None
            at = event.previous
        return None
