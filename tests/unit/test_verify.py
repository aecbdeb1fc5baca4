"""The verifier: each kind of damage is found and named, and what is whole is found to be."""

from typing import Final

import msgspec
import pytest
from hypothesis import given, strategies as st

from projections.directory import Directory
from registry.entries import Epoch, Foreign, Position
from registry.errors import CorruptEntry, LogDiverged
from registry.events import LogCreated, LogRestored
from registry.signing import Signer
from registry.verify import Verifier
from registry.verify_kept import check_kept
from tests.stories import KEYS, MASTER, TIME, Story, changed, kinds, opened, three_tenants, verified


@pytest.fixture
def story() -> Story:
    return three_tenants()


def test_what_the_system_wrote_is_found_to_be_whole(story: Story) -> None:
    verifier = verified(story)

    assert verifier.findings == []
    assert (verifier.entries, verifier.signed, verifier.unchecked, verifier.gaps) == (9, 9, 0, [])
    assert verifier.tenants == story.tenants
    assert verifier.epoch == story.epoch
    for name in story.tenants:
        kept = story.kept(name)
        truth, found = check_kept(verifier, name, kept, story.epoch, opened(MASTER, name, kept))
        assert (truth.tenant, found) == (story.tenants[name], [])


def test_a_restated_tenant_is_found_to_be_whole(story: Story) -> None:
    place = story.log(
        LogRestored(
            event_id="r", time=TIME, actor="b", epoch="second", lost_epoch="first", lost_position="20@20-0",
            outcome="log_shortened", live=1, removed=0,
        )
    )  # fmt: skip
    story.restate("acme", 7)
    story.restate("late", 3)

    verifier = verified(story)

    assert verifier.findings == []
    assert verifier.epoch == Epoch("second", place.entry, "1-0")


def test_what_the_verifier_finds_whole_a_replica_folds_to_the_same(story: Story) -> None:
    directory = Directory()
    for entry in story.entries:
        directory.apply(entry)

    assert {tenant.tenant: tenant for tenant in directory.all()} == verified(story).tenants


@pytest.mark.parametrize(
    ("field", "value"),
    [("actor", "eve"), ("reason", None), ("time", "2026-11-22T00:00:01Z"), ("event_id", "x"), ("command_id", "y"),
     ("digest", "z"), ("config", {"host": "evil", "database": "app", "user": "reader"}), ("unknown", 1)],
)  # fmt: skip
def test_a_changed_event_does_not_fit_its_signature(story: Story, field: str, value: object) -> None:
    changed(story, 5, **{field: value})

    (finding,) = verified(story).findings

    assert (finding.kind, finding.where) == ("signature", "entry 5@5-0")


def test_without_a_key_a_changed_event_that_could_be_passes(story: Story) -> None:
    changed(story, 5, actor="eve")

    assert verified(story, Signer()).findings == []


def test_a_secret_of_another_event_does_not_fit_the_signature(story: Story) -> None:
    changed(story, 5, secret=msgspec.json.decode(story.entries[1].data)["secret"])

    assert kinds(verified(story).findings) == ["signature"]


def test_the_bodies_of_two_entries_that_changed_places_are_named(story: Story) -> None:
    first, last = story.entries[4], story.entries[8]
    story.entries[4] = msgspec.structs.replace(first, data=last.data)
    story.entries[8] = msgspec.structs.replace(last, data=first.data)

    found = verified(story).findings

    assert {finding.where for finding in found} >= {"entry 5@5-0", "entry 9@9-0"}


def test_an_entry_that_was_taken_out_is_missing(story: Story) -> None:
    del story.entries[4]

    found = verified(story, Signer()).findings

    assert found[0].kind == "gap"
    assert "entry 5 before it are missing" in found[0].what
    assert verified(story).unchecked == 1  # acme's next event names what is missing


def test_an_event_that_was_taken_out_and_covered_up_breaks_the_tenants_chain(story: Story) -> None:
    del story.entries[4]
    story.entries = [
        msgspec.structs.replace(entry, position=Position(seq, f"{seq}-0"), prev=f"{seq - 1}-0")
        for seq, entry in enumerate(story.entries, 1)
    ]

    found = verified(story, Signer()).findings

    assert any("as the event of tenant 'acme' before it" in finding.what for finding in found)


def test_an_event_that_was_written_without_the_key_is_named(story: Story) -> None:
    story.signer = Signer()
    story.register("acme", "evil")

    (finding,) = verified(story).findings

    assert (finding.where, finding.what) == ("entry 10@10-0", "it is not signed")


def test_an_event_signed_with_another_key_is_named(story: Story) -> None:
    story.signer = Signer([("two", b"2" * 32)])
    story.register("acme")
    story.signer = Signer([("one", b"2" * 32)])
    story.register("beta")

    first, second = verified(story).findings

    assert "signed with the key 'two'" in first.what
    assert "does not fit" in second.what


def test_every_key_of_the_file_verifies(story: Story) -> None:
    story.signer = Signer([("two", b"2" * 32), *KEYS])
    story.register("acme")

    assert verified(story, story.signer).findings == []


def test_what_is_older_than_the_signing_key_may_be_unsigned() -> None:
    older = Story(Signer())
    older.register("acme")
    older.signer = Signer(KEYS)
    older.register("acme", "db2")

    assert kinds(verified(older).findings) == ["signature"] * 2
    assert verified(older, since=3).findings == []


def test_a_foreign_entry_is_named_and_the_rest_is_looked_at(story: Story) -> None:
    verifier = Verifier()
    for entry in story.entries[:3]:
        verifier.entry(entry)
    verifier.entry(Foreign("4-0", "it has no field 'seq'"))
    for entry in story.entries[4:]:
        verifier.entry(entry)
    verifier.finish(story.end)

    assert verifier.findings[0].where == "entry 4-0"
    assert verifier.position == story.end


def test_a_log_that_ends_before_its_end_is_named(story: Story) -> None:
    (finding,) = verified(story, end=Position(11, "11-0")).findings

    assert "it ends at 11@11-0" in finding.what


def test_a_version_that_does_not_come_next_is_named_and_the_next_one_is_not(story: Story) -> None:
    changed(story, 5, version=7)

    found = verified(story, Signer()).findings

    assert [finding.where for finding in found] == ["entry 5@5-0", "entry 9@9-0"]


def test_a_removal_of_nobody_is_named(story: Story) -> None:
    changed(story, 6, tenant="nobody", previous=None, version=1)

    assert "TenantRemoved of tenant 'nobody', which is unknown" in verified(story, Signer()).findings[0].what


def test_a_body_that_cannot_be_read_is_named(story: Story) -> None:
    changed(story, 5, config="none")

    found = verified(story).findings

    assert (found[0].kind, found[0].where) == ("body", "entry 5@5-0")
    assert len(found) == 1


def test_a_second_creation_is_named(story: Story) -> None:
    story.log(LogCreated(event_id="birth", time=TIME, actor="registry", epoch="other"))

    assert "begins with its own creation" in verified(story).findings[0].what


def test_of_very_many_findings_the_first_are_kept_and_all_are_counted() -> None:
    verifier = Verifier()
    for number in range(1500):
        verifier.entry(Foreign(f"{number + 1}-0", "it has no field 'seq'"))

    assert (len(verifier.findings), verifier.counted) == (1000, 1500)


ENVELOPES: Final = ("seq", "entry", "prev", "type", "data")


@given(st.data())
def test_one_flipped_field_anywhere_is_found(data: st.DataObject) -> None:
    story = Story()
    for tenant in ("acme", "beta", "acme"):
        story.register(tenant)
    story.remove("beta")
    number = data.draw(st.integers(2, 5), label="entry")
    entry = story.entries[number - 1]
    match data.draw(st.sampled_from(ENVELOPES), label="field"):
        case "seq":
            seq = data.draw(st.integers(0, 99).filter(lambda each: each != number))
            entry = msgspec.structs.replace(entry, position=Position(seq, entry.position.entry))
        case "entry":
            other = data.draw(st.integers(0, 99).filter(lambda each: each != number))
            entry = msgspec.structs.replace(entry, position=Position(number, f"{other}-0"))
        case "prev":
            other = data.draw(st.integers(0, 99).filter(lambda each: each != number - 1))
            entry = msgspec.structs.replace(entry, prev=f"{other}-0")
        case "type":
            entry = msgspec.structs.replace(entry, type=data.draw(st.sampled_from(["tenant_restated.v1", "x.v1"])))
        case _:
            at = data.draw(st.integers(0, len(entry.data) - 1), label="byte")
            bit = data.draw(st.integers(0, 6), label="bit")
            flipped = bytes([entry.data[at] ^ (1 << bit)])
            entry = msgspec.structs.replace(entry, data=entry.data[:at] + flipped + entry.data[at + 1 :])
    story.entries[number - 1] = entry

    verifier = Verifier(Signer(KEYS))
    for each in story.entries:
        verifier.entry(each)
    verifier.finish(Position(5, "5-0"))

    assert verifier.findings


@given(st.data())
def test_what_stops_a_replica_is_found(data: st.DataObject) -> None:
    story = Story(Signer())
    for tenant in ("acme", "beta", "acme"):
        story.register(tenant)
    story.remove("beta")
    taken = data.draw(st.lists(st.integers(0, 4), unique=True, max_size=2), label="taken out")
    entries = [entry for number, entry in enumerate(story.entries) if number not in taken]
    shuffled = data.draw(st.permutations(entries), label="order")
    directory, verifier, stopped = Directory(), Verifier(), False
    for entry in shuffled:
        verifier.entry(entry)
        try:
            directory.apply(entry)
        except (CorruptEntry, LogDiverged):
            stopped = True
    verifier.finish(story.end)

    assert bool(verifier.findings) == (stopped or directory.position != story.end)
