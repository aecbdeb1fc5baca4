"""The fold of the log: every tenant as of one position.

Rules: no I/O and no await, so that nobody ever sees half an entry applied. Only the follower applies; everybody else
gets frozen values.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, assert_never, cast

import msgspec

from projections.roster import Roster
from registry import codec
from registry.entries import START, UNKNOWN, AsOf, Entry, Epoch, Foreign, Position, entry_order
from registry.errors import CorruptEntry, LogDiverged
from registry.events import (
    LogCompacted,
    LogCreated,
    LogRestored,
    TenantEvent,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
)
from registry.state import (
    Known,
    Live,
    Quarantined,
    Removed,
    Tenant,
    follow,
    known,
    may_follow,
    quarantined,
    stated,
)


class _Told(msgspec.Struct, frozen=True, gc=False):
    """A tenant as of its last event, which is decoded a second time when the tenant is asked for.

    A replay of a million events asks for few tenants. To build and drop an object for every event costs more than to
    decode the last ones twice. `born` is when its present life began; None for a removed tenant.
    """

    version: int
    born: datetime | None
    seq: int
    entry: str
    type: str
    data: bytes

    @property
    def tenant(self) -> Live | Removed:
        position = Position(self.seq, self.entry)
        event = codec.decode(Entry(position, "", self.type, self.data))
        return stated(cast("TenantEvent", event), position, self.born)


class Directory:
    """All tenants, live and removed, and the position they are folded up to.

    Attributes:
        position: The last entry that is folded.
        epoch: Which log that is of.
        roster: The ids of the live ones.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, Tenant | _Told] = {}
        self.roster: Final = Roster()
        self._aside: dict[str, Quarantined] = {}
        self._capitals: dict[str, list[str]] = {}
        self.position: Position = START
        self.epoch: Epoch | None = None

    @classmethod
    def of(cls, position: Position, epoch: Epoch, tenants: Iterable[Tenant]) -> "Directory":
        """Return the fold of a log up to `position`, as heads and keys tell it."""
        directory = cls()
        directory.position, directory.epoch = position, epoch
        # One step for each kind of thing instead of one for each tenant: a start waits for it.
        held = {tenant.tenant: tenant for tenant in tenants}
        directory._tenants.update(held)
        live = [name for name, tenant in held.items() if isinstance(tenant, Live)]
        directory.roster.become(Roster(live))
        directory._aside = {name: tenant for name, tenant in held.items() if isinstance(tenant, Quarantined)}
        for name in held:
            directory._note_spelling(name)
        return directory

    def become(self, other: "Directory") -> list[Tenant]:
        """Take over what `other` holds, all at once; return the tenants that are not as they were."""
        after = other.all()
        changed = [tenant for tenant in after if self.tenant(tenant.tenant) != tenant] if self._tenants else [*after]
        self._tenants = {tenant.tenant: tenant for tenant in after}
        self._aside = {tenant.tenant: tenant for tenant in other.quarantined()}
        self._capitals = other.spellings()
        self.roster.become(other.roster)
        self.position, self.epoch = other.position, other.epoch
        return changed

    def apply(self, entry: Entry | Foreign) -> Tenant | None:
        """Fold one entry; return the tenant it changed, or None if it was not about one.

        Raises `LogDiverged` if the entry does not link to the position, and `CorruptEntry` if it cannot be read or may
        not come now. Nothing is changed then. A body that cannot be read and still says whose it is takes that tenant
        out, and the rest goes on.
        """
        changed = self.fold(entry)
        return None if changed is None else self.tenant(changed)

    def fold(self, entry: Entry | Foreign) -> str | None:
        """Do what `apply` does and return the tenant's name alone: in a replay few tenants are ever spelled out."""
        if isinstance(entry, Foreign):
            raise CorruptEntry(f"Entry {entry.entry} was not written by this system: {entry.why}.", entry=entry.entry)
        if not entry.follows(self.position):
            raise LogDiverged(
                f"Entry {entry.position} says it follows {entry.prev}, and this replica has read up to "
                f"{self.position}: entries are missing in between, or the log is another one."
            )
        changed = self._fold(entry)
        self.position = entry.position
        return changed

    def learn(self, epoch: Epoch | None) -> None:
        """Take what is noted for the epoch, if it was not known and was opened in what was read."""
        if epoch and not self.as_of.epoch.is_known and entry_order(epoch.opened) <= entry_order(self.position.entry):
            self.epoch = epoch

    @property
    def as_of(self) -> AsOf:
        """What was read so far; of the same moment as the tenants only if nothing was awaited in between."""
        return AsOf(self.epoch or UNKNOWN, self.position)

    def tenant(self, tenant_id: str) -> Tenant | None:
        """Return the tenant, live or removed, or None if the log up to the position never told of it."""
        known = self._tenants.get(tenant_id)
        if isinstance(known, _Told):
            known = self._tenants[tenant_id] = known.tenant
        return known

    def twin_of(self, tenant_id: str) -> str | None:
        """Return the id of a tenant that there is, readable or not, if it differs from `tenant_id` in case alone."""
        lower = tenant_id.lower()
        others = (each for each in (lower, *self._capitals.get(lower, ())) if each != tenant_id)
        return next((each for each in others if isinstance(self.tenant(each), Live | Quarantined)), None)

    def quarantined(self) -> list[Quarantined]:
        """Return the tenants that cannot be read here, in no order."""
        return list(self._aside.values())

    def settle(self, tenant: Live | Removed) -> bool:
        """Put a tenant that can be read after all where it was set aside; return whether it still is, at that place."""
        known = self._tenants.get(tenant.tenant)
        if not isinstance(known, Quarantined) or known.position != tenant.position:
            return False
        self._put(tenant)
        return True

    def live(self) -> list[Live]:
        """Return the tenants that may be used, by id."""
        return list(self.live_of(self.roster.ids()))

    def live_of(self, names: Iterable[str]) -> Iterable[Live]:
        """Yield those of the tenants that may be used, in the order of the names."""
        return (known for name in names if isinstance(known := self.tenant(name), Live))

    def names(self) -> list[str]:
        """Return the ids of every tenant ever registered, in no order."""
        return list(self._tenants)

    def all(self) -> Iterable[Tenant]:
        """Return every tenant ever registered, in no order; a snapshot."""
        held = tuple(self._tenants.values())
        if _Told not in set(map(type, held)):  # as ever but in a replay, and ten times as quick
            return cast("tuple[Tenant, ...]", held)
        return tuple(known for name in self.names() if (known := self.tenant(name)))

    def spellings(self) -> dict[str, list[str]]:
        """Return the ids that have capitals, by what they are without."""
        return {lower: [*names] for lower, names in self._capitals.items()}

    def __len__(self) -> int:
        return len(self.roster)

    def _fold(self, entry: Entry) -> str | None:
        try:
            event = codec.decode(entry)
        except CorruptEntry as error:
            return self._quarantine(entry, error)
        if isinstance(event, LogCreated) != (self.position.seq == 0):
            raise CorruptEntry(
                f"Entry {entry.position} is a {entry.type}; a log begins with its own creation, and only there.",
                entry=entry.position.entry,
            )
        match event:
            case TenantRegistered() | TenantRemoved() | TenantRestated():
                self._tell(event, entry)
                return event.tenant
            case LogCreated():
                self.epoch = Epoch.created(event.epoch, entry.position.entry)
            case LogRestored():
                self.epoch = self.as_of.epoch.restored(event.epoch, entry.position.entry)
            case LogCompacted():
                pass
            case _:
                assert_never(event)
        return None

    def _quarantine(self, entry: Entry, error: CorruptEntry) -> str:
        """Set the tenant aside that an unreadable body concerns; `error` if not even that much can be believed."""
        named = codec.unreadable(entry)
        if named is None or self.position == START:
            raise error
        before = self.tenant(named.tenant)
        if not may_follow(named.version, before.version if before else 0, restated=codec.restates(entry)):
            raise error
        self._put(quarantined(named, entry.position, error.message))
        return named.tenant

    def _tell(self, event: TenantEvent, entry: Entry) -> None:
        name, position = event.tenant, entry.position
        before = self._tenants.get(name)
        born = follow(_known(before), event, position)
        if before is None:
            self._note_spelling(name)
        self._tenants[name] = _Told(event.version, born, position.seq, position.entry, entry.type, entry.data)
        self._note_life(name, was=_is_live(before), now=born is not None)
        if self._aside:
            self._aside.pop(name, None)

    def _put(self, after: Tenant) -> None:
        name = after.tenant
        if name not in self._tenants:
            self._note_spelling(name)
        self._note_life(name, was=_is_live(self._tenants.get(name)), now=_is_live(after))
        self._tenants[name] = after
        if isinstance(after, Quarantined):
            self._aside[name] = after
        elif self._aside:
            self._aside.pop(name, None)

    def _note_life(self, name: str, *, was: bool, now: bool) -> None:
        if was is not now:
            self.roster.note(name, lives=now)

    def _note_spelling(self, name: str) -> None:
        # Few ids have capitals, and one that has none is found by itself.
        lower = name.lower()
        if lower != name:
            self._capitals.setdefault(lower, []).append(name)


def _known(tenant: Tenant | _Told | None) -> Known:
    if isinstance(tenant, _Told):
        return Removed if tenant.born is None else Live, tenant.version, tenant.born
    return known(tenant)


def _is_live(tenant: Tenant | _Told | None) -> bool:
    return tenant.born is not None if isinstance(tenant, _Told) else isinstance(tenant, Live)
