"""The words that say before when a log is compacted."""

import re
from datetime import UTC, datetime
from typing import Final

from registry.entries import Position
from registry.errors import InvalidInput

_DURATION: Final = re.compile(r"(\d{1,6})([dhm])\Z")
_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000}


def when(text: str, now: int) -> int | Position:
    """Return a position, or a moment in milliseconds; `InvalidInput` for what is neither.

    Args:
        text: A position, a duration back from now (30d, 12h, 5m), a date, or a date and time; UTC if it says no other.
        now: In milliseconds of the clock that the log's entries have.
    """
    if "@" in text:
        return Position.parse(text)
    duration = _DURATION.match(text)
    if duration:
        return max(1, now - int(duration[1]) * _MILLISECONDS[duration[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:80]!r} is no position (12@1763860000000-0), duration (30d, 12h, 5m) or date (2026-01-31)."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(1, int(moment.timestamp() * 1000))
