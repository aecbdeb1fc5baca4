"""What is read out of everything that was ever added to a log."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from projections.directory import Directory
from registry import codec
from registry.entries import Position
from registry.events import Event, LogCreated, TenantConfig, TenantRegistered, TenantRemoved, TenantRestated
from tests.faults.aof import RawEntry
from tests.faults.history import Complained, Logged, Recorder
from tests.faults.loss_evidence import fold, written

CONFIG = TenantConfig(host="db", database="w1", user="app")


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """One that knows when the run began."""
    with closing(Recorder(tmp_path / "history.jsonl")) as recorder:
        yield recorder


def moment(second: int) -> datetime:
    return datetime(2026, 11, 22, 12, 0, second, tzinfo=UTC)


def told(second: int, version: int, previous: int | None = None) -> dict[str, Any]:
    return {
        "event_id": f"event-{second}",
        "time": moment(second),
        "actor": "a",
        "tenant": "acme",
        "version": version,
        "command_id": f"command-{second}",
        "digest": "",
        "previous": f"{previous}-0" if previous else None,
    }


def raw(place: int, event: Event, *, seq: int | None = None, prev: int | None = None) -> RawEntry:
    words: dict[str, str | bytes] = {
        "type": codec.type_of(event),
        "seq": str(seq or place),
        "prev": f"{place - 1 if prev is None else prev}-0",
        "data": codec.encode(event),
    }
    return RawEntry(b"%d-0" % place, {name.encode(): _bytes(word) for name, word in words.items()})


def _bytes(word: str | bytes) -> bytes:
    return word.encode() if isinstance(word, str) else word


CREATED = raw(1, LogCreated(event_id="e", time=moment(1), actor="a", epoch="one"))
REGISTERED = raw(2, TenantRegistered(**told(2, 1), config=CONFIG))
REPLACED = raw(3, TenantRegistered(**told(3, 2, 2), config=CONFIG))
REMOVED = raw(4, TenantRemoved(**told(4, 3, 3)))
REBORN = raw(5, TenantRegistered(**told(5, 4, 4), config=CONFIG))
FOREIGN = RawEntry(b"3-0", {b"hello": b"world"})


def test_a_tenant_is_born_by_the_registration_that_found_none_and_keeps_that_until_it_is_removed(
    recorder: Recorder,
) -> None:
    entries = list(written([CREATED, REGISTERED, REPLACED, REMOVED, REBORN], recorder))

    births = [None if entry.born is None else datetime.fromtimestamp(entry.born, UTC) for entry in entries]
    assert births == [None, moment(2), moment(2), None, moment(5)]
    assert [(entry.version, entry.alive, entry.value) for entry in entries[1:]] == [
        (1, True, "w1"),
        (2, True, "w1"),
        (3, False, None),
        (4, True, "w1"),
    ]


def test_what_is_said_again_tells_its_birth_itself(recorder: Recorder) -> None:
    again = raw(2, TenantRestated(**told(3, 2), born=moment(1), config=CONFIG))

    (entry,) = written([again], recorder)

    assert (entry.born, entry.moment) == (moment(1).timestamp(), moment(3).timestamp())


def test_an_entry_of_which_two_files_tell_was_written_once_and_a_foreign_one_not_by_us(recorder: Recorder) -> None:
    entries = list(written([CREATED, REGISTERED, CREATED, REGISTERED, FOREIGN], recorder))

    assert [entry.position for entry in entries] == [Position(1, "1-0"), Position(2, "2-0")]


def test_a_log_is_folded_past_what_was_foreign_and_no_further_than_it_links() -> None:
    behind = raw(4, TenantRegistered(**told(4, 2, 2), config=CONFIG))

    past = list(fold([CREATED, REGISTERED, FOREIGN, behind], Directory()))
    broken = list(fold([CREATED, REGISTERED, behind], Directory()))

    assert [(each.tenant, each.version) for each in past if isinstance(each, Logged)][1:] == [("acme", 1), ("acme", 2)]
    assert isinstance(broken[-1], Complained)
