"""The log as the rest of the system sees it: positions, entries, proposals, and the protocol every log keeps.

Rules: nothing here does I/O. An entry links to the one before it by `prev` and `seq`; a reader accepts no other.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol, TypeAlias

import msgspec

from registry.errors import InvalidInput

_POSITION = re.compile(r"(\d{1,18})@(\d{1,20}-\d{1,20})\Z")
_EPOCH = re.compile(r"([^|]*)\|(\d+-\d+)\|(\d+-\d+)\Z")


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


def entry_order(entry: str) -> tuple[int, int]:
    """Return what an entry's id sorts by: as texts, 9-0 would come after 10-0."""
    milliseconds, _, count = entry.partition("-")
    return int(milliseconds), int(count)


class Head(msgspec.Struct, frozen=True, gc=False):
    """The last event of one tenant, as the append script keeps it: with its key, all that the event said.

    `command_id` and `digest` say which command led to it, so that its retry gets the first answer.

    Attributes:
        changed_at: When; None in heads written before it was kept there, as are the following.
        changed_by: Who.
        born: When the tenant's present life began; None for a removed one.
        mac: The event's, for the next one's.
        sum: Of the document under the tenant's key, so that an edited key is not taken for the tenant's word.
    """

    position: Position
    version: int
    alive: bool
    event_id: str
    command_id: str
    digest: str
    changed_at: datetime | None = None
    changed_by: str = ""
    born: datetime | None = None
    mac: str | None = None
    sum: str | None = None


class Unreadable(msgspec.Struct, frozen=True):
    """What stands where a tenant's head should and is none: somebody changed it by hand.

    Attributes:
        why: What is there.
        seq: The number of the tenant's last event, where it tells as much to who appends.
    """

    why: str
    seq: int | None = None


class Epoch(msgspec.Struct, frozen=True, gc=False):
    """Which log this is, and which stretch of it.

    Attributes:
        name: Random; of the last entry that opened an epoch: the log's creation, or a restoration.
        opened: That entry's id.
        begun: The id of the log's first entry; heads of earlier ones are what another log has left.
    """

    name: str
    opened: str
    begun: str

    def __str__(self) -> str:
        """Return it as it is noted beside the log, and in a compaction."""
        return f"{self.name}|{self.opened}|{self.begun}"

    @classmethod
    def parse(cls, text: str) -> "Epoch | None":
        """Read that; None for what somebody else wrote."""
        match = _EPOCH.match(text)
        return cls(*match.groups()) if match else None

    @property
    def is_known(self) -> bool:
        """Whether anything says which log it is."""
        return self.begun != START.entry

    def is_orphan(self, head: Head) -> bool:
        """Whether the head was written by a log that was there before this one."""
        return entry_order(head.position.entry) < entry_order(self.begun)


UNKNOWN: Final = Epoch("unknown", START.entry, START.entry)
"""Of a log that nothing notes and nothing in it names; before all others, and never noted itself."""


class AsOf(msgspec.Struct, frozen=True, gc=False):
    """What was read when a tenant was found as it is: the log up to `position`, in `epoch`.

    It goes with the tenant wherever that is written: by then the log may be in another epoch.
    """

    epoch: Epoch
    position: Position


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log ended at one instant, and every tenant's head then.

    `end` is None when there is no stream, `epoch` when nothing says which it is; a head that cannot be read is left out
    and named in `unreadable`.
    """

    end: Position | None
    epoch: Epoch | None
    heads: dict[str, Head]
    unreadable: tuple[str, ...] = ()


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
