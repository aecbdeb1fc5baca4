"""Which fences are false: they tell of states that the log has lost, and would keep a tenant's key from being written.

Rules: pure. A fence is `entry that opened the epoch|number of the state`, as `projections/materialise.lua` writes it.
Its state was in the log before: an end that is looked up after the fence includes that.
"""

import re
from typing import Final

from registry.entries import AsOf, Position, entry_order
from registry.state import Tenant

_FENCE: Final = re.compile(rb"(\d+-\d+)\|(\d+)\Z")


def is_false(fence: bytes | None, tenant: Tenant, as_of: AsOf, end: Position) -> bool:
    """Whether the fence keeps `tenant` out, and no state that the log told of can have set it.

    Args:
        fence: What stood there.
        tenant: As the log up to `as_of` tells of it.
        as_of: What of the log was read.
        end: Where the log ended, looked up after the fence was.
    """
    match = _FENCE.match(fence or b"")
    if match is None:
        return False
    opened, seq = entry_order(match[1].decode()), int(match[2])
    ours = entry_order(as_of.epoch.opened)
    if (opened, seq) <= (ours, tenant.position.seq):
        return False
    if seq > end.seq or opened > entry_order(end.entry):
        return True  # the log has not got that far
    if opened > entry_order(as_of.position.entry):
        return False  # of an epoch that may have been opened behind what was read
    # What was read has no such state of the tenant nor, unless it is ours, that epoch. Where ours is not known, a fence
    # of what was read gives way in any case.
    return seq <= as_of.position.seq or (as_of.epoch.is_known and opened != ours)
