"""The whole of a log looked through, and what is kept beside it, as of one instant while others go on writing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import structlog

from projections.pages import in_pages
from projections.progress import Progress
from projections.rebuild import PAGE
from projections.tenant_keys import TenantKeys
from registry.archive import Archive, Snapshot
from registry.entries import START, Entry, Foreign, entry_id, entry_order
from registry.errors import SecretUnreadable
from registry.log import TenantLog
from registry.secrets import DataKey, MasterKeys
from registry.signing import Signer
from registry.verify import Finding, Verifier
from registry.verify_kept import Kept, Truth, check_epoch, check_kept

_TENANTS: Final = 500
_SECOND_LOOK: Final = 1.0
"""Seconds until what does not fit is looked at again: a key is written a moment after its event."""


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        verifier: Has seen every entry, and tells what they say.
        snapshot: The log's end, heads and data keys, as they were looked at.
        truths: What each tenant is, by all there is to be read.
        findings: Everything that is wrong, the log's own first; of many, the first thousand.
        count: How much is wrong.
        moved: Tenants that changed meanwhile, about which nothing is said.
    """

    verifier: Verifier
    snapshot: Snapshot
    truths: dict[str, Truth]
    findings: list[Finding]
    count: int
    moved: list[str]

    @property
    def by_head(self) -> int:
        """How many tenants head and key alone tell of."""
        return sum(truth.by_head for truth in self.truths.values())


class Inspector:
    """Looks through one log.

    Args:
        log, archive, keys: What is looked at.
        signer: Checks signatures, if it has keys.
        master: Tries the data keys, if given.
        signed_since: The number of the entry from which on events must be signed.
    """

    def __init__(
        self,
        log: TenantLog,
        archive: Archive,
        keys: TenantKeys,
        *,
        signer: Signer | None = None,
        master: MasterKeys | None = None,
        signed_since: int = 0,
    ) -> None:
        self._log = log
        self._archive = archive
        self._keys = keys
        self._signer = signer
        self._master = master
        self._signed_since = signed_since
        self._logger = structlog.get_logger("log")

    async def inspect(self) -> Inspected:
        """Look at everything there is now. Raises `LogDiverged` if there is no log, and `RegistryUnavailable`.

        What is written meanwhile is left out. May be cancelled.
        """
        snapshot = await self._archive.snapshot()
        verifier = Verifier(self._signer, self._signed_since)
        progress = Progress(self._logger, "reading the log")
        progress.begin()
        async for entry in entries_up_to(self._log, snapshot):
            verifier.entry(entry)
            progress.report(verifier.position.seq, snapshot.end.seq)
        verifier.finish(snapshot.end)
        looked = _Look(self, verifier, snapshot)
        await looked.at_tenants()
        await looked.at_what_is_left_behind()
        wrong_epoch = check_epoch(verifier, snapshot.epoch)
        found = [*verifier.findings, *([wrong_epoch] if wrong_epoch else []), *looked.findings]
        return Inspected(
            verifier=verifier,
            snapshot=snapshot,
            truths=looked.truths,
            findings=found[:PAGE],
            count=verifier.counted + bool(wrong_epoch) + len(looked.findings),
            moved=looked.moved,
        )


class _Look:
    """One look at everything beside the log."""

    def __init__(self, inspector: Inspector, verifier: Verifier, snapshot: Snapshot) -> None:
        self._archive, self._keys = inspector._archive, inspector._keys  # noqa: SLF001 - one thing in two classes
        self._log, self._master = inspector._log, inspector._master  # noqa: SLF001 - as above
        self._progress = Progress(inspector._logger, "comparing the tenants")  # noqa: SLF001 - as above
        self._verifier, self._snapshot = verifier, snapshot
        self._heads = snapshot.read_heads()
        self.truths: dict[str, Truth] = {}
        self.findings: list[Finding] = []
        self.moved: list[str] = []

    async def at_tenants(self) -> None:
        """Compare what is kept of each tenant; what does not fit is looked at twice."""
        self._progress.begin()
        names = sorted({*self._verifier.tenants, *self._snapshot.heads, *self._snapshot.data_keys})
        suspects: list[str] = []
        for number, page in enumerate(in_pages(names, _TENANTS)):
            suspects += await self._compare(page, self._snapshot.data_keys)
            self._progress.report(min((number + 1) * _TENANTS, len(names)), len(names))
        if suspects:
            await asyncio.sleep(_SECOND_LOOK)
        for page in in_pages(suspects, _TENANTS):
            await self._look_again(page)

    async def at_what_is_left_behind(self) -> None:
        """Find keys of tenants that nothing else tells of."""
        left = {name async for name in self._archive.tenant_keys()} - set(self.truths) - set(self.moved)
        for page in in_pages(sorted(left), _TENANTS):
            present = await self._archive.raw_heads(page)
            documents = await self._keys.documents(page)
            for name, head, document in zip(page, present, documents, strict=True):
                if head is None:
                    truth, found = await self._check(name, Kept(document=document or b""))
                    self.truths[name] = truth
                    self.findings += found
                else:
                    self.moved.append(name)  # it came after the snapshot

    async def _look_again(self, page: Sequence[str]) -> None:
        present = await self._archive.raw_heads(page)
        still = [name for name, head in zip(page, present, strict=True) if head == self._snapshot.heads.get(name)]
        self.moved += [name for name in page if name not in still]
        wrapped = await self._log.data_keys(still)
        data_keys = {name: key for name, key in zip(still, wrapped, strict=True) if key is not None}
        await self._compare(still, data_keys, final=True)

    async def _compare(self, page: Sequence[str], data_keys: dict[str, str], *, final: bool = False) -> list[str]:
        """Look at some tenants; return those of which something does not fit. `final`: note what."""
        documents = await self._keys.documents(page)
        fences = await self._archive.fences(page)
        wrong = []
        for name, document, fence in zip(page, documents, fences, strict=True):
            kept = Kept(
                head=self._heads.get(name),
                document=document,
                fence=fence,
                data_key=data_keys.get(name),
            )
            truth, found = await self._check(name, kept)
            if found and not final:
                wrong.append(name)
                continue
            self.truths[name] = truth
            self.findings += found
        return wrong

    async def _check(self, name: str, kept: Kept) -> tuple[Truth, list[Finding]]:
        return check_kept(self._verifier, name, kept, self._snapshot.epoch, await self._opened(name, kept.data_key))

    async def _opened(self, name: str, wrapped: str | None) -> DataKey | SecretUnreadable | None:
        if self._master is None or wrapped is None:
            return None
        try:
            return await self._master.unwrap(name, wrapped)
        except SecretUnreadable as error:
            return error


async def entries_up_to(log: TenantLog, snapshot: Snapshot) -> AsyncIterator[Entry | Foreign]:
    """Yield the entries up to the snapshot's end, as they are. Raises `RegistryUnavailable`."""
    after, last = START, entry_order(snapshot.end.entry)
    while entry_order(after.entry) < last:
        page = await log.read(after, PAGE)
        for entry in page:
            after = msgspec.structs.replace(after, entry=entry_id(entry))
            if entry_order(after.entry) > last:
                return
            yield entry
        if not page:
            return
