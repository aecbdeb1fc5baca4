"""Bytes to meaning and back: events, heads, and the document under a tenant's key.

Rules: pure. What was ever written is readable for ever; the files in `tests/golden` hold every shape that was. A body
may gain fields (readers ignore what they do not know); anything else is a new major behind the dot of its type.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from sys import intern
from typing import Final, get_args

import msgspec

from registry.entries import Entry, Foreign, Head, Position, Unreadable
from registry.errors import CorruptEntry
from registry.events import Access, Event, SealedSecret, SslMode, TenantConfig, TenantEvent

_EVENT_TYPES: Final[dict[str, type[Event]]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}
_KNOWN: Final = {name.encode(): name for name in _EVENT_TYPES}
_TENANT_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(TenantEvent))
_MINOR: Final = re.compile(r"(?P<known>[a-z_]+\.v\d+)\.\d+")
# Nothing but a position: a second "host" in between would be left out of the sum, and read.
_PLACE: Final = re.compile(rb',"seq":\d{1,20},"entry":"\d{1,20}-\d{1,20}"(?=,"event_id":)')
# What the append script compares, and where it finds that.
_HEAD_TOLD: Final = re.compile(rb"(\d+)\|(?:[^|]*\|){5}")
_ENVELOPE: Final = (b"type", b"seq", b"prev", b"data")
_digest: Final = hashlib.blake2b
_ENCODER: Final = msgspec.json.Encoder()
_DECODERS: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    name: msgspec.json.Decoder(kind) for name, kind in _EVENT_TYPES.items()
}


class Named(msgspec.Struct):
    """As much of a tenant's event as says whom it concerns."""

    tenant: str
    version: int
    event_id: str = ""
    mac: str = ""


_NAMED: Final = msgspec.json.Decoder(Named)


class TenantDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What stands under `<prefix>:tenant:<id>`: the earlier system's fields but the password, then what we add."""

    tenant_id: str
    host: str
    port: int
    database: str
    user: str
    min_pool_size: int
    max_pool_size: int
    ssl: SslMode
    max_concurrent_requests: int
    password_ref: str | msgspec.UnsetType = msgspec.UNSET
    version: int
    seq: int
    entry: str
    event_id: str
    changed_at: str
    changed_by: str
    secret: SealedSecret | None = None
    ssl_root_ca: str | msgspec.UnsetType = msgspec.UNSET
    access: Access | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def config(self) -> TenantConfig:
        """The configuration by itself, which shares its texts with all that have them: many are on few hosts."""
        return TenantConfig(
            host=intern(self.host),
            port=self.port,
            database=intern(self.database),
            user=intern(self.user),
            ssl=self.ssl,
            min_pool_size=self.min_pool_size,
            max_pool_size=self.max_pool_size,
            max_concurrent_requests=self.max_concurrent_requests,
            password_ref=self.password_ref,
            ssl_root_ca=intern(self.ssl_root_ca) if self.ssl_root_ca else msgspec.UNSET,
            access=self.access,
            roles=self.roles,
        )


def type_of(event: Event) -> str:
    """Return the name under which the log keeps events of this kind."""
    return str(event.__struct_config__.tag)


def encode(event: Event) -> bytes:
    """Return the event as JSON, its type included, so that an exported line stands for itself."""
    return _ENCODER.encode(event)


def decode(entry: Entry) -> Event:
    """Return the entry's event; `CorruptEntry` when its type is unknown or its body does not fit the type."""
    decoder = _DECODERS.get(entry.type)
    if decoder is None:
        raise CorruptEntry(
            f"Entry {entry.position.entry} is a {entry.type!r}, which this version cannot read; "
            "upgrade this replica to the version that wrote it.",
            entry=entry.position.entry,
        )
    try:
        return decoder.decode(entry.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptEntry(
            f"Entry {entry.position.entry} ({entry.type}) cannot be read: {error}", entry=entry.position.entry
        ) from None


def unreadable(entry: Entry) -> Named | None:
    """Return whose entry it is and which version, where its body cannot be decoded and still tells that much.

    None for a type of an unknown name or major, and for a body that does not even name a tenant: what it means for
    others cannot be known then. A minor that this version does not know (`tenant_registered.v1.2`) concerns its tenant.
    """
    minor = _MINOR.fullmatch(entry.type)
    if (minor["known"] if minor else entry.type) not in _TENANT_TYPES:
        return None
    try:
        return _NAMED.decode(entry.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def restates(entry: Entry) -> bool:
    """Whether the entry says again what was lost, also where this version cannot read it."""
    return entry.type.startswith("tenant_restated.")


def read_envelope(entry_id: bytes, words: Sequence[bytes]) -> Entry | Foreign:
    """Read what the store returned for one entry, names and values in turn; `Foreign` when it is not one of ours."""
    entry = entry_id.decode("ascii")
    try:
        kind, seq, prev, data = _values(words)
        return Entry(Position(int(seq), entry), prev.decode("ascii"), _KNOWN.get(kind) or kind.decode("ascii"), data)
    except KeyError as error:
        return Foreign(entry, f"it has no field {error.args[0].decode()!r}")
    except ValueError:
        return Foreign(entry, "its envelope (seq, prev, type) is malformed")


def _values(words: Sequence[bytes]) -> Sequence[bytes]:
    """Return what is under the names of the envelope, which the scripts write in its order and others may not."""
    if len(words) == 2 * len(_ENVELOPE):
        name_1, kind, name_2, seq, name_3, prev, name_4, data = words
        if (name_1, name_2, name_3, name_4) == _ENVELOPE:
            return kind, seq, prev, data
    fields = dict(zip(words[::2], words[1::2], strict=True))
    return [fields[name] for name in _ENVELOPE]


def encode_head(head: Head) -> str:
    """Return the head without its position, which the log puts in front of it."""
    changed_at, born = (time.isoformat() if time else "" for time in (head.changed_at, head.born))
    known = (str(head.version), str(int(head.alive)), head.event_id, head.command_id, head.digest)
    return "|".join((*known, changed_at, born, head.mac or "", head.sum or "", head.changed_by))


def written_head(head: Head) -> str:
    """Return the head as it stands among the others."""
    return f"{head.position.seq}|{head.position.entry}|{encode_head(head)}"


def decode_head(raw: bytes) -> Head:
    """Read a head as the append script wrote it; `CorruptEntry` otherwise."""
    try:
        # The last one may hold anything, the separator too.
        seq, entry, version, alive, event_id, command_id, digest, *told = raw.decode().split("|", 11)
        place = Position(int(seq), entry)
        if not told:
            return Head(place, int(version), alive == "1", event_id, command_id, digest)
        when, since, mac, sum_, who = told
        changed_at = datetime.fromisoformat(when) if when else None
        born = changed_at if since == when else datetime.fromisoformat(since) if since else None
        known = (changed_at, who, born, mac or None, sum_ or None)
        return Head(place, int(version), alive == "1", event_id, command_id, digest, *known)
    except ValueError:
        raise CorruptEntry(f"A head cannot be read: {raw[:200]!r}. Was it edited by hand?") from None


def read_head(raw: bytes) -> Head | Unreadable:
    """Read what stands as a tenant's head, whatever that is."""
    try:
        return decode_head(raw)
    except CorruptEntry as error:
        told = _HEAD_TOLD.match(raw)
        return Unreadable(error.message, int(told[1]) if told else None)


def sum_of(document: bytes) -> str | None:
    """Return a digest of a tenant's document without its position, which is not known before it is appended.

    Of the bytes, so that no two documents that differ in anything have the same; None for what is no such document.
    """
    place = _PLACE.search(document)
    if place is None:
        return None
    start, end = place.span()
    return _digest(document[:start] + document[end:], digest_size=8).hexdigest()
