"""Counts of what happened in this process since it started, for metrics and status."""

import msgspec


class Tally(msgspec.Struct, kw_only=True):
    """Counts that only go up. The code that does a thing counts it; nothing is decided by these numbers.

    Attributes:
        appended: Events this replica added to the log.
        repeated: Commands that were carried out before and got the first answer.
        conflicts: Appends refused because the tenant had moved on.
        diverged: Appends refused because the log did not hold what this replica had read.
        append_retries: Appends sent again after a lost reply.
        keys_repaired: Tenants' keys that differed from the log and were written anew.
        heads_repaired: Heads that differed from the log and were written anew.
        quarantined: Events whose body could not be read, so that their tenant was set aside.
        restorations: Times that this replica said again what the log had lost.
        restated: Tenants it said again.
    """

    appended: int = 0
    repeated: int = 0
    conflicts: int = 0
    diverged: int = 0
    append_retries: int = 0
    keys_repaired: int = 0
    heads_repaired: int = 0
    quarantined: int = 0
    restorations: int = 0
    restated: int = 0
