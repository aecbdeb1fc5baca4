"""The codec against the golden files: what was ever written is readable for ever, and written the same today.

A golden file is never edited. A shape that changes gets a new file and a new major; the old file stays.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest

from registry import codec
from registry.entries import Entry, Foreign, Head, Position
from registry.errors import CorruptEntry
from registry.events import (
    Event,
    LogCompacted,
    LogCreated,
    LogRestored,
    SealedSecret,
    TenantConfig,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
)
from registry.state import Live, evolve, stated
from registry.stored import document_of, head_of, tenant_of
from tests.tables import table

GOLDEN: Final = Path(__file__).parents[1] / "golden"
PLACE: Final = Position(12, "1763805601250-0")
VALUES: Final[dict[str, Event]] = {
    "log_created.v1": LogCreated(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e10",
        time=datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC),
        actor="registry",
        epoch="5f0d2c9be4a14b77a1d6c3e8f2907b64",
    ),
    "tenant_registered.v1": TenantRegistered(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
        time=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
        actor="ann",
        tenant="fedfina",
        version=3,
        command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
        digest="k20261122:8b1a9953c4611296a827abf8c47804d7",
        previous="1763805600000-0",
        reason="moved to the new cluster",
        config=TenantConfig(
            host="db.example",
            port=6432,
            database="app",
            user="reader",
            ssl="verify-full",
            min_pool_size=1,
            max_pool_size=8,
            max_concurrent_requests=40,
        ),
        secret=SealedSecret(key="9c1f04aa", version=2, sealed="AAECAwQFBgcICQoLDA0ODw=="),
    ),
    "tenant_removed.v1": TenantRemoved(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e13",
        time=datetime(2026, 11, 22, 10, 0, 2, tzinfo=UTC),
        actor="ben",
        tenant="fedfina",
        version=4,
        command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e14",
        digest="k20261122:cdd5b0e1f6f24c8f9a9f0a1b2c3d4e5f",
        previous="1763805601250-0",
    ),
    "tenant_restated.v1": TenantRestated(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
        time=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
        actor="ann",
        tenant="fedfina",
        version=3,
        command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
        digest="k20261122:8b1a9953c4611296a827abf8c47804d7",
        reason="said again after the log had lost it",
        mac="s20261122:0f9e8d7c6b5a49382716051423324150",
        born=datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC),
        config=TenantConfig(host="db.example", database="app", user="reader"),
        secret=SealedSecret(key="9c1f04aa", version=2, sealed="AAECAwQFBgcICQoLDA0ODw=="),
    ),
    "log_restored.v1": LogRestored(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e15",
        time=datetime(2026, 11, 24, 3, 0, 0, tzinfo=UTC),
        actor="web-1",
        epoch="7d1f2c9be4a14b77a1d6c3e8f2907b64",
        lost_epoch="5f0d2c9be4a14b77a1d6c3e8f2907b64",
        lost_position="42@1763805601250-0",
        outcome="log_gone",
        live=17,
        removed=3,
    ),
    "log_compacted.v1": LogCompacted(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e16",
        time=datetime(2026, 11, 24, 4, 0, 0, tzinfo=UTC),
        actor="cli:ann",
        before="40@1763805600000-0",
        tenants=20,
    ),
}
OLD_HEAD: Final = Head(
    PLACE,
    3,
    alive=True,
    event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
    command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
    digest="4be1c2d3a4f50617283940516273a4b5",
)
HEAD: Final = Head(
    PLACE,
    3,
    alive=True,
    event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
    command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
    digest="4be1c2d3a4f50617283940516273a4b5",
    changed_at=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
    changed_by="ann|the second",
    born=datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC),
    mac="s20261122:0f9e8d7c6b5a49382716051423324150",
    sum="0d1c2b3a49586776",
)


def test_every_kind_of_event_that_can_be_written_has_a_golden_file() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in get_args(Event)}

    assert kinds <= {path.stem for path in GOLDEN.glob("*.v*.json")}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.v*.json")), ids=lambda path: str(path.stem))
def test_what_was_ever_written_still_means_what_it_meant(path: Path) -> None:
    assert codec.decode(Entry(PLACE, "1-0", path.stem, _bytes(path.name))) == VALUES[path.stem]


@pytest.mark.parametrize("kind", [str(kind.__struct_config__.tag) for kind in get_args(Event)])
def test_an_event_is_written_today_as_the_golden_file_has_it(kind: str) -> None:
    assert codec.encode(VALUES[kind]) == _bytes(f"{kind}.json")


def test_a_compaction_that_says_which_log_it_is_reads_and_is_written_as_the_golden_file_has_it() -> None:
    event = VALUES["log_compacted.v1"]
    assert isinstance(event, LogCompacted)
    telling = msgspec.structs.replace(event, epoch="5f0d2c9be4a14b77a1d6c3e8f2907b64|1763805600000-0|1763805600000-0")

    assert codec.encode(telling) == _bytes("log_compacted.epoch.json")
    assert codec.decode(Entry(PLACE, "1-0", "log_compacted.v1", _bytes("log_compacted.epoch.json"))) == telling


@pytest.mark.parametrize("kind", ["tenant_registered.v1", "tenant_restated.v1"])
def test_a_tenant_whose_password_is_elsewhere_reads_and_is_written_as_the_golden_file_has_it(kind: str) -> None:
    event = VALUES[kind]
    assert isinstance(event, TenantRegistered | TenantRestated)
    assert event.config is not None
    config = msgspec.structs.replace(event.config, password_ref="file:fedfina/password")
    elsewhere = msgspec.structs.replace(event, config=config, secret=None)
    name = kind.replace(".v1", ".ref.json")

    assert codec.encode(elsewhere) == _bytes(name)
    assert codec.decode(Entry(PLACE, "1-0", kind, _bytes(name))) == elsewhere


def test_a_registration_with_authorities_and_powers_reads_and_is_written_as_the_golden_file_has_it() -> None:
    telling = _telling()

    assert codec.encode(telling) == _bytes("tenant_registered.told.json")
    assert codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", _bytes("tenant_registered.told.json"))) == telling


def test_a_tenant_that_may_be_written_to_reads_and_is_written_as_the_golden_files_have_it() -> None:
    event = VALUES["tenant_registered.v1"]
    assert isinstance(event, TenantRegistered)
    config = msgspec.structs.replace(event.config, access="read_write", roles=("app_writer", 'Ann\'s "role"'))
    telling = msgspec.structs.replace(event, config=config)
    live = evolve(None, msgspec.structs.replace(telling, version=1), PLACE)
    assert isinstance(live, Live)

    assert codec.encode(telling) == _bytes("tenant_registered.allowed.json")
    assert (
        codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", _bytes("tenant_registered.allowed.json"))) == telling
    )
    assert document_of(live) == _bytes("tenant_document.allowed.json")
    assert tenant_of("fedfina", head_of(live), _bytes("tenant_document.allowed.json")) == live


def test_a_document_with_authorities_reads_and_is_written_as_the_golden_file_has_it() -> None:
    live = evolve(None, msgspec.structs.replace(_telling(), version=1), PLACE)

    assert isinstance(live, Live)
    assert document_of(live) == _bytes("tenant_document.told.json")
    assert tenant_of("fedfina", head_of(live), _bytes("tenant_document.told.json")) == live


@pytest.mark.parametrize("event", VALUES.values(), ids=VALUES.keys())
def test_an_event_is_kept_under_the_name_of_its_type(event: Event) -> None:
    assert VALUES[codec.type_of(event)] == event


def test_a_field_that_a_later_version_adds_is_ignored() -> None:
    data = _bytes("tenant_removed.v1.json").removesuffix(b"}") + b',"approved_by":"eve"}'

    assert codec.decode(Entry(PLACE, "1-0", "tenant_removed.v1", data)) == VALUES["tenant_removed.v1"]


def test_a_registration_without_optional_fields_is_read_with_their_defaults() -> None:
    data = (
        b'{"type":"tenant_registered.v1","event_id":"e","time":"2026-11-22T10:00:00Z","actor":"a","tenant":"t",'
        b'"version":1,"command_id":"c","digest":"d","config":{"host":"h","database":"d","user":"u"}}'
    )
    event = codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", data))

    assert isinstance(event, TenantRegistered)
    assert (event.config.port, event.config.ssl, event.secret, event.previous) == (5432, "prefer", None, None)


@pytest.mark.parametrize("kind", ["tenant_registered.v2", "tenant_renamed.v1", "TenantRegistered", ""])
def test_an_event_of_an_unknown_type_asks_for_a_newer_replica(kind: str) -> None:
    with pytest.raises(CorruptEntry, match="upgrade this replica") as corrupt:
        codec.decode(Entry(PLACE, "1-0", kind, b"{}"))
    assert corrupt.value.facts == {"entry": PLACE.entry}


@table(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe", id="no UTF-8 at all"),
        pytest.param(b'{"type":"tenant_removed.v1","tenant":"\xff"}', id="a text that is no UTF-8"),
        pytest.param(b'{"type":"tenant_removed.v1"}', id="fields missing"),
        pytest.param(b'{"type":"log_created.v1","event_id":"e","time":"2026-11-22T10:00:00Z"}', id="another's"),
    ],
)
def test_a_body_that_does_not_fit_its_type_is_corrupt_and_names_the_entry(data: bytes) -> None:
    with pytest.raises(CorruptEntry, match=PLACE.entry) as corrupt:
        codec.decode(Entry(PLACE, "1-0", "tenant_removed.v1", data))
    assert corrupt.value.facts == {"entry": PLACE.entry}


def test_an_envelope_is_read_as_the_append_script_writes_it() -> None:
    words = [b"type", b"tenant_removed.v1", b"seq", b"12", b"prev", b"1-0", b"data", b"{}"]

    assert codec.read_envelope(PLACE.entry.encode(), words) == Entry(PLACE, "1-0", "tenant_removed.v1", b"{}")


def test_an_envelope_is_read_in_whatever_order_it_was_written_and_with_whatever_beside_it() -> None:
    words = [b"data", b"{}", b"by", b"hand", b"prev", b"1-0", b"seq", b"12", b"type", b"tenant_removed.v1"]

    assert codec.read_envelope(PLACE.entry.encode(), words) == Entry(PLACE, "1-0", "tenant_removed.v1", b"{}")


@pytest.mark.parametrize("field", [b"type", b"seq", b"prev", b"data"])
def test_an_entry_that_lacks_part_of_the_envelope_is_foreign_and_says_which(field: bytes) -> None:
    fields = {b"type": b"t", b"seq": b"12", b"prev": b"1-0", b"data": b"{}"}
    del fields[field]

    assert codec.read_envelope(b"7-0", _words(fields)) == Foreign("7-0", f"it has no field {field.decode()!r}")


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"seq", b"twelve"), (b"seq", b""), (b"seq", b"\xff"), (b"prev", b"\xff"), (b"type", b"\xff")],
)
def test_an_entry_with_a_malformed_envelope_is_foreign(field: bytes, value: bytes) -> None:
    fields = {b"type": b"t", b"seq": b"12", b"prev": b"1-0", b"data": b"{}", field: value}

    assert codec.read_envelope(b"7-0", _words(fields)) == Foreign("7-0", "its envelope (seq, prev, type) is malformed")


def test_a_head_that_was_ever_written_is_still_read() -> None:
    assert codec.decode_head(_bytes("head.txt")) == OLD_HEAD
    assert codec.decode_head(_bytes("head.v2.txt")) == HEAD


def test_a_head_is_written_today_as_the_golden_file_has_it() -> None:
    assert f"{PLACE.seq}|{PLACE.entry}|{codec.encode_head(HEAD)}".encode() == _bytes("head.v2.txt")


def test_a_removed_tenants_head_is_not_alive() -> None:
    gone = msgspec.structs.replace(HEAD, alive=False)

    assert not codec.decode_head(f"12|{PLACE.entry}|{codec.encode_head(gone)}".encode()).alive


@pytest.mark.parametrize("raw", [b"", b"12", b"x|1-0|3|1|e|c|d", b"12|1-0|3|1|e|c", b"12|1-0|3|1|e|c|d|more", b"\xff"])
def test_a_head_that_was_edited_by_hand_is_corrupt(raw: bytes) -> None:
    with pytest.raises(CorruptEntry, match="edited by hand"):
        codec.decode_head(raw)


def test_the_document_under_a_tenants_key_is_the_one_readers_were_promised() -> None:
    event = VALUES["tenant_registered.v1"]
    assert isinstance(event, TenantRegistered)
    first = evolve(None, msgspec.structs.replace(event, version=1), Position(2, "1-0"))
    second = evolve(first, msgspec.structs.replace(event, version=2), Position(3, "2-0"))

    third = evolve(second, event, PLACE)

    assert isinstance(third, Live)
    assert document_of(third) == _bytes("tenant_document.json")


def test_the_document_of_a_tenant_whose_password_is_elsewhere_says_where() -> None:
    data = _bytes("tenant_registered.ref.json")
    event = codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", data))
    assert isinstance(event, TenantRegistered)
    live = stated(event, PLACE, None)

    assert isinstance(live, Live)
    assert document_of(live) == _bytes("tenant_document.ref.json")
    assert tenant_of("fedfina", head_of(live), document_of(live)) == live


def test_a_tenant_whose_event_has_a_minor_that_is_not_known_here_is_named() -> None:
    entry = Entry(PLACE, "1-0", "tenant_registered.v1.4", b'{"tenant":"acme","version":2,"event_id":"e"}')

    assert codec.unreadable(entry) == codec.Named("acme", 2, "e")


def test_the_sum_of_a_document_does_not_depend_on_its_place_in_the_log_and_on_everything_else() -> None:
    document = _bytes("tenant_document.json")

    assert codec.sum_of(document) == codec.sum_of(document.replace(b'"seq":12', b'"seq":13'))
    assert codec.sum_of(document) != codec.sum_of(document.replace(b"6432", b"6433"))
    assert codec.sum_of(b"{}") is None


def _telling() -> TenantRegistered:
    """Return a registration that says all that it can."""
    event = VALUES["tenant_registered.v1"]
    assert isinstance(event, TenantRegistered)
    root_ca = "-----BEGIN CERTIFICATE-----\nAAECAwQFBgcICQoLDA0ODw==\n-----END CERTIFICATE-----\n"
    config = msgspec.structs.replace(event.config, ssl_root_ca=root_ca)
    return msgspec.structs.replace(event, config=config, powers=("read_files", "monitor"))


def _bytes(name: str) -> bytes:
    """Return a golden file without the line break that editors insist on."""
    return (GOLDEN / name).read_bytes().removesuffix(b"\n")


def _words(fields: dict[bytes, bytes]) -> list[bytes]:
    return [word for pair in fields.items() for word in pair]
