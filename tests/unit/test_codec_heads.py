"""Heads and tenants' documents as bytes: what was ever written is still read, and is written today as it was."""

import msgspec
import pytest

from registry import codec
from registry.entries import Entry, Position, Unreadable
from registry.errors import CorruptEntry
from registry.events import TenantRegistered
from registry.state import Live, evolve, stated
from registry.stored import document_of, head_of, tenant_of
from tests.golden_values import HEAD, OLD_HEAD, PLACE, VALUES, golden, registration


def test_a_document_with_authorities_reads_and_is_written_as_the_golden_file_has_it() -> None:
    live = evolve(None, msgspec.structs.replace(registration(), version=1), PLACE)

    assert isinstance(live, Live)
    assert document_of(live) == golden("tenant_document.told.json")
    assert tenant_of("fedfina", head_of(live), golden("tenant_document.told.json")) == live


def test_a_head_that_was_ever_written_is_still_read() -> None:
    assert codec.decode_head(golden("head.txt")) == OLD_HEAD
    assert codec.decode_head(golden("head.v2.txt")) == HEAD


def test_a_head_is_written_today_as_the_golden_file_has_it() -> None:
    assert f"{PLACE.seq}|{PLACE.entry}|{codec.encode_head(HEAD)}".encode() == golden("head.v2.txt")


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
    assert document_of(third) == golden("tenant_document.json")


def test_the_document_of_a_tenant_whose_password_is_elsewhere_says_where() -> None:
    data = golden("tenant_registered.ref.json")
    event = codec.decode(Entry(PLACE, "1-0", "tenant_registered.v1", data))
    assert isinstance(event, TenantRegistered)
    live = stated(event, PLACE, None)

    assert isinstance(live, Live)
    assert document_of(live) == golden("tenant_document.ref.json")
    assert tenant_of("fedfina", head_of(live), document_of(live)) == live


def test_the_sum_of_a_document_does_not_depend_on_its_place_in_the_log_and_on_everything_else() -> None:
    document = golden("tenant_document.json")

    assert codec.sum_of(document) == codec.sum_of(document.replace(b'"seq":12', b'"seq":13'))
    assert codec.sum_of(document) != codec.sum_of(document.replace(b"6432", b"6433"))
    assert codec.sum_of(b"{}") is None


@pytest.mark.parametrize(
    ("raw", "told"),
    [(b"garbage", None), (b"7|7-0|one|1|a|b|x", 7), (b"-1|x", None), (b"|7-0|1", None), (b"\xff|7-0", None)],
)
def test_a_head_that_cannot_be_read_is_told_as_that_with_its_number_where_it_has_one(
    raw: bytes, told: int | None
) -> None:
    """One damaged head stops no start: the tenant is read from the log, from where the head says it is at most."""
    read = codec.read_head(raw)

    assert isinstance(read, Unreadable)
    assert read.seq == told


def test_a_head_that_can_be_read_is_read_as_ever() -> None:
    assert codec.read_head(codec.written_head(HEAD).encode()) == HEAD
