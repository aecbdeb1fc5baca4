"""The log as the rest of the system sees it: what is proposed, what came of that, and the protocol every log keeps.

What it is made of is in `registry/entries.py`.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from registry.entries import Cut, Entry, Epoch, Foreign, Head, Position, Unreadable


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
        expected: The tenant's last sequence number as its head tells it, 0 for none, and None for a head that does not
            tell; anything else is a conflict.
        after: The position the writer has read up to: the log must still hold it.
        head: What becomes the tenant's head; the log fills in its position.
        key: What happens to the tenant's data key in the same step.
        alone: Not if a tenant whose id differs from this one in case alone was registered behind `after`.
        restated: It says again what was lost: the command that led to it is no command now, whatever the head says.
    """

    tenant: str
    expected: int | None
    after: Position
    type: str
    data: bytes
    head: Head
    key: KeyChange
    alone: bool = False
    restated: bool = False


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
    """The tenant's head is not as the writer expects it; nothing was appended."""

    head: Head | Unreadable | None


class Twin(msgspec.Struct, frozen=True):
    """A tenant of this id, differing in case alone, is new in the log; nothing was appended."""

    tenant: str


class Diverged(msgspec.Struct, frozen=True):
    """The log does not hold the position the writer has read; nothing was appended, by this try."""

    end: Position | None


Outcome: TypeAlias = Appended | Repeated | Reused | Conflict | Twin | Diverged


class TenantLog(Protocol):
    """An append-only log of tenant events with one head and one data key per tenant.

    Every method may be cancelled; a cancelled append may or may not have happened, and the same proposal may be sent
    again. Every method raises `RegistryUnavailable` when the store does not answer, and nothing else of its own.
    """

    async def create(self, type: str, data: bytes, epoch: str, *, anew: bool = False) -> Position | None:  # noqa: A002 - the field's name in the log
        """Make the first entry if there is no log. Return the log's end.

        None if it is gone and its heads are not, unless `anew`: then the heads stay as the orphans of the new log.
        """

    async def note(self, after: Position, type: str, data: bytes, *, opens: Epoch | None = None) -> Position | None:  # noqa: A002 - the field's name in the log
        """Append an entry about the log itself if `after` is its end; None if it is not.

        `opens`: the epoch that it opens, if any; where it is opened is the entry's own place.
        """

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        """Append each or say why not, in one atomic step with the tenant's head and data key; in order, one by one."""

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        """Return up to `limit` entries after `after`, oldest first; block up to `wait` seconds for the first one."""

    async def end(self) -> Position | None:
        """Return the position of the last entry ever appended, or None when there is no log."""

    async def cut(self) -> Cut:
        """Return the end, the epoch and all heads as of one instant."""

    async def epoch(self) -> Epoch | None:
        """Return which log this is; None where nothing says so."""

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry | Foreign | None]:
        """Return entries by their ids, in order; None for one that is not there."""

    async def before(self, entry: str) -> Entry | Foreign | None:
        """Return the last entry whose id is not behind `entry`."""

    async def heads(self, tenants: Sequence[str]) -> Sequence[Head | Unreadable | None]:
        """Return each tenant's head, in order; None for one that the log never heard of."""

    async def raw_heads(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """Return what stands as each tenant's head, in order and unread: for who compares it with what it was."""

    async def mend_head(self, tenant: str, head: Head, read: Position) -> bool:
        """Put back the head that the log tells of up to `read`, unless a later event in the log has changed it.

        Return whether it was done; it is not if the log does not hold `read`.
        """

    async def mark_epoch(self, epoch: Epoch) -> None:
        """Note which log this is, where that is not noted."""

    async def may_restore(self) -> bool:
        """Whether an operator has said that replicas which wait for one may restore the log."""

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        """Return the wrapped data key of each tenant, in order; None where there is none."""
