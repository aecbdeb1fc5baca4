"""What was compared and found right, remembered as one hash for each few tenants, so that it is not compared again.

Rules: pure. To work out what should stand in Redis costs ten times as much as to see that nothing has changed since.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from registry.state import Live, Removed

GROUP: Final = 20
"""Tenants that share a number: one that changes has all of them compared anew, in a quarter of a millisecond."""

Group: TypeAlias = Sequence[Live | Removed]
Raw: TypeAlias = Sequence[bytes | None]


class Fitted:
    """Groups of tenants, by where they are in a row, as they were when they fitted, and what stood in Redis then."""

    def __init__(self) -> None:
        self._groups: dict[int, tuple[Group, int]] = {}

    def still(self, place: int, group: Group, heads: Raw, texts: Raw) -> bool:
        """Whether these very tenants fitted with these very bytes.

        The tenants are compared and not hashed: as a rule they are the same objects, which is told at once.
        """
        known = self._groups.get(place)
        return known is not None and known[1] == _mark(heads, texts) and known[0] == group

    def note(self, place: int, group: Group, heads: Raw, texts: Raw) -> None:
        """Keep that they fit."""
        self._groups[place] = group, _mark(heads, texts)


def _mark(heads: Raw, texts: Raw) -> int:
    return hash((*heads, *texts))
