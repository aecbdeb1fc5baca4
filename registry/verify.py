"""Whether a log is what this system wrote: every entry, one after the other, whatever was found before.

Rules: pure; no clock, no I/O. A replica's fold rightly stops at the first thing that is wrong. This one names it and
goes on as if it were right, so that one look tells of everything. A log in which it finds nothing wrong, a replica
folds to the same tenants.
"""

from typing import Final, assert_never

import msgspec

from registry import codec
from registry.entries import START, UNKNOWN, Entry, Epoch, Foreign, Head, Position, entry_order
from registry.errors import CorruptEntry, InvalidInput
from registry.events import (
    Event,
    LogCompacted,
    LogCreated,
    LogEvent,
    LogRestored,
    TenantEvent,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
)
from registry.signing import Signer, mac_of
from registry.state import Live, Removed, Tenant, evolve, quarantined, since, stated

_KEPT: Final = 1000
"""Findings that are kept; of more, only the number."""

_RESTORE: Final = "restore the log from a backup (log import), or leave it and keep what follows"
_TAMPERED: Final = "somebody wrote to Redis by hand: compare with a backup (log export)"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where, what, and what to do about it; `kind` is for programs."""

    kind: str
    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.where}: {self.what}; {self.advice}"


class Gap(msgspec.Struct, frozen=True):
    """Entries that are not there: behind `after` and before `before`."""

    after: Position
    before: Position

    def holds(self, position: Position) -> bool:
        """Whether the entry at `position` would have been among them."""
        return self.after.seq < position.seq < self.before.seq and self.had(position.entry)

    def had(self, entry: str) -> bool:
        """Whether an entry of that id would have been among them."""
        return entry_order(self.after.entry) < entry_order(entry) < entry_order(self.before.entry)

    def __str__(self) -> str:
        first, last = self.after.seq + 1, self.before.seq - 1
        return f"entry {first}" if first == last else f"entries {first} to {last}"


class Verifier:
    """Looks through one log, entry by entry: what is wrong with it, and what it says.

    Args:
        signer: Checks signatures, if it has keys.
        signed_since: The number of the first entry that must be signed; entries before it may lack a signature.

    Attributes:
        position, epoch, first: How far it is, in which epoch, and the first entry there is.
        tenants: What the entries say.
        unborn: The live ones of which the log does not say when their life began; their heads do.
        gaps: Entries that are not there, by a compaction or otherwise.
        counted: How much was found; `findings` keeps the first thousand.
        entries, signed: How many entries there were, and how many of them had a signature that was checked.
        unchecked: How many had one that could not be: the tenant's event before is in a gap.
    """

    def __init__(self, signer: Signer | None = None, signed_since: int = 0) -> None:
        self._signer = signer or Signer()
        self._signed_since = signed_since
        self._found: list[tuple[int, Finding]] = []
        self._compacted: set[Position] = set()
        self.position = START
        self.epoch: Epoch | None = None
        self.first: Position | None = None
        self.tenants: dict[str, Tenant] = {}
        self.unborn: set[str] = set()
        self.gaps: list[Gap] = []
        self.counted = self.entries = self.signed = self.unchecked = 0

    @property
    def findings(self) -> list[Finding]:
        """What was found, in the log's order."""
        return [finding for _, finding in sorted(self._found, key=lambda each: each[0])]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing but what a compaction took out, so that the epoch is the log's."""
        return self.gaps == self.compacted

    @property
    def compacted(self) -> list[Gap]:
        """The gaps that a compaction has left, as the log itself says."""
        return [gap for gap in self.gaps if gap.before in self._compacted]

    def entry(self, entry: Entry | Foreign) -> None:
        """Look at the next entry. Raises nothing."""
        self.entries += 1
        if isinstance(entry, Foreign):
            self._foreign(entry)
            return
        self._link(entry)
        if self.first is None:
            self.first = entry.position
        self.position = entry.position
        self._body(entry)

    def finish(self, end: Position) -> None:
        """Say that there are no more entries, and that the log claims to end at `end`."""
        if self.position != end:
            what = f"the log says it ends at {end}, and {self.position} is the last entry there is"
            self._finds("link", "the end", what, _RESTORE)
        compacted = self.compacted
        for gap in self.gaps:
            if gap not in compacted:
                self._finds("gap", f"entry {gap.before}", f"{gap} before it are missing", _RESTORE, gap.before.seq)

    def beyond(self, head: Head, tenant: Tenant | None) -> bool:
        """Whether the head tells of an event that lies in a gap, later than what the entries say of the tenant."""
        is_later = tenant is None or head.position.seq > tenant.position.seq
        return is_later and any(gap.holds(head.position) for gap in self.gaps)

    def _foreign(self, entry: Foreign) -> None:
        # Redis counted it: what comes next has the number after.
        self.position = Position(self.position.seq + 1, entry.entry)
        self.first = self.first or self.position
        what = f"it is not this system's: {entry.why}"
        self._finds("envelope", f"entry {entry.entry}", what, "docs/operations.md says how to take it out")

    def _link(self, entry: Entry) -> None:
        before, place = self.position, entry.position
        if entry.follows(before):
            return
        if place.seq > before.seq + 1 and entry.prev != before.entry:
            self.gaps.append(Gap(before, place))
        elif place.seq != before.seq + 1:
            self._finds("link", f"entry {place}", f"its number is {place.seq}; {before.seq + 1} comes next", _TAMPERED)
        else:
            what = f"it says that it follows {entry.prev}; the entry before it is {before.entry}"
            self._finds("link", f"entry {place}", what, _TAMPERED)

    def _body(self, entry: Entry) -> None:
        try:
            event = codec.decode(entry)
        except CorruptEntry as error:
            self._unreadable(entry, error)
            return
        if isinstance(event, LogCreated) != (entry.position.seq == 1):
            what = f"it is a {entry.type}; a log begins with its own creation, and only there"
            self._wrong(entry, "transition", what)
        if isinstance(event, TenantRegistered | TenantRemoved | TenantRestated):
            self._tenant(entry, event)
        else:
            self._of_log(entry, event)

    def _of_log(self, entry: Entry, event: LogEvent) -> None:
        self._signature(entry, event, None)
        match event:
            case LogCreated():
                self.epoch = Epoch.created(event.epoch, entry.position.entry)
            case LogRestored():
                self.epoch = (self.epoch or UNKNOWN).restored(event.epoch, entry.position.entry)
            case LogCompacted():
                try:
                    cut = Position.parse(event.before)
                except InvalidInput:
                    cut = None
                # Of the entries before it, any may be gone: by a later compaction.
                if cut is None or cut.seq > entry.position.seq:
                    what = f"it tells of a compaction before {event.before}, which is no place before it"
                    self._wrong(entry, "transition", what)
                else:
                    self._compacted.add(cut)
                    self._learn(Epoch.parse(event.epoch or ""))
            case _:
                assert_never(event)

    def _learn(self, told: Epoch | None) -> None:
        """Take from a compaction which log it is, as far as the entries that are left do not say so."""
        if told and self.epoch is None:
            self.epoch = told
        elif told and self.epoch and not self.epoch.is_known:
            self.epoch = msgspec.structs.replace(self.epoch, begun=told.begun)

    def _tenant(self, entry: Entry, event: TenantEvent) -> None:
        before = self.tenants.get(event.tenant)
        is_base = event.previous == (before.position.entry if before else None)
        if is_base:
            self._evolve(entry, event, before)
            self._signature(entry, event, mac_of(before))
        elif event.previous is not None and self._is_missing(event.previous, before):
            before = None
            self.unborn.add(event.tenant)
            self._signature(entry, event, None, is_chained=False)
        else:
            expected = before.position.entry if before else "nothing"
            self._wrong(
                entry,
                "transition",
                f"it names {event.previous or 'nothing'} as the event of tenant {event.tenant!r} before it, "
                f"which is {expected}",
            )
        self._put(event, entry.position, before)

    def _is_missing(self, previous: str, before: Tenant | None) -> bool:
        """Whether a tenant's event is among the entries that are not there, behind the last one that is."""
        known = before.position.seq if before else 0
        return any(gap.after.seq >= known and gap.had(previous) for gap in self.gaps)

    def _put(self, event: TenantEvent, position: Position, before: Tenant | None) -> None:
        after = stated(event, position, since(event, before.born if isinstance(before, Live) else None))
        if isinstance(after, Removed) or isinstance(event, TenantRestated) or isinstance(before, Removed):
            self.unborn.discard(event.tenant)
        self.tenants[event.tenant] = after

    def _evolve(self, entry: Entry, event: TenantEvent, before: Tenant | None) -> None:
        try:
            evolve(before, event, entry.position)
        except CorruptEntry as error:
            self._wrong(entry, "transition", error.message.removesuffix("."))

    def _signature(self, entry: Entry, event: Event, before: str | None, *, is_chained: bool = True) -> None:
        if not event.mac and entry.position.seq < self._signed_since:
            return
        problem = self._signer.check(event, before, entry.data) if is_chained else self._signer.check_key(event)
        if problem:
            self._wrong(entry, "signature", problem)
        elif is_chained:
            self.signed += self._signer.signs
        else:
            self.unchecked += self._signer.signs

    def _unreadable(self, entry: Entry, error: CorruptEntry) -> None:
        self._finds("body", f"entry {entry.position}", error.message.removesuffix("."), _RESTORE)
        named = codec.unreadable(entry)
        if named is not None:
            self.tenants[named.tenant] = quarantined(named, entry.position, error.message)

    def _wrong(self, entry: Entry, kind: str, what: str) -> None:
        self._finds(kind, f"entry {entry.position}", what, _TAMPERED)

    def _finds(self, kind: str, where: str, what: str, advice: str, seq: int | None = None) -> None:
        self.counted += 1
        if len(self._found) < _KEPT:
            place = self.position.seq if seq is None else seq
            self._found.append((place, Finding(kind=kind, where=where, what=what, advice=advice)))
