"""The audit history: what happened to one tenant, read from the log itself."""

import contextlib
from collections.abc import Sequence

from registry.chain import Recorded, events_back
from registry.errors import CompactedAway
from registry.log import TenantLog
from registry.state import Tenant


async def history_of(log: TenantLog, tenant: Tenant, limit: int) -> list[Recorded]:
    """Return the tenant's last `limit` events, newest first; fewer where the log begins behind them.

    Raises `RegistryUnavailable` and `CorruptEntry`.
    """
    told: list[Recorded] = []
    with contextlib.suppress(CompactedAway):
        async for recorded in events_back(log, tenant.position.entry):
            told.append(recorded)
            if len(told) == limit:
                break
    return told


def is_cut(told: Sequence[Recorded], limit: int) -> bool:
    """Whether there was more than what `history_of` has told with that limit, and the log has it no more."""
    return len(told) < limit and not (told and told[-1].event.previous is None)
