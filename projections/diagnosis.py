"""What has become of the log since it was read last: the named answers, and how they are found.

Redis is silent when what a reader has read was trimmed, deleted, flushed, evicted or lost in a failover: it returns the
next entry, or nothing for ever. Here the silence is taken apart.
"""

import enum

from projections.directory import Directory
from registry.entries import Entry, Foreign, Position, entry_order
from registry.log import TenantLog


class Finding(enum.StrEnum):
    """What a look at the log tells a replica that has read up to a position."""

    CAUGHT_UP = "caught_up"
    """The log holds the position, and what comes next links to it."""
    RESYNCHRONISED = "resynchronised"
    """Entries behind the position were taken out; the log goes on past it. Heads and keys tell what they said."""
    LOG_SHORTENED = "log_shortened"
    """The log ends before the position, or went another way behind an earlier one: entries were lost."""
    LOG_REPLACED = "log_replaced"
    """It is another log, begun since."""
    LOG_GONE = "log_gone"
    """There is none."""

    @property
    def is_loss(self) -> bool:
        """Whether the log may have lost what was read from it."""
        return self in {Finding.LOG_SHORTENED, Finding.LOG_REPLACED, Finding.LOG_GONE}


async def diagnose(log: TenantLog, directory: Directory) -> tuple[Finding, Position | None]:
    """Compare the log with what `directory` was folded from; return what was found, and where the log ends.

    Raises `RegistryUnavailable`. May be cancelled.
    """
    position = directory.position
    end = await log.end()
    if end is None:
        return Finding.LOG_GONE, None
    if end == position:
        return Finding.CAUGHT_UP, end
    if await _is_another(log, directory):
        return Finding.LOG_REPLACED, end
    if end.seq <= position.seq:
        return Finding.LOG_SHORTENED, end
    following = next(iter(await log.read(position, 1)), None)
    if isinstance(following, Foreign) or (following and following.follows(position)):
        return Finding.CAUGHT_UP, end  # what is foreign is for the fold to refuse
    before = await log.before(position.entry)
    elsewhere = _went_elsewhere(before, following, position, end)
    return (Finding.LOG_SHORTENED if elsewhere else Finding.RESYNCHRONISED), end


async def _is_another(log: TenantLog, directory: Directory) -> bool:
    """Whether the log was begun after the one that was read, if anything says so."""
    ours = directory.as_of.epoch
    noted = await log.epoch() if ours.is_known else None
    return noted is not None and noted.is_known and noted.begun != ours.begun


def _went_elsewhere(before: Entry | Foreign | None, following: Entry | None, position: Position, end: Position) -> bool:
    """Whether the log ever had the entry at `position`, as far as its neighbours tell.

    `before` is the last entry not behind the position's id, `following` the first one behind it.
    """
    if isinstance(before, Entry) and before.position == position:
        return False
    if following is None:
        # Nothing is left behind the position; an end of a higher number and a lower id was never there.
        return entry_order(end.entry) < entry_order(position.entry)
    if following.position.seq <= position.seq:
        return True
    return isinstance(before, Entry) and following.prev == before.position.entry
