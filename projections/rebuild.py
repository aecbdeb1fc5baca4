"""A directory made from the log as it stands: by replay, or from a consistent cut of heads and the keys that fit them.

Both end in the same state. The replay is the audit, and quick while the log is short; the cut costs as much as there
are tenants, however long the log is, and gets over a hole in it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from projections.directory import Directory
from projections.pages import in_pages
from projections.progress import Progress
from projections.read_ahead import ahead, read_ahead
from registry import codec
from registry.entries import UNKNOWN, Cut, Entry, Epoch, Foreign, Head, Position, entry_order
from registry.errors import CorruptEntry, LogDiverged
from registry.events import LogCompacted, LogCreated, LogRestored
from registry.log import TenantLog
from registry.state import Live, Quarantined, Removed, Tenant, stated
from registry.stored import tenant_of
from registry.verify import Verifier

PAGE: Final = 1000
"""Entries or tenants a page: 1,000 hold the event loop for 4 ms, 10,000 for 40."""
_BREATH: Final = 200
"""Entries that are folded before others have a turn, the next page's sending and arrival among them."""
SHORT: Final = 20_000
"""A log of so many entries is replayed in a tenth of a second; a longer one is not, unless asked for."""


class Documents(Protocol):
    """Reads what stands under tenants' keys."""

    async def documents(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """Return each tenant's document, in order; None where there is none. Raises `RegistryUnavailable`."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What was made of the log.

    Attributes:
        directory: The fold up to an end that was fixed before.
        orphans: What a log that was there before this one has left of its tenants, and this one does not say.
        hole: Why the log could not be replayed, if it was tried.
    """

    directory: Directory
    orphans: dict[str, Tenant]
    hole: str | None = None


class Rebuilder:
    """Makes directories of one log.

    Args:
        log: What is read.
        documents: The tenants' keys.
        full_replay: Replay the log however long it is.
        short: How many entries are always replayed.
    """

    def __init__(self, log: TenantLog, documents: Documents, *, full_replay: bool = False, short: int = SHORT) -> None:
        self._log = log
        self._documents = documents
        self._full_replay = full_replay
        self._short = short
        self._trusts_heads, self._used_heads = True, False
        self._logger = structlog.get_logger("follower")
        self._progress = Progress(self._logger)

    @property
    def done(self) -> int:
        """How many entries or tenants the present or last work has got through."""
        return self._progress.done

    def distrust_heads(self) -> bool:
        """Replay the log from now on, where it can be: what heads told does not fit it.

        Return whether there is something to gain: the last directory was made from heads, for their brevity.
        """
        used, self._trusts_heads = self._trusts_heads and self._used_heads, False
        return used

    async def rebuild(self, held: Directory | None = None) -> Rebuilt:
        """Make a directory of the log up to where it ends now.

        `held` is what the replica holds: it knows an event that neither its entry nor the tenant's key tell any more.

        Raises `LogDiverged` if there is none or neither way can be gone, `CorruptEntry` if an entry or a head cannot be
        read, and `RegistryUnavailable`. May be cancelled.
        """
        self._progress.begin()
        cut = await self._log.cut()
        if cut.end is None:
            raise LogDiverged("The log is gone.")
        is_long = cut.end.seq > self._short and not self._full_replay
        if cut.epoch and is_long and self._trusts_heads and not (cut.unreadable or _ahead(cut, cut.end, cut.epoch)):
            return await self._from_cut(cut, cut.end, cut.epoch, held)
        try:
            directory = await self._replay(cut.end)
        except LogDiverged as hole:
            return await self._around(hole, cut, cut.end, held)
        return Rebuilt(directory, await self._by_name(_orphans(cut, directory.as_of.epoch)))

    async def _around(self, hole: LogDiverged, cut: Cut, end: Position, held: Directory | None) -> Rebuilt:
        compacted = await self._compacted(end)
        epoch = cut.epoch or (compacted and compacted.epoch) or UNKNOWN
        unfit = [*cut.unreadable, *_ahead(cut, end, epoch)]
        if unfit:
            raise CorruptEntry(
                f"The log has a hole ({hole.message}), and the heads of {', '.join(unfit[:20])} cannot be read or are "
                "ahead of it: put them back, or take those fields away if the tenants may be forgotten."
            ) from None
        rebuilt = await self._from_cut(cut, end, epoch, held)
        return rebuilt if compacted else msgspec.structs.replace(rebuilt, hole=hole.message)

    async def _compacted(self, end: Position) -> Verifier | None:
        """Return what the log says if all that is missing was taken out by a compaction, as it says further on."""
        verifier = Verifier()
        while verifier.position.seq < end.seq and (entries := await self._log.read(verifier.position, PAGE)):
            for entry in entries:
                verifier.entry(entry)
            await asyncio.sleep(0)
        is_cut_short = verifier.position.seq < end.seq
        if is_cut_short or verifier.counted or not verifier.gaps or not verifier.is_whole:
            return None
        self._logger.info("the log was compacted; heads and keys tell what was before", first=str(verifier.first))
        return verifier

    async def _replay(self, end: Position) -> Directory:
        directory = Directory()
        async with read_ahead(self._log, PAGE) as pages:
            while directory.position.seq < end.seq:
                entries = await pages.after(directory.position)
                if not entries:
                    raise LogDiverged(
                        f"The log says it ends at {end}; nothing is to be read after {directory.position}."
                    )
                for number, entry in enumerate(entries):
                    if number % _BREATH == 0:
                        await asyncio.sleep(0)
                    directory.fold(entry)
                self._progress.report(directory.position.seq, end.seq)
        for number, name in enumerate(directory.names()):
            if number % _BREATH == 0:
                await asyncio.sleep(0)
            directory.tenant(name)
        return directory

    async def _from_cut(self, cut: Cut, end: Position, epoch: Epoch, held: Directory | None) -> Rebuilt:
        self._used_heads = True
        orphans = _orphans(cut, epoch)
        heads = {tenant: head for tenant, head in cut.heads.items() if tenant not in orphans}
        directory = Directory.of(end, epoch, await self._tenants(heads))
        for aside in directory.quarantined():
            known = _recalled(held.tenant(aside.tenant) if held else None, heads[aside.tenant])
            if known:
                directory.settle(known)
        return Rebuilt(directory, await self._by_name(orphans))

    async def reread(self, tenants: Sequence[Quarantined]) -> list[Live | Removed]:
        """Look again at tenants that could not be read; return those that can be now, at the place where they were.

        Raises `RegistryUnavailable`. May be cancelled.
        """
        heads = await self._log.heads([tenant.tenant for tenant in tenants])
        same = {
            tenant.tenant: head
            for tenant, head in zip(tenants, heads, strict=True)
            if isinstance(head, Head) and head.position == tenant.position
        }
        return [tenant for tenant in await self._tenants(same) if not isinstance(tenant, Quarantined)]

    async def _by_name(self, heads: dict[str, Head]) -> dict[str, Tenant]:
        return {tenant.tenant: tenant for tenant in await self._tenants(heads)}

    async def _tenants(self, heads: dict[str, Head]) -> list[Tenant]:
        tenants: list[Tenant] = []
        names = list(heads)
        async with ahead(self._documents.documents, list(in_pages(names, PAGE))) as told:
            async for page, documents in told:
                found = [tenant_of(name, heads[name], text) for name, text in zip(page, documents, strict=True)]
                missing = [name for name, tenant in zip(page, found, strict=True) if tenant is None]
                tenants += [tenant for tenant in found if tenant is not None]
                tenants += await self._from_entries({name: heads[name] for name in missing})
                self._progress.report(len(tenants), len(names))
        return tenants

    async def _from_entries(self, heads: dict[str, Head]) -> list[Tenant]:
        if not heads:
            return []
        entries = await self._log.entries([head.position.entry for head in heads.values()])
        return [_from_entry(name, head, entry) for (name, head), entry in zip(heads.items(), entries, strict=True)]


def _ahead(cut: Cut, end: Position, epoch: Epoch) -> list[str]:
    """Return the tenants whose heads tell of what the log has not come to."""
    return [tenant for tenant, head in cut.heads.items() if head.position.seq > end.seq and not epoch.is_orphan(head)]


def _orphans(cut: Cut, epoch: Epoch) -> dict[str, Head]:
    first = entry_order(epoch.begun)  # once, not for each of 100,000
    return {tenant: head for tenant, head in cut.heads.items() if entry_order(head.position.entry) < first}


def _recalled(held: Tenant | None, head: Head) -> Live | Removed | None:
    """Return the tenant as it is held, if its head names that very event, however often it was said again."""
    if held is None or isinstance(held, Quarantined) or held.event_id != head.event_id:
        return None
    return msgspec.structs.replace(held, position=head.position, mac=head.mac)


def _from_entry(tenant: str, head: Head, entry: Entry | Foreign | None) -> Live | Removed | Quarantined:
    """Return the tenant as its last entry states it; quarantined if that is not to be had."""
    reason = "its last entry is in the log no more, and its key does not say what that said"
    if isinstance(entry, Entry) and entry.position == head.position:
        try:
            event = codec.decode(entry)
        except CorruptEntry as error:
            reason = error.message
        else:
            if not isinstance(event, LogCreated | LogRestored | LogCompacted) and event.tenant == tenant:
                return stated(event, entry.position, head.born)
            reason = f"the entry {entry.position.entry} that its head names is not its own"
    return Quarantined(
        tenant=tenant,
        version=head.version,
        position=head.position,
        event_id=head.event_id,
        mac=head.mac,
        reason=reason,
    )
