"""What a follower says of what has become of the log: to the log, to operators, and to who is refused for it."""

from typing import Final

from projections.diagnosis import Finding
from registry.entries import START, Position

PUT_BACK: Final = (
    "Put it back from a backup, or let replicas that hold it say it again (mcp-postgres log restore); if it may be "
    "forgotten, empty what is left below the prefix."
)
MISFIT: Final = "The heads that this replica started from do not fit what came after; it replays the log instead."
KEEP: Final = (
    "Restore Redis, and do not restart the replicas before: they hold what the log has lost. Without a backup, let "
    "them say it again: mcp-postgres log restore."
)


def reason_of(finding: Finding, position: Position, end: Position | None, *, restores: bool) -> str:
    """Say what was found, and what comes of it."""
    held = "nothing" if position == START else f"what it read up to {position}"
    then = "It restores the log from what it holds." if restores else KEEP
    match finding:
        case Finding.LOG_GONE:
            return f"The log is gone; this replica still serves {held}. {then}"
        case Finding.LOG_REPLACED:
            return f"The log is another one, which ends at {end}; this replica still serves {held}. {then}"
        case Finding.LOG_SHORTENED:
            return f"The log ends at {end} and has lost entries; this replica still serves {held}. {then}"
        case Finding.RESYNCHRONISED | Finding.CAUGHT_UP:
            return f"Entries after {position} are in the log no more; heads and keys tell what they said."
