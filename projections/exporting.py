"""A log written to a file, as of one instant, while others go on writing."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog

from projections.inspection import entries_up_to
from projections.pages import in_pages
from projections.progress import Progress
from projections.tenant_keys import TenantKeys
from registry.archive import Archive, Snapshot
from registry.entries import Foreign, Head, Unreadable
from registry.errors import CorruptEntry, LogDiverged, RegistryUnavailable
from registry.export_format import (
    FORMAT,
    DataKeyLine,
    DocumentLine,
    EntryLine,
    Header,
    HeadLine,
    Summed,
    entry_line,
)
from registry.log import TenantLog
from registry.stored import tenant_of
from registry.verify import Verifier

_PAGE: Final = 500


class Exported(msgspec.Struct, frozen=True):
    """What was written."""

    header: Header
    documents: int


class Exporter:
    """Writes one log as lines.

    Args:
        log, archive, keys: What is written.
        prefix: What the keys' names begin with, for the header.
    """

    def __init__(self, log: TenantLog, archive: Archive, keys: TenantKeys, prefix: str) -> None:
        self._log = log
        self._archive = archive
        self._keys = keys
        self._prefix = prefix
        self._logger = structlog.get_logger("log")

    async def export(self, write: Callable[[bytes], object], now: datetime) -> Exported:
        """Hand every line to `write`, as of now. Return what was written.

        Raises `LogDiverged` if there is no log, `CorruptEntry` if it holds what is not this system's, and
        `RegistryUnavailable`, also if entries were taken out meanwhile: then what was written is worth nothing. May be
        cancelled.
        """
        snapshot = await self._archive.snapshot()
        if snapshot.epoch is None:
            raise LogDiverged("Nothing notes which log this is; start a replica or run log rebuild-keys, which does.")
        heads = snapshot.read_heads()
        unreadable = sorted(name for name, head in heads.items() if isinstance(head, Unreadable))
        if unreadable:
            raise CorruptEntry(f"The heads of {', '.join(unreadable[:20])} cannot be read; run log rebuild-keys first.")
        header, summed = self._header(snapshot, now), Summed()
        write(summed.line(header))
        verifier = await self._entries(snapshot, lambda line: write(summed.line(line)))
        for tenant, raw in snapshot.heads.items():
            write(summed.line(HeadLine(tenant=tenant, head=raw.decode())))
        for tenant, wrapped in snapshot.data_keys.items():
            write(summed.line(DataKeyLine(tenant=tenant, wrapped=wrapped)))
        documents = 0
        beyond = {
            name: head
            for name, head in heads.items()
            if isinstance(head, Head) and verifier.beyond(head, verifier.tenants.get(name))
        }
        async for line in self._documents(beyond):
            documents += 1
            write(summed.line(line))
        write(summed.end())
        return Exported(header, documents)

    def _header(self, snapshot: Snapshot, now: datetime) -> Header:
        assert snapshot.epoch is not None  # noqa: S101 - the caller has looked
        return Header(
            format=FORMAT,
            prefix=self._prefix,
            end=str(snapshot.end),
            epoch=snapshot.epoch,
            exported_at=now.isoformat(),
            entries=snapshot.length,
            heads=len(snapshot.heads),
            data_keys=len(snapshot.data_keys),
        )

    async def _entries(self, snapshot: Snapshot, write: Callable[[EntryLine], object]) -> Verifier:
        verifier, progress = Verifier(), Progress(self._logger, "exporting")
        progress.begin()
        async for entry in entries_up_to(self._log, snapshot):
            if isinstance(entry, Foreign):
                raise CorruptEntry(
                    f"Entry {entry.entry} was not written by this system: {entry.why}; log verify tells what to do.",
                    entry=entry.entry,
                )
            verifier.entry(entry)
            write(entry_line(entry))
            progress.report(verifier.entries, snapshot.length)
        if verifier.entries != snapshot.length:
            raise RegistryUnavailable("Entries were taken out of the log while it was exported; try again.")
        return verifier

    async def _documents(self, heads: dict[str, Head]) -> AsyncIterator[DocumentLine]:
        """Yield the documents that stand for entries which are not there."""
        names: Sequence[str] = sorted(heads)
        for page in in_pages(names, _PAGE):
            present = await self._archive.raw_heads(page)
            for name, document, raw in zip(page, await self._keys.documents(page), present, strict=True):
                if heads[name].alive and tenant_of(name, heads[name], document) is None:
                    await self._refuse(name, heads[name], raw)
                if heads[name].alive and document is not None:
                    yield DocumentLine(tenant=name, document=document.decode())

    async def _refuse(self, name: str, head: Head, present: bytes | None) -> None:
        if present is None or not present.startswith(f"{head.position.seq}|".encode()):
            raise RegistryUnavailable(f"Tenant {name!r} changed while the log was exported; try again.")
        raise CorruptEntry(
            f"The entry of tenant {name!r} was taken out of the log, and its key does not say what it said: register "
            "the tenant again or remove it, and export then."
        )
