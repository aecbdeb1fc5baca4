"""The log as the rest of the system sees it: positions, entries, proposals, and the protocol every log keeps.

Rules: nothing here does I/O. An entry links to the one before it by `prev` and `seq`; a reader accepts no other.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from registry.errors import InvalidInput

_POSITION = re.compile(r"(\d{1,18})@(\d{1,20}-\d{1,20})\Z")


class Position(msgspec.Struct, frozen=True, gc=False):
    """A place in the log: how many entries lie up to it, and the id of the last of them.

    Both, because ids tell logs apart and the count does not, while only the count shows a hole.
    """

    seq: int
    entry: str

    def __str__(self) -> str:
        """Return the token that answers carry, e.g. `12@1763856000000-0`."""
        return f"{self.seq}@{self.entry}"

    @classmethod
    def parse(cls, token: str) -> "Position":
        """Read a token; `InvalidInput` when it is none."""
        match = _POSITION.match(token)
        if match is None:
            raise InvalidInput(f"{token[:80]!r} is no position; give one as an answer printed it, e.g. '12@1763856-0'.")
        return cls(int(match[1]), match[2])


START: Final = Position(0, "0-0")
"""Before the first entry."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry as the log stores it: the envelope is read, the body is not yet."""

    position: Position
    prev: str
    type: str
    data: bytes

    def follows(self, position: Position) -> bool:
        """Whether nothing lies between `position` and this entry."""
        return self.prev == position.entry and self.position.seq == position.seq + 1


class Foreign(msgspec.Struct, frozen=True, gc=False):
    """An entry without a readable envelope: nobody who writes through this package wrote it."""

    entry: str
    why: str


class Head(msgspec.Struct, frozen=True, gc=False):
    """The last event of one tenant, as the append script keeps it.

    `command_id` and `digest` say which command led to it, so that its retry gets the first answer.
    """

    position: Position
    version: int
    alive: bool
    event_id: str
    command_id: str
    digest: str


class KeepKey(msgspec.Struct, frozen=True):
    """The tenant's data key stays as it is."""


class SetKey(msgspec.Struct, frozen=True):
    """The tenant gets this wrapped data key."""

    wrapped: str


class DestroyKey(msgspec.Struct, frozen=True):
    """The tenant's data key goes, and with it every secret that it sealed."""


KeyChange: TypeAlias = KeepKey | SetKey | DestroyKey


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a writer wants appended, and what it was decided on.

    Attributes:
        tenant: Whose event it is.
        expected: The tenant's last sequence number as the writer knows it, 0 for none; anything else is a conflict.
        after: The position the writer has read up to: the log must still hold it.
        head: What becomes the tenant's head; the log fills in its position.
        key: What happens to the tenant's data key in the same step.
    """

    tenant: str
    expected: int
    after: Position
    type: str
    data: bytes
    head: Head
    key: KeyChange


class Appended(msgspec.Struct, frozen=True):
    """The event is in the log."""

    position: Position


class Repeated(msgspec.Struct, frozen=True):
    """This very command was appended before; nothing was appended now."""

    head: Head


class Reused(msgspec.Struct, frozen=True):
    """The tenant's last command has this id and other content; nothing was appended."""

    head: Head


class Conflict(msgspec.Struct, frozen=True):
    """The tenant has moved on since the writer read it; nothing was appended."""

    head: Head | None


class Diverged(msgspec.Struct, frozen=True):
    """The log does not hold the position the writer has read; nothing was appended."""

    end: Position | None


Outcome: TypeAlias = Appended | Repeated | Reused | Conflict | Diverged


class TenantLog(Protocol):
    """An append-only log of tenant events with one head and one data key per tenant.

    Every method may be cancelled; a cancelled append may or may not have happened, and the same proposal may be sent
    again. Every method raises `RegistryUnavailable` when the store does not answer; `append` and `head` raise
    `CorruptEntry` when a head cannot be read; nothing else of their own.
    """

    async def create(self, type: str, data: bytes) -> Position | None:  # noqa: A002 - the field's name in the log
        """Make the first entry if there is no log. Return the log's end; None if it is gone and its heads are not."""

    async def append(self, proposal: Proposal) -> Outcome:
        """Append, or say why not, in one atomic step with the tenant's head and data key."""

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        """Return up to `limit` entries after `after`, oldest first; block up to `wait` seconds for the first one."""

    async def end(self) -> Position | None:
        """Return the position of the last entry ever appended, or None when there is no log."""

    async def entry(self, entry: str) -> Entry | Foreign | None:
        """Return one entry by its id."""

    async def head(self, tenant: str) -> Head | None:
        """Return the tenant's head, or None if the log never heard of the tenant."""

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        """Return the wrapped data key of each tenant, in order; None where there is none."""
