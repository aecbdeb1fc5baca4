"""What happened in this process since it started, counted: for whoever shows it."""

from typing import Final

import msgspec

OUTCOMES: Final = ("caught_up", "resynchronised", "log_shortened", "log_replaced", "log_gone", "restored")
"""What a look at the log can lead to when it does not simply go on."""


class Tally(msgspec.Struct, kw_only=True):
    """Counts that only go up. Whoever makes something happen adds to them; nobody decides by them.

    Attributes:
        appended: Events this replica added to the log.
        repeated: Commands that were carried out before and got the first answer.
        conflicts: Appends refused because the tenant had moved on.
        append_retries: Appends sent again after a lost reply.
        keys_repaired: Tenants' keys that differed from the log and were written anew.
        heads_repaired: Heads that differed from the log and were written anew.
        quarantined: Events whose body could not be read, so that their tenant was set aside.
        outcomes: How often each of `OUTCOMES`, or another one, came about.
    """

    appended: int = 0
    repeated: int = 0
    conflicts: int = 0
    append_retries: int = 0
    keys_repaired: int = 0
    heads_repaired: int = 0
    quarantined: int = 0
    outcomes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    def note(self, outcome: str) -> None:
        """Count one outcome."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
