"""One at a time what a log does for many."""

from registry.entries import Entry, Foreign, Head, Unreadable
from registry.log import Outcome, Proposal, TenantLog


async def append_one(log: TenantLog, proposal: Proposal) -> Outcome:
    """Append one proposal, or say why not."""
    (outcome,) = await log.append([proposal])
    return outcome


async def head_in(log: TenantLog, tenant: str) -> Head | None:
    """Return one tenant's head."""
    (head,) = await log.heads([tenant])
    assert not isinstance(head, Unreadable)
    return head


async def entry_in(log: TenantLog, entry: str) -> Entry | Foreign | None:
    """Return one entry."""
    (found,) = await log.entries([entry])
    return found
