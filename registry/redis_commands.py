"""Where the keys stand in the commands that this system sends. A cluster's client has to know."""

from collections.abc import Sequence
from typing import Final

from registry.redis_node import Word

_KEYLESS: Final = frozenset(
    (
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL"),
        *("FLUSHDB", "INFO", "KEYS", "PING", "ROLE", "SCAN", "SCRIPT", "TIME", "WAIT"),
    )
)
_CONTAINERS: Final = frozenset({"XINFO", "XGROUP", "OBJECT", "MEMORY"})
"""Commands whose second word says what they do; it may stand in one string with the first."""


def key_of(words: Sequence[Word]) -> Word | None:
    """Return the first key of a command, or None if it has none."""
    command = words[0]
    name, *sub = (command.decode() if isinstance(command, bytes) else str(command)).upper().split()
    rest = words[1:]
    if name in _KEYLESS:
        return None
    if name in {"EVAL", "EVALSHA"}:
        return rest[2] if int(rest[1]) else None
    if name in {"XREAD", "XREADGROUP"}:
        return rest[[str(word).upper() for word in rest].index("STREAMS") + 1]
    if name in _CONTAINERS and not sub:
        rest = rest[1:]
    return rest[0] if rest else None
