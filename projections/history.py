"""The audit history: what happened to one tenant, read from the log itself."""

import contextlib
import re
from collections.abc import Sequence
from typing import Final

from registry import codec
from registry.chain import Recorded, events_back
from registry.entries import Entry
from registry.errors import CompactedAway, CorruptEntry
from registry.events import TenantRegistered, TenantRemoved, TenantRestated
from registry.log import TenantLog

_ENTRY: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)
"""An id of a stream's entry; larger numbers Redis does not take."""


async def history_of(log: TenantLog, last: str, limit: int) -> list[Recorded]:
    """Return `limit` of a tenant's events, from the entry `last` back; fewer where the log begins behind them.

    Raises `RegistryUnavailable` and `CorruptEntry`.
    """
    told: list[Recorded] = []
    with contextlib.suppress(CompactedAway):
        async for recorded in events_back(log, last):
            told.append(recorded)
            if len(told) == limit:
                break
    return told


async def is_entry_of(log: TenantLog, tenant_id: str, entry: str) -> bool:
    """Whether that is an event of the tenant's, or was before what the log still has. Raises `RegistryUnavailable`."""
    if not _ENTRY.fullmatch(entry):
        return False
    (found,) = await log.entries([entry])
    if found is None:
        return await log.before(entry) is None
    if not isinstance(found, Entry):
        return False
    with contextlib.suppress(CorruptEntry):  # another tenant's, for all that is known
        event = codec.decode(found)
        return isinstance(event, TenantRegistered | TenantRemoved | TenantRestated) and event.tenant == tenant_id
    return False


def is_cut(told: Sequence[Recorded], limit: int) -> bool:
    """Whether there was more than what `history_of` has told with that limit, and the log has it no more."""
    return len(told) < limit and not (told and told[-1].event.previous is None)
