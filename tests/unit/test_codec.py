"""Events and entries as bytes: what was ever written is still read, and is written today as it was."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from registry import codec
from registry.entries import Entry, Foreign
from registry.errors import CorruptEntry
from registry.events import Event, LogCompacted, TenantRegistered, TenantRestated
from registry.state import Live, evolve
from registry.stored import document_of, head_of, tenant_of
from tests.golden_values import GOLDEN, PLACE, VALUES, golden, registration
from tests.tables import table


def test_every_kind_of_event_that_can_be_written_has_a_golden_file() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in get_args(Event)}

    assert kinds <= {path.stem for path in GOLDEN.glob("*.v*.json")}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.v*.json")), ids=lambda path: str(path.stem))
def test_what_was_ever_written_still_means_what_it_meant(path: Path) -> None:
    assert codec.decode(Entry(PLACE, "1-0", path.stem, golden(path.name))) == VALUES[path.stem]


@pytest.mark.parametrize("kind", [str(kind.__struct_config__.tag) for kind in get_args(Event)])
def test_an_event_is_written_today_as_the_golden_file_has_it(kind: str) -> None:
    assert codec.encode(VALUES[kind]) == golden(f"{kind}.json")


def test_a_compaction_that_says_which_log_it_is_reads_and_is_written_as_the_golden_file_has_it() -> None:
    event = VALUES["log_compacted.v1"]
    assert isinstance(event, LogCompacted)
    telling = msgspec.structs.replace(event, epoch="5f0d2c9be4a14b77a1d6c3e8f2907b64|1763805600000-0|1763805600000-0")

    assert codec.encode(telling) == golden("log_compacted.epoch.json")
    assert codec.decode(Entry(PLACE, "1-0", "log_compacted.v1", golden("log_compacted.epoch.json"))) == telling


@pytest.mark.parametrize("kind", ["tenant_registered.v1", "tenant_restated.v1"])
def test_a_tenant_whose_password_is_elsewhere_reads_and_is_written_as_the_golden_file_has_it(kind: str) -> None:
    event = VALUES[kind]
    assert isinstance(event, TenantRegistered | TenantRestated)
    assert event.config is not None
    config = msgspec.structs.replace(event.config, password_ref="file:fedfina/password")
    elsewhere = msgspec.structs.replace(event, config=config, secret=None)
    name = kind.replace(".v1", ".ref.json")

    assert codec.encode(elsewhere) == golden(name)
    assert codec.decode(Entry(PLACE, "1-0", kind, golden(name))) == elsewhere


def test_a_registration_with_authorities_and_powers_reads_and_is_written_as_the_golden_file_has_it() -> None:
    telling = registration()

    assert codec.encode(telling) == golden("tenant_registered.told.json")
    assert codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", golden("tenant_registered.told.json"))) == telling


def test_a_tenant_that_may_be_written_to_reads_and_is_written_as_the_golden_files_have_it() -> None:
    event = VALUES["tenant_registered.v1"]
    assert isinstance(event, TenantRegistered)
    config = msgspec.structs.replace(event.config, access="read_write", roles=("app_writer", 'Ann\'s "role"'))
    telling = msgspec.structs.replace(event, config=config)
    live = evolve(None, msgspec.structs.replace(telling, version=1), PLACE)
    assert isinstance(live, Live)

    assert codec.encode(telling) == golden("tenant_registered.allowed.json")
    assert (
        codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", golden("tenant_registered.allowed.json"))) == telling
    )
    assert document_of(live) == golden("tenant_document.allowed.json")
    assert tenant_of("fedfina", head_of(live), golden("tenant_document.allowed.json")) == live


@pytest.mark.parametrize("event", VALUES.values(), ids=VALUES.keys())
def test_an_event_is_kept_under_the_name_of_its_type(event: Event) -> None:
    assert VALUES[codec.type_of(event)] == event


def test_a_field_that_a_later_version_adds_is_ignored() -> None:
    data = golden("tenant_removed.v1.json").removesuffix(b"}") + b',"approved_by":"eve"}'

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


def test_a_tenant_whose_event_has_a_minor_that_is_not_known_here_is_named() -> None:
    entry = Entry(PLACE, "1-0", "tenant_registered.v1.4", b'{"tenant":"acme","version":2,"event_id":"e"}')

    assert codec.unreadable(entry) == codec.Named("acme", 2, "e")


def _words(fields: dict[bytes, bytes]) -> list[bytes]:
    return [word for pair in fields.items() for word in pair]
