"""The directory: it folds what links, and what does not link changes nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec
import pytest

from projections.directory import Directory
from registry import codec
from registry.entries import START, Entry, Epoch, Foreign, Position
from registry.errors import CorruptEntry, LogDiverged
from registry.events import Event, LogCompacted, LogCreated, LogRestored, TenantRegistered, TenantRemoved
from registry.state import Live, Quarantined, Removed

BIRTH: Final = LogCreated(event_id="birth", time=datetime(2026, 11, 22, tzinfo=UTC), actor="registry", epoch="first")


def entry_of(seq: int, event: Event) -> Entry:
    return Entry(Position(seq, f"{seq}-0"), f"{seq - 1}-0", codec.type_of(event), codec.encode(event))


@pytest.fixture
def directory(registered: Callable[[int], TenantRegistered]) -> Directory:
    """A directory that has read a log's first entry, and tenant acme's registration."""
    directory = Directory()
    directory.apply(entry_of(1, BIRTH))
    directory.apply(entry_of(2, registered(1)))
    return directory


def test_an_empty_directory_stands_before_the_first_entry() -> None:
    directory = Directory()

    assert (directory.position, directory.epoch, len(directory), directory.live()) == (START, None, 0, [])


def test_the_first_entry_tells_which_log_it_is_and_changes_no_tenant() -> None:
    directory = Directory()

    assert directory.apply(entry_of(1, BIRTH)) is None
    assert (directory.epoch, directory.position) == (Epoch("first", "1-0", "1-0"), Position(1, "1-0"))


def test_a_registration_is_returned_and_found(
    directory: Directory, registered: Callable[[int], TenantRegistered]
) -> None:
    event = msgspec.structs.replace(registered(1), tenant="beta")

    changed = directory.apply(entry_of(3, event))

    assert isinstance(changed, Live)
    assert changed is directory.tenant("beta")
    assert changed.position == directory.position == Position(3, "3-0")


def test_a_tenant_that_the_log_never_told_of_is_unknown(directory: Directory) -> None:
    assert directory.tenant("beta") is None


def test_a_removed_tenant_is_remembered_and_not_live(
    directory: Directory, removed: Callable[[int], TenantRemoved]
) -> None:
    directory.apply(entry_of(3, removed(2)))

    assert isinstance(directory.tenant("acme"), Removed)
    assert (directory.live(), len(directory)) == ([], 0)
    assert [tenant.tenant for tenant in directory.all()] == ["acme"]


def test_only_live_tenants_are_counted_however_often_they_change(
    directory: Directory, registered: Callable[[int], TenantRegistered], removed: Callable[[int], TenantRemoved]
) -> None:
    events: list[Event] = [registered(2), removed(3), registered(4), registered(5)]
    counts = []
    for seq, event in enumerate(events, start=3):
        directory.apply(entry_of(seq, event))
        counts.append(len(directory))

    assert counts == [1, 0, 1, 1]


def test_live_tenants_are_listed_by_id(directory: Directory, registered: Callable[[int], TenantRegistered]) -> None:
    for seq, name in enumerate(("zeta", "beta"), start=3):
        directory.apply(entry_of(seq, msgspec.structs.replace(registered(1), tenant=name)))

    assert [tenant.tenant for tenant in directory.live()] == ["acme", "beta", "zeta"]


def test_a_snapshot_of_all_tenants_does_not_change_under_whoever_walks_it(
    directory: Directory, registered: Callable[[int], TenantRegistered]
) -> None:
    before = directory.all()
    directory.apply(entry_of(3, msgspec.structs.replace(registered(1), tenant="beta")))

    assert [tenant.tenant for tenant in before] == ["acme"]


@pytest.mark.parametrize(
    ("seq", "prev"),
    [
        pytest.param(4, "3-0", id="an entry is missing in between"),
        pytest.param(4, "2-0", id="the count shows a hole"),
        pytest.param(3, "1-0", id="another entry stood before it"),
        pytest.param(2, "1-0", id="an entry read twice"),
        pytest.param(1, "0-0", id="another log's first entry"),
    ],
)
def test_an_entry_that_does_not_link_changes_nothing(
    seq: int, prev: str, directory: Directory, removed: Callable[[int], TenantRemoved]
) -> None:
    entry = msgspec.structs.replace(entry_of(seq, removed(2)), prev=prev)

    with pytest.raises(LogDiverged, match="this replica has read up to 2@2-0"):
        directory.apply(entry)
    assert _unchanged(directory)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"type": "tenant_renamed.v1"}, id="an unknown type"),
        pytest.param({"data": b"{}"}, id="a body that names no tenant"),
        pytest.param({"data": b'{"tenant":"acme","version":7}'}, id="a body of a version that may not come now"),
    ],
)
def test_an_entry_that_cannot_be_read_changes_nothing(
    damage: dict[str, str], directory: Directory, removed: Callable[[int], TenantRemoved]
) -> None:
    entry = msgspec.structs.replace(entry_of(3, removed(2)), **damage)

    with pytest.raises(CorruptEntry) as corrupt:
        directory.apply(entry)
    assert corrupt.value.facts == {"entry": "3-0"}
    assert _unchanged(directory)


def test_a_body_that_cannot_be_read_takes_its_tenant_out_and_the_rest_goes_on(
    directory: Directory, registered: Callable[[int], TenantRegistered]
) -> None:
    directory.apply(msgspec.structs.replace(entry_of(3, registered(2)), data=b'{"tenant":"acme","version":2}'))
    directory.apply(entry_of(4, msgspec.structs.replace(registered(1), tenant="beta")))

    acme = directory.tenant("acme")
    assert isinstance(acme, Quarantined)
    assert (acme.version, acme.position.seq) == (2, 3)
    assert [tenant.tenant for tenant in directory.live()] == ["beta"]
    assert len(directory) == 1

    directory.apply(entry_of(5, registered(3)))
    assert isinstance(directory.tenant("acme"), Live)


def test_a_tenant_said_again_that_cannot_be_read_is_taken_out_also_when_others_are_missing_before_it(
    directory: Directory, registered: Callable[[int], TenantRegistered]
) -> None:
    """A replica of an older version meets it in a rolling upgrade, and is not to halt for one tenant."""
    body = b'{"tenant":"acme","version":7}'

    directory.apply(msgspec.structs.replace(entry_of(3, registered(2)), type="tenant_restated.v1.1", data=body))

    acme = directory.tenant("acme")
    assert isinstance(acme, Quarantined)
    assert (acme.version, directory.position.seq) == (7, 3)


def test_a_log_that_begins_with_a_body_that_cannot_be_read_is_corrupt(
    registered: Callable[[int], TenantRegistered],
) -> None:
    directory = Directory()
    with pytest.raises(CorruptEntry):
        directory.apply(msgspec.structs.replace(entry_of(1, registered(1)), data=b'{"tenant":"acme","version":1}'))
    assert directory.position == START


def test_an_event_that_may_not_come_now_changes_nothing(
    directory: Directory, registered: Callable[[int], TenantRegistered]
) -> None:
    with pytest.raises(CorruptEntry, match="comes next"):
        directory.apply(entry_of(3, registered(5)))
    assert _unchanged(directory)


def test_a_log_that_does_not_begin_with_its_creation_is_corrupt(registered: Callable[[int], TenantRegistered]) -> None:
    directory = Directory()
    with pytest.raises(CorruptEntry, match="begins with its own creation"):
        directory.apply(entry_of(1, registered(1)))
    assert directory.position == START


def test_a_second_creation_inside_a_log_is_corrupt(directory: Directory) -> None:
    with pytest.raises(CorruptEntry, match="only there"):
        directory.apply(entry_of(3, BIRTH))
    assert directory.epoch == Epoch("first", "1-0", "1-0")
    assert _unchanged(directory)


def test_an_entry_of_somebody_elses_is_corrupt_and_changes_nothing(directory: Directory) -> None:
    with pytest.raises(CorruptEntry, match="not written by this system: it has no field 'seq'") as corrupt:
        directory.apply(Foreign("3-0", "it has no field 'seq'"))
    assert corrupt.value.facts == {"entry": "3-0"}
    assert _unchanged(directory)


def _unchanged(directory: Directory) -> bool:
    acme = directory.tenant("acme")
    return isinstance(acme, Live) and acme.version == 1 and directory.position == Position(2, "2-0")


@pytest.mark.parametrize(
    ("known", "asked", "twin"),
    [
        (["acme"], "ACME", "acme"),
        (["ACME"], "acme", "ACME"),
        (["Acme"], "aCME", "Acme"),
        (["acme"], "acme", None),
        (["ACME"], "ACME", None),
        (["acme", "ACME"], "acme", "ACME"),
        (["acme-1"], "acme_1", None),
        ([], "acme", None),
    ],
)
def test_a_tenant_whose_id_differs_in_case_alone_is_found(
    known: list[str], asked: str, twin: str | None, registered: Callable[[int], TenantRegistered]
) -> None:
    directory = Directory()
    directory.apply(entry_of(1, BIRTH))
    for seq, name in enumerate(known, 2):
        directory.apply(entry_of(seq, msgspec.structs.replace(registered(1), tenant=name)))
    other = Directory()
    other.become(directory)

    assert directory.twin_of(asked) == twin
    assert other.twin_of(asked) == twin
    assert Directory.of(directory.position, Epoch("e", "1-0", "1-0"), directory.all()).twin_of(asked) == twin


def test_a_removed_tenant_is_nobodys_twin(directory: Directory, removed: Callable[[int], TenantRemoved]) -> None:
    assert directory.twin_of("Acme") == "acme"

    directory.apply(entry_of(3, removed(2)))

    assert directory.twin_of("Acme") is None


def test_a_restoration_opens_an_epoch_of_the_same_log_and_a_compaction_opens_none(directory: Directory) -> None:
    """Else a fence of before the loss would keep a tenant's key from being written."""
    lost = {"lost_epoch": "first", "lost_position": "2@2-0", "outcome": "log_gone"}
    told = {"event_id": "again", "time": BIRTH.time, "actor": "registry", "epoch": "second", "live": 1, "removed": 0}
    restored = msgspec.convert({"type": "log_restored.v1", **told, **lost}, LogRestored)
    cut = LogCompacted(event_id="cut", time=BIRTH.time, actor="ann", before="2@2-0", tenants=1)

    assert directory.apply(entry_of(3, restored)) is None
    assert directory.epoch == Epoch("second", "3-0", "1-0")
    assert directory.apply(entry_of(4, cut)) is None
    assert directory.epoch == Epoch("second", "3-0", "1-0")
    assert [tenant.tenant for tenant in directory.live()] == ["acme"]


def test_which_log_it_is_is_learnt_from_a_note_only_where_it_was_not_read_and_was_opened_in_what_was(
    directory: Directory,
) -> None:
    """A note of another log would make every fence of this one look like a false one."""
    known, unknown = directory, Directory()
    unknown.position = Position(5, "5-0")

    known.learn(Epoch("noted", "1-0", "1-0"))
    assert known.epoch == Epoch("first", "1-0", "1-0")
    unknown.learn(None)
    unknown.learn(Epoch("later", "6-0", "1-0"))
    assert unknown.epoch is None
    unknown.learn(Epoch("noted", "5-0", "1-0"))
    assert unknown.epoch == Epoch("noted", "5-0", "1-0")


def test_all_tenants_are_told_in_a_replay_as_after_it(
    directory: Directory, registered: Callable[[int], TenantRegistered]
) -> None:
    """Whoever compares keys with the log right after a replay must see every tenant, read one by one or not."""
    directory.fold(entry_of(3, msgspec.structs.replace(registered(1), tenant="beta")))

    in_replay = list(directory.all())

    assert [tenant.tenant for tenant in in_replay] == ["acme", "beta"]
    assert list(directory.all()) == in_replay
