"""A log as a file: JSON Lines that stand for themselves, and that tell when one of them is missing or changed.

The first line is a header, then come the entries, oldest first, then the tenants' heads and wrapped data keys, then the
documents of those tenants whose entries were taken out of the log, and last a sum of all lines before. Passwords stay
sealed, and so they are worth nothing without the master key, and everything with it.

Rules: pure. Version 1 is readable for ever.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from registry.entries import Entry, Epoch, Position
from registry.errors import InvalidInput

FORMAT: Final = 1


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="header"):
    """What the file is of. The counts are of lines to come."""

    format: int
    prefix: str
    end: str
    epoch: Epoch
    exported_at: str
    entries: int
    heads: int
    data_keys: int


class EntryLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="entry", omit_defaults=True):
    """One entry. Its body is JSON as it stands in the log, to the byte; what is no JSON of one line is in `base64`."""

    id: str
    seq: int
    prev: str
    type: str
    data: msgspec.Raw = msgspec.Raw(b"")
    base64: str | None = None


class HeadLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="head"):
    """One tenant's head."""

    tenant: str
    head: str


class DataKeyLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="data_key"):
    """One tenant's data key, wrapped by the master key."""

    tenant: str
    wrapped: str


class DocumentLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="document"):
    """What stands under the key of a tenant that no entry tells of any more."""

    tenant: str
    document: str


class EndLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The last line: how many there are before it, and the BLAKE2b of their bytes."""

    lines: int
    sum: str


Content: TypeAlias = Header | EntryLine | HeadLine | DataKeyLine | DocumentLine
Line: TypeAlias = Content | EndLine

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class Summed:
    """Lines on their way to a file."""

    def __init__(self) -> None:
        self._sum = hashlib.blake2b(digest_size=32)
        self.lines = 0

    def line(self, line: Line) -> bytes:
        """Return the line's bytes."""
        text = _ENCODER.encode(line) + b"\n"
        self._sum.update(text)
        self.lines += 1
        return text

    def end(self) -> bytes:
        """Return the last line's bytes."""
        return _ENCODER.encode(EndLine(lines=self.lines, sum=self._sum.hexdigest())) + b"\n"


def read_lines(lines: Iterable[bytes]) -> Iterator[Content]:
    """Yield the lines of a file, the header first and without the last.

    Raises `InvalidInput` where it is no such file, or not as it was written; at its end at the latest, so that nothing
    may be believed before.
    """
    total, count, is_whole = hashlib.blake2b(digest_size=32), 0, False
    for text in lines:
        count += 1
        line = _read(text, count)
        if isinstance(line, EndLine):
            is_whole = line.lines == count - 1 and line.sum == total.hexdigest()
            if not is_whole:
                raise InvalidInput(f"Line {count}: the sum does not fit; the file is not as it was written.")
            continue
        if is_whole or isinstance(line, Header) != (count == 1):
            raise InvalidInput(f"Line {count} is not where it belongs; the file is not as it was written.")
        total.update(text)
        yield line
    if not is_whole:
        raise InvalidInput("The file has no end: it was cut short, and is not imported.")


def entry_line(entry: Entry) -> EntryLine:
    """Return an entry as a line."""
    data, encoded = msgspec.Raw(entry.data), None
    if not _is_one_line(entry.data):
        data, encoded = msgspec.Raw(b"null"), base64.b64encode(entry.data).decode()
    place = entry.position
    return EntryLine(id=place.entry, seq=place.seq, prev=entry.prev, type=entry.type, data=data, base64=encoded)


def entry_of(line: EntryLine) -> Entry:
    """Return the entry of a line. Raises `InvalidInput`."""
    try:
        data = bytes(line.data) if line.base64 is None else base64.b64decode(line.base64, validate=True)
    except binascii.Error:
        raise InvalidInput(f"The body of entry {line.id} cannot be read; the file is not as it was written.") from None
    return Entry(Position(line.seq, line.id), line.prev, line.type, data)


def _is_one_line(data: bytes) -> bool:
    try:
        return b"\n" not in data and b"\r" not in data and bytes(msgspec.json.decode(data, type=msgspec.Raw)) == data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _read(text: bytes, number: int) -> Line:
    try:
        line = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"Line {number} cannot be read ({error}); is it a file that log export wrote?") from None
    if isinstance(line, Header) and line.format != FORMAT:
        raise InvalidInput(f"The file is of format {line.format}, which this version does not know; upgrade it.")
    return line
