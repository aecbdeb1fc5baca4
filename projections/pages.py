"""Long lists in pages, so that neither Redis nor the event loop is held up by all of one at once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def in_pages(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Yield the items in order, `size` at a time and what is left in the end; nothing of an empty list."""
    return (items[start : start + size] for start in range(0, len(items), size))
