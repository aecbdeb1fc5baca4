"""A log put into a Redis that has none, from a file that `projections/exporting.py` wrote."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec
import structlog

from projections.progress import Progress
from projections.tenant_keys import TenantKeys
from registry import codec
from registry.archive import Archive, Import
from registry.entries import AsOf, Position
from registry.errors import InvalidInput, LogDiverged, RegistryUnavailable
from registry.export_format import (
    DataKeyLine,
    DocumentLine,
    EntryLine,
    Header,
    HeadLine,
    entry_of,
    read_lines,
)
from registry.signing import Signer
from registry.state import Live, Tenant
from registry.stored import document_of
from registry.verify import Finding, Verifier
from registry.verify_kept import Kept, Truth, check_kept

_PAGE: Final = 500

_Item = TypeVar("_Item")


class FileRead(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was looked through.

    Attributes:
        header: What it is of.
        end: The log's last entry.
        tenants: What its tenants are.
        findings: What is wrong with the log in it; the file itself is as it was written.
        heads, data_keys: As they go into Redis.
    """

    header: Header
    end: Position
    tenants: list[Tenant]
    findings: list[Finding]
    heads: dict[str, str]
    data_keys: dict[str, str]


def read_file(lines: Iterable[bytes], signer: Signer | None = None, signed_since: int = 0) -> FileRead:
    """Look through a file, as `Verifier` does. Raises `InvalidInput` if it is none, was cut short or changed."""
    verifier, header = Verifier(signer, signed_since), None
    heads, data_keys, documents = dict[str, str](), dict[str, str](), dict[str, bytes]()
    for line in read_lines(lines):
        match line:
            case Header():
                header = line
            case EntryLine():
                verifier.entry(entry_of(line))
            case HeadLine(tenant=tenant, head=head):
                heads[tenant] = head
            case DataKeyLine(tenant=tenant, wrapped=wrapped):
                data_keys[tenant] = wrapped
            case DocumentLine(tenant=tenant, document=document):
                documents[tenant] = document.encode()
    if header is None:
        raise InvalidInput("The file is empty.")
    _count(header, verifier.entries, len(heads), len(data_keys))
    end = Position.parse(header.end)
    verifier.finish(end)
    findings, tenants = verifier.findings, []
    for name in sorted({*verifier.tenants, *heads, *data_keys}):
        truth, found = _check(verifier, name, header, heads.get(name), data_keys.get(name), documents.get(name))
        findings += found
        if truth.tenant:
            tenants.append(truth.tenant)
    return FileRead(header=header, end=end, tenants=tenants, findings=findings, heads=heads, data_keys=data_keys)


def _count(header: Header, entries: int, heads: int, data_keys: int) -> None:
    if (header.entries, header.heads, header.data_keys) != (entries, heads, data_keys):
        raise InvalidInput("The file does not hold what its header says; it is not as it was written.")


def _check(
    verifier: Verifier, name: str, header: Header, head: str | None, data_key: str | None, document: bytes | None
) -> tuple[Truth, list[Finding]]:
    told = verifier.tenants.get(name)
    if document is None and isinstance(told, Live):
        document = document_of(told)  # it is made when the log is there
    read = None if head is None else codec.read_head(head.encode())
    return check_kept(verifier, name, Kept(head=read, document=document, data_key=data_key), header.epoch)


class Importer:
    """Puts a log into a Redis that has none.

    Args:
        archive, keys: Where it goes.
        token: Tells this import from others.
    """

    def __init__(self, archive: Archive, keys: TenantKeys, token: str) -> None:
        self._archive = archive
        self._keys = keys
        self._token = token
        self._logger = structlog.get_logger("log")

    async def require_empty(self) -> None:
        """Raise `LogDiverged` if there is something of a log, or of tenants."""
        occupied = await self._archive.occupied()
        if occupied:
            raise LogDiverged(
                f"This Redis holds {', '.join(occupied)} already, and nothing was written: a log is imported where "
                "there is none. If an import was cut short after it had put the log there, log rebuild-keys finishes "
                "it; else import below another --prefix, or remove what is there."
            )

    async def put(self, read: FileRead, lines: Callable[[], Iterable[bytes]]) -> None:
        """Put in what `read` was read from; `lines` gives the file's lines once more.

        All of it is there at once, or nothing; the tenants' keys come after. Raises `LogDiverged` if there is something
        of a log, `InvalidInput` if the file has changed, and `RegistryUnavailable`. May be cancelled.
        """
        await self.require_empty()
        importing = self._archive.importing(self._token)
        try:
            await self._add(importing, read, lines)
            await self._settle(importing, read)
        except BaseException:
            await importing.give_up()
            raise
        await self._keys.write_all(read.tenants, AsOf(read.header.epoch, read.end))

    async def _settle(self, importing: Import, read: FileRead) -> None:
        if not await importing.settle(read.end, read.header.epoch):
            await self.require_empty()
            raise RegistryUnavailable("Something of a log was in the way and is gone; nothing was written. Try again.")

    async def _add(self, importing: Import, read: FileRead, lines: Callable[[], Iterable[bytes]]) -> None:
        progress, done = Progress(self._logger, "importing"), 0
        progress.begin()
        for page in _pages(read_lines(lines())):
            entries = [entry_of(line) for line in page if isinstance(line, EntryLine)]
            await importing.add_entries(entries)
            done += len(entries)
            progress.report(done, read.header.entries)
        for heads in _pages(iter(read.heads.items())):
            await importing.add_heads(heads)
        for data_keys in _pages(iter(read.data_keys.items())):
            await importing.add_data_keys(data_keys)


def _pages(items: Iterator[_Item]) -> Iterator[Sequence[_Item]]:
    while page := list(islice(items, _PAGE)):
        yield page
