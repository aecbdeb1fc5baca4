"""What the replicas tell of themselves, and what follows from it: who has applied a position, and who may not have.

Rules: pure; ages come in as arguments, measured by the clock of Redis, the one that all replicas share.

A replica may serve what it knows for its `max_staleness` and a lease after it was last seen, and then it refuses by
itself (`projections.freshness`). So of one that has not said that it applied a removal:

- seen within the lease, it is live: it is waited for;
- seen longer ago but within `max_staleness` and a lease, it may be cut off and serving: it is pending and not waited
  for, because nobody knows when it comes back;
- not seen for longer, it serves nothing before it has read the log: it does not count. With `max_staleness` inf that
  is never so: it is pending until it is seen or forgotten, a day after it was last seen.

So nothing pending means that no replica starts a query for a removed tenant any more. It cannot mean so in the second
after somebody emptied Redis, until every replica has said again that it is there, nor for a replica with inf that comes
back after more than a day.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from registry.entries import Position

LEASE: Final = 5.0
"""Seconds that a replica counts as live after it was last seen: five heartbeats. It is longer than one needs to notice
that Redis is away (a read that blocks, and its timeout), so that it stops before others stop counting on it."""

FORGOTTEN: Final = 86_400.0
"""Seconds after which one that was not seen is forgotten; more if it may serve for longer."""


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica is.

    Attributes:
        log: What tells the log it follows from others; positions in different ones do not compare.
        position: How far everything is applied.
        state: What it is doing, for people.
        linked: False while it knows that the log is not what it has read: its position is then no one else's.
    """

    log: str
    position: Position
    state: str
    linked: bool = True


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while a replica runs. `max_staleness` in seconds, inf for no bound."""

    name: str
    version: str
    host: str
    pid: int
    max_staleness: float


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica tells, as JSON. JSON has no infinity: no bound is null."""

    name: str
    log: str
    seq: int
    entry: str
    state: str
    linked: bool
    version: str
    host: str
    pid: int
    max_staleness: float | None


class StoredLine(Line, frozen=True, kw_only=True):
    """What stands in Redis: the script added when that was, in milliseconds of Redis's clock."""

    seen: int


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """One replica as of one look; `last_seen` is seconds before it, below 0 where Redis's clock has gone back since.

    How long ago that was nobody knows then: it is not waited for, and pending until it tells again.
    """

    identity: Identity
    whereabouts: Whereabouts
    last_seen: float

    @property
    def live(self) -> bool:
        """Whether it was seen within the lease."""
        return 0 <= self.last_seen <= LEASE

    @property
    def may_serve(self) -> bool:
        """Whether it may still serve what it knew when it was last seen."""
        return self.last_seen <= self.identity.max_staleness + LEASE

    @property
    def forgettable(self) -> bool:
        """Whether it was not seen for so long that nobody asks any more."""
        bound = self.identity.max_staleness + LEASE
        return self.last_seen > max(FORGOTTEN, bound if math.isfinite(bound) else 0)

    def has_applied(self, position: Position, log: str) -> bool:
        """Whether it told that it applied everything up to `position` of `log`.

        The entry's id is compared, too: one that read entries which a failover lost may be further by number alone.
        """
        mine = self.whereabouts.position
        if self.whereabouts.log != log or not self.whereabouts.linked:
            return False
        if mine.seq == position.seq:
            return mine.entry == position.entry
        return mine.seq > position.seq and _moment(mine.entry) > _moment(position.entry)


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that may not have applied the position, where it was, and how many seconds ago it said so."""

    name: str
    position: Position
    last_seen: float


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """Who has applied a position and who may serve without having done so.

    Attributes:
        confirmed: Names, sorted.
        pending: Sorted by name.
        unknown: Why it is not known who there is; both lists are then empty.
    """

    confirmed: list[str] = []
    pending: list[Pending] = []
    unknown: str | None = None


def line_of(identity: Identity, whereabouts: Whereabouts) -> bytes:
    """Return what a replica tells of itself, as JSON."""
    bound = identity.max_staleness
    return msgspec.json.encode(
        Line(
            name=identity.name,
            log=whereabouts.log,
            seq=whereabouts.position.seq,
            entry=whereabouts.position.entry,
            state=whereabouts.state,
            linked=whereabouts.linked,
            version=identity.version,
            host=identity.host,
            pid=identity.pid,
            max_staleness=bound if math.isfinite(bound) else None,
        )
    )


def read_line(text: bytes, now: int) -> ReplicaState | None:
    """Return what a replica told, `now` being Redis's clock in milliseconds; None for what none of ours wrote."""
    try:
        line = msgspec.json.decode(text, type=StoredLine)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    identity = Identity(
        name=line.name,
        version=line.version,
        host=line.host,
        pid=line.pid,
        max_staleness=math.inf if line.max_staleness is None else line.max_staleness,
    )
    whereabouts = Whereabouts(
        log=line.log, position=Position(line.seq, line.entry), state=line.state, linked=line.linked
    )
    return ReplicaState(identity=identity, whereabouts=whereabouts, last_seen=(now - line.seen) / 1000)


def judge(replicas: Sequence[ReplicaState], position: Position, log: str) -> Confirmation:
    """Say who has applied `position` of `log`, and who may serve without having done so."""
    confirmed, pending = [], []
    for each in replicas:
        if each.has_applied(position, log):
            confirmed.append(each.identity.name)
        elif each.may_serve:
            at = each.whereabouts.position
            pending.append(Pending(name=each.identity.name, position=at, last_seen=each.last_seen))
    return Confirmation(confirmed=sorted(confirmed), pending=sorted(pending, key=lambda one: one.name))


def _moment(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return (int(milliseconds), int(number)) if milliseconds.isdecimal() and number.isdecimal() else (0, 0)
