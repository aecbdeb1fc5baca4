"""What a log is made of: positions, entries, heads and epochs.

Rules: nothing here does I/O. An entry links to the one before it by `prev` and `seq`; a reader accepts no other.
"""

import re
from datetime import datetime
from typing import Final

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


def entry_id(entry: Entry | Foreign) -> str:
    """Return the id under which Redis keeps the entry, whoever wrote it."""
    return entry.position.entry if isinstance(entry, Entry) else entry.entry


def entry_order(entry: str) -> tuple[int, int]:
    """Return what an entry's id sorts by: as texts, 9-0 would come after 10-0."""
    milliseconds, _, count = entry.partition("-")
    return int(milliseconds), int(count)


class Head(msgspec.Struct, frozen=True, gc=False):
    """The last event of one tenant, as the append script keeps it. Head and tenant key together say all that it said.

    `command_id` and `digest` say which command led to it, so that its retry gets the first answer.

    Attributes:
        changed_at: When the event happened; None, like the fields below, in heads of versions that did not keep it.
        changed_by: Who caused it.
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

    @classmethod
    def created(cls, name: str, entry: str) -> "Epoch":
        """Return the first epoch of a log, which its first entry opened."""
        return cls(name, entry, entry)

    def restored(self, name: str, entry: str) -> "Epoch":
        """Return the epoch that `entry`, a restoration, opened in the log that was in this one."""
        return Epoch(name, entry, self.begun)

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
