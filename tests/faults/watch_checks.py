"""What etcd promises to who watches it, put to what each replica applied. Pure.

Each check is named as in etcd's documentation of its watch API, looks at one process of one replica (a `Watch`) and
returns what is wrong, in sentences; nothing, if all is well. The log is the one found at the end; what was applied of a
log that was lost since (before a `Restored` mark) is checked for what needs no log: its order and its links.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import msgspec

from registry.entries import START, Position
from tests.faults.history import Announced, Applied, Began, History, Logged, Ok, Operation, Restored

Found: TypeAlias = list[str]


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of a replica applied and announced of one log, in order.

    Attributes:
        of_last_log: Whether that log is the one found at the end.
        served: Positions that the process answered as being served by it.
    """

    replica: str
    life: int
    of_last_log: bool = True
    marks: tuple[Applied | Announced, ...]
    served: tuple[Position, ...] = ()

    @property
    def applied(self) -> list[Applied]:
        """The entries it folded one by one."""
        return [mark for mark in self.marks if isinstance(mark, Applied)]

    @property
    def name(self) -> str:
        """Who it is, for people."""
        return f"replica {self.replica} (process {self.life})"


def watches(history: History) -> list[Watch]:
    """Cut a history into watches: one for each process, and a new one at each restoration that it told of."""
    last_epoch = max(((mark.at, mark.epoch) for mark in history.of(Restored)), default=(0.0, None))[1]
    told = []
    for began in history.of(Began):
        mine: list[Applied | Announced] = []
        epoch, since = _epoch_at_start(history, began), began.at
        for mark in history.records:
            if not isinstance(mark, Applied | Announced | Restored) or _who(mark) != _who(began):
                continue
            if isinstance(mark, Restored):
                told.append(_watch(began, mine, of_last_log=epoch == last_epoch))
                mine, epoch, since = [], mark.epoch, mark.at
            else:
                mine.append(mark)
        served = _served(history, began, since) if epoch == last_epoch else []
        told.append(_watch(began, mine, of_last_log=epoch == last_epoch, served=served))
    return told


def ordered(watch: Watch) -> Found:
    """Entries are applied in the order of the log."""
    return [
        f"{watch.name} applied {later.position} after {earlier.position}"
        for earlier, later in pairwise(watch.applied)
        if later.position.seq < earlier.position.seq
    ]


def unique(watch: Watch) -> Found:
    """No entry is applied twice, and no number of the log by two entries."""
    found, seen = [], set[int]()
    for mark in watch.applied:
        if mark.position.seq in seen:
            found.append(f"{watch.name} applied {mark.position} twice")
        seen.add(mark.position.seq)
    return found


def reliable(watch: Watch, log: Sequence[Logged]) -> Found:
    """No entry is left out: between the first and the last that were applied, all of the log was, and as it stands."""
    applied = watch.applied
    if not applied or not watch.of_last_log:
        return []
    found = [f"{watch.name} applied {mark.position}, and {told}" for mark in applied for told in _differs(mark, log)]
    seen = {mark.position.seq for mark in applied}
    found += [
        f"{watch.name} left out entry {seq}"
        for seq in range(applied[0].position.seq, applied[-1].position.seq)
        if seq not in seen
    ]
    return found


def resumable(watch: Watch) -> Found:
    """After a start or a lost connection it goes on right behind where it was: each entry follows the mark before."""
    found, at = [], None
    for mark in watch.marks:
        if isinstance(mark, Applied):
            if at is not None and mark.prev != at:
                found.append(
                    f"{watch.name} was at {at} and went on with {mark.position}, which it put after {mark.prev}"
                )
        elif at is not None and mark.position.seq < at.seq:
            found.append(f"{watch.name} was at {at} and resumed at {mark.position}")
        at = mark.position
    return found


def resumable_by_the_next(earlier: Watch, later: Watch) -> Found:
    """A restarted replica never announces less than the process before it had applied of the same log."""
    first = next((mark for mark in later.marks if isinstance(mark, Announced)), None)
    if first is None or not earlier.marks or earlier.of_last_log != later.of_last_log:
        return []
    reached = max(mark.position.seq for mark in earlier.marks)
    if first.position.seq >= reached:
        return []
    return [f"{later.name} began at {first.position}; the process before it had reached {reached}"]


def bookmarkable(watch: Watch, log: Sequence[Logged]) -> Found:
    """A position that was announced is one of the log, and everything up to it had been applied."""
    if not watch.of_last_log:
        return []
    found, known = [], START  # what a start replays is told by its announcement alone
    begun = False
    for mark in watch.marks:
        if isinstance(mark, Announced):
            if not _holds(log, mark.position):
                found.append(f"{watch.name} announced {mark.position}, which is not in the log")
            if begun and mark.position.seq > known.seq:
                found.append(f"{watch.name} announced {mark.position} and had applied up to {known}")
        begun, known = True, max(known, mark.position, key=lambda position: position.seq)
    found += [
        f"{watch.name} answered that it serves {position} and had applied up to {known}"
        for position in watch.served
        if position.seq > known.seq
    ]
    return found


def check_watches(history: History) -> Found:
    """Put every check to every watch."""
    log, all_watches = history.of(Logged), watches(history)
    found: Found = []
    for watch in all_watches:
        found += ordered(watch) + unique(watch) + reliable(watch, log) + resumable(watch) + bookmarkable(watch, log)
    for replica in {watch.replica for watch in all_watches}:
        mine = [watch for watch in all_watches if watch.replica == replica]
        for earlier, later in pairwise(mine):
            found += resumable_by_the_next(earlier, later)
    return found


def _who(record: Applied | Announced | Restored | Began | Operation) -> tuple[str, int]:
    return record.replica, record.life


def _epoch_at_start(history: History, began: Began) -> str | None:
    """Return the last restoration before the process began; None if the log was still its first."""
    before = [mark for mark in history.of(Restored) if mark.at < began.at]
    return max(before, key=lambda mark: mark.at).epoch if before else None


def _watch(
    began: Began, marks: Sequence[Applied | Announced], *, of_last_log: bool, served: Sequence[Position] = ()
) -> Watch:
    return Watch(
        replica=began.replica, life=began.life, of_last_log=of_last_log, marks=tuple(marks), served=tuple(served)
    )


def _served(history: History, began: Began, since: float) -> list[Position]:
    """Return the positions that the process answered as served to calls after it came to its last log."""
    return [
        Position.parse(operation.outcome.answer["position"])
        for operation in history.of(Operation)
        if _who(operation) == _who(began)
        and operation.invoked >= since
        and operation.action in ("register", "remove")
        and isinstance(operation.outcome, Ok)
        and operation.outcome.answer.get("served", True)
    ]


def _holds(log: Sequence[Logged], position: Position) -> bool:
    return 0 < position.seq <= len(log) and log[position.seq - 1].position == position


def _differs(mark: Applied, log: Sequence[Logged]) -> Found:
    if not _holds(log, mark.position):
        return ["the log does not hold that"]
    entry = log[mark.position.seq - 1]
    state = None if entry.tenant is None else "live" if entry.alive else "removed"
    told, stands = (
        (mark.prev.entry, mark.tenant, mark.version, mark.state),
        (entry.prev, entry.tenant, entry.version, state),
    )
    return [] if told == stands else [f"made {told} of it, where the log says {stands}"]
