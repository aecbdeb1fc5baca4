"""The verifier: each kind of damage is found and named, and what is whole is found to be."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, strategies as st

from projections.directory import Directory
from registry import codec, decide
from registry.entries import START, Entry, Epoch, Foreign, Position, Unreadable
from registry.errors import CorruptEntry, LogDiverged, SecretUnreadable
from registry.events import (
    Event,
    LogCompacted,
    LogCreated,
    LogRestored,
    TenantConfig,
    TenantEvent,
    TenantRegistered,
    TenantRestated,
)
from registry.secrets import DataKey, MasterKeys, Secret, new_master_key
from registry.signing import Signer
from registry.state import Live, Removed, Tenant, evolve
from registry.stored import document_of, head_of
from registry.verify import Audit, Finding
from registry.verify_kept import Kept, check_epoch, check_kept
from tests.waiting import now

TIME: Final = datetime(2026, 11, 22, tzinfo=UTC)
KEYS: Final = [("one", b"1" * 32)]
MASTER: Final = MasterKeys.parse(new_master_key("one"))
CONFIG: Final = TenantConfig(host="db", database="app", user="reader")


class Story:
    """A log as the system writes it, event by event, and what is kept beside it."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or Signer(KEYS)
        self.entries: list[Entry] = []
        self.tenants: dict[str, Tenant] = {}
        self.data_keys: dict[str, str] = {}
        self.log(LogCreated(event_id="birth", time=TIME, actor="registry", epoch="first"))
        self.epoch = Epoch("first", "1-0", "1-0")

    @property
    def end(self) -> Position:
        return self.entries[-1].position if self.entries else START

    def log(self, event: Event) -> Position:
        if not isinstance(event, TenantEvent):
            event = self.signer.sign(event)
        seq = self.end.seq + 1
        place, prev = Position(seq, f"{seq}-0"), f"{seq - 1}-0"
        self.entries.append(Entry(place, prev, codec.type_of(event), codec.encode(event)))
        return place

    def register(self, tenant: str, host: str = "db") -> None:
        self.tell(self.registration(tenant, host), self.tenants.get(tenant))

    def registration(self, tenant: str, host: str) -> TenantRegistered:
        before = self.tenants.get(tenant)
        key, wrapped = now(MASTER.new_data_key(tenant))
        self.data_keys[tenant] = wrapped
        config = msgspec.structs.replace(CONFIG, host=host)
        secret = key.seal(tenant, decide.next_version(before), config.login, Secret("s3cret"))
        return decide.register(tenant, before, config, secret, self.origin())

    def remove(self, tenant: str) -> None:
        before = self.tenants[tenant]
        del self.data_keys[tenant]
        self.tell(decide.remove(tenant, before, self.origin()), before)

    def restate(self, tenant: str, version: int) -> None:
        event = TenantRestated(
            event_id=f"lost-{version}",
            time=TIME,
            actor="ann",
            tenant=tenant,
            version=version,
            command_id="c",
            digest="d",
            previous=self.tenants[tenant].position.entry if tenant in self.tenants else None,
            born=TIME,
            config=CONFIG,
        )
        self.data_keys.pop(tenant, None)
        self.tell(event, self.tenants.get(tenant))

    def tell(self, event: Any, before: Tenant | None) -> None:  # noqa: ANN401 - any tenant's event
        signed = self.signer.sign(event, before)
        self.tenants[signed.tenant] = evolve(before, signed, self.log(signed))

    def compact(self, first: int, epoch: str | msgspec.UnsetType = msgspec.UNSET) -> None:
        before, tenants = str(self.entries[first - 1].position), len(self.tenants)
        self.log(LogCompacted(event_id="cut", time=TIME, actor="ann", before=before, tenants=tenants, epoch=epoch))
        self.entries = [entry for entry in self.entries if entry.position.seq >= first]

    def origin(self) -> decide.Origin:
        number = self.end.seq
        return decide.Origin(
            actor="ann",
            reason=f"reason {number}",
            time=TIME + timedelta(seconds=number),
            event_id=f"event-{number}",
            command_id=f"command-{number}",
            digest="one:0d",
        )

    def kept(self, name: str) -> Kept:
        tenant = self.tenants[name]
        assert isinstance(tenant, Live | Removed)
        return Kept(
            head=head_of(tenant),
            document=document_of(tenant) if isinstance(tenant, Live) else None,
            fence=f"{self.epoch.opened}|{tenant.position.seq}".encode(),
            data_key=self.data_keys.get(name),
        )


@pytest.fixture
def story() -> Story:
    """Three tenants: one replaced twice, one removed and registered again, one removed."""
    story = Story()
    for tenant in ("acme", "beta", "gone"):
        story.register(tenant)
    story.register("acme", "db2")
    story.remove("beta")
    story.remove("gone")
    story.register("beta")
    story.register("acme", "db3")
    return story


def audited(story: Story, signer: Signer | None = None, *, end: Position | None = None, since: int = 0) -> Audit:
    audit = Audit(signer or Signer(KEYS), since)
    for entry in story.entries:
        audit.entry(entry)
    audit.finish(end or story.end)
    return audit


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def changed(story: Story, number: int, **fields: object) -> None:
    """Change fields of one entry's body, its type staying."""
    entry = next(each for each in story.entries if each.position.seq == number)
    body = {**msgspec.json.decode(entry.data), **fields}
    story.entries[story.entries.index(entry)] = msgspec.structs.replace(entry, data=msgspec.json.encode(body))


def test_what_the_system_wrote_is_found_to_be_whole(story: Story) -> None:
    audit = audited(story)

    assert audit.findings == []
    assert (audit.entries, audit.signed, audit.unchecked, audit.gaps) == (9, 9, 0, [])
    assert audit.tenants == story.tenants
    assert audit.epoch == story.epoch
    for name in story.tenants:
        kept = story.kept(name)
        truth, found = check_kept(audit, name, kept, story.epoch, opened(MASTER, name, kept))
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

    audit = audited(story)

    assert audit.findings == []
    assert audit.epoch == Epoch("second", place.entry, "1-0")


def test_what_the_verifier_finds_whole_a_replica_folds_to_the_same(story: Story) -> None:
    directory = Directory()
    for entry in story.entries:
        directory.apply(entry)

    assert {tenant.tenant: tenant for tenant in directory.all()} == audited(story).tenants


@pytest.mark.parametrize(
    ("field", "value"),
    [("actor", "eve"), ("reason", None), ("time", "2026-11-22T00:00:01Z"), ("event_id", "x"), ("command_id", "y"),
     ("digest", "z"), ("config", {"host": "evil", "database": "app", "user": "reader"}), ("unknown", 1)],
)  # fmt: skip
def test_a_changed_event_does_not_fit_its_signature(story: Story, field: str, value: object) -> None:
    changed(story, 5, **{field: value})

    (finding,) = audited(story).findings

    assert (finding.kind, finding.where) == ("signature", "entry 5@5-0")


def test_without_a_key_a_changed_event_that_could_be_passes(story: Story) -> None:
    changed(story, 5, actor="eve")

    assert audited(story, Signer()).findings == []


def test_a_secret_of_another_event_does_not_fit_the_signature(story: Story) -> None:
    changed(story, 5, secret=msgspec.json.decode(story.entries[1].data)["secret"])

    assert kinds(audited(story).findings) == ["signature"]


def test_the_bodies_of_two_entries_that_changed_places_are_named(story: Story) -> None:
    first, last = story.entries[4], story.entries[8]
    story.entries[4] = msgspec.structs.replace(first, data=last.data)
    story.entries[8] = msgspec.structs.replace(last, data=first.data)

    found = audited(story).findings

    assert {finding.where for finding in found} >= {"entry 5@5-0", "entry 9@9-0"}


def test_an_entry_that_was_taken_out_is_missing(story: Story) -> None:
    del story.entries[4]

    found = audited(story, Signer()).findings

    assert found[0].kind == "gap"
    assert "entry 5 before it are missing" in found[0].what
    assert audited(story).unchecked == 1  # acme's next event names what is missing


def test_an_event_that_was_taken_out_and_covered_up_breaks_the_tenants_chain(story: Story) -> None:
    del story.entries[4]
    story.entries = [
        msgspec.structs.replace(entry, position=Position(seq, f"{seq}-0"), prev=f"{seq - 1}-0")
        for seq, entry in enumerate(story.entries, 1)
    ]

    found = audited(story, Signer()).findings

    assert any("as the event of tenant 'acme' before it" in finding.what for finding in found)


def test_an_event_that_was_written_without_the_key_is_named(story: Story) -> None:
    story.signer = Signer()
    story.register("acme", "evil")

    (finding,) = audited(story).findings

    assert (finding.where, finding.what) == ("entry 10@10-0", "it is not signed")


def test_an_event_signed_with_another_key_is_named(story: Story) -> None:
    story.signer = Signer([("two", b"2" * 32)])
    story.register("acme")
    story.signer = Signer([("one", b"2" * 32)])
    story.register("beta")

    first, second = audited(story).findings

    assert "signed with the key 'two'" in first.what
    assert "does not fit" in second.what


def test_every_key_of_the_file_verifies(story: Story) -> None:
    story.signer = Signer([("two", b"2" * 32), *KEYS])
    story.register("acme")

    assert audited(story, story.signer).findings == []


def test_what_is_older_than_the_signing_key_may_be_unsigned() -> None:
    older = Story(Signer())
    older.register("acme")
    older.signer = Signer(KEYS)
    older.register("acme", "db2")

    assert kinds(audited(older).findings) == ["signature"] * 2
    assert audited(older, since=3).findings == []


def test_a_foreign_entry_is_named_and_the_rest_is_looked_at(story: Story) -> None:
    audit = Audit()
    for entry in story.entries[:3]:
        audit.entry(entry)
    audit.entry(Foreign("4-0", "it has no field 'seq'"))
    for entry in story.entries[4:]:
        audit.entry(entry)
    audit.finish(story.end)

    assert audit.findings[0].where == "entry 4-0"
    assert audit.position == story.end


def test_a_log_that_ends_before_its_end_is_named(story: Story) -> None:
    (finding,) = audited(story, end=Position(11, "11-0")).findings

    assert "it ends at 11@11-0" in finding.what


def test_a_version_that_does_not_come_next_is_named_and_the_next_one_is_not(story: Story) -> None:
    changed(story, 5, version=7)

    found = audited(story, Signer()).findings

    assert [finding.where for finding in found] == ["entry 5@5-0", "entry 9@9-0"]


def test_a_removal_of_nobody_is_named(story: Story) -> None:
    changed(story, 6, tenant="nobody", previous=None, version=1)

    assert "TenantRemoved of tenant 'nobody', which is unknown" in audited(story, Signer()).findings[0].what


def test_a_body_that_cannot_be_read_is_named(story: Story) -> None:
    changed(story, 5, config="none")

    found = audited(story).findings

    assert (found[0].kind, found[0].where) == ("body", "entry 5@5-0")
    assert len(found) == 1


def test_a_second_creation_is_named(story: Story) -> None:
    story.log(LogCreated(event_id="birth", time=TIME, actor="registry", epoch="other"))

    assert "begins with its own creation" in audited(story).findings[0].what


@pytest.mark.parametrize("before", ["99@99-0", "somewhere"])
def test_a_compaction_of_what_was_not_there_yet_is_named(story: Story, before: str) -> None:
    story.log(LogCompacted(event_id="cut", time=TIME, actor="ann", before=before, tenants=3))

    assert kinds(audited(story).findings) == ["transition"]


def test_a_compacted_log_is_whole_when_heads_and_keys_tell_the_rest(story: Story) -> None:
    story.compact(first=7)

    audit = audited(story)

    assert audit.findings == []
    assert [str(gap) for gap in audit.compacted] == ["entries 1 to 6"]
    assert audit.unchecked == 3  # the event before each of these is gone
    for name in story.tenants:
        truth, found = check_kept(audit, name, story.kept(name), story.epoch)
        assert (truth.tenant, found) == (story.tenants[name], [])


def test_an_event_that_names_one_of_before_a_compaction_is_not_the_next_of_a_tenant_that_has_a_later_one(
    story: Story,
) -> None:
    """Or whoever may write to Redis could put any tenant where he likes, without the key, and nobody would be told."""
    story.compact(first=7)
    forged = story.registration("acme", "evil")

    story.log(msgspec.structs.replace(forged, previous="2-0"))

    assert kinds(audited(story).findings) == ["transition"]


@pytest.mark.parametrize(
    ("keys", "said"), [([], "it is not signed"), ([("two", b"2" * 32)], "it is signed with the key 'two'")]
)
def test_a_tenants_first_event_behind_a_compaction_bears_the_name_of_a_key_at_least(
    keys: list[tuple[str, bytes]], said: str, story: Story
) -> None:
    story.register("other")
    story.compact(first=10)
    story.signer = Signer(keys)
    story.register("acme", "evil")

    (finding,) = audited(story).findings

    assert (finding.kind, finding.where) == ("signature", "entry 12@12-0")
    assert said in finding.what


def test_a_compaction_that_was_noted_without_the_key_is_named(story: Story) -> None:
    story.signer = Signer()
    story.compact(first=7)

    (finding,) = audited(story).findings

    assert (finding.where, finding.what) == ("entry 10@10-0", "it is not signed")


def test_the_note_of_a_compaction_excuses_no_gap_but_the_one_it_tells_of(story: Story) -> None:
    """Numbers are given again when a log is restored: the note of before tells of another entry of that number."""
    story.log(LogCompacted(event_id="cut", time=TIME, actor="ann", before="7@5-0", tenants=3))
    del story.entries[:6]

    assert [finding.what for finding in audited(story).findings] == ["entries 1 to 6 before it are missing"]


def test_a_compaction_says_which_log_it_is_when_the_entries_that_did_are_gone(story: Story) -> None:
    story.compact(first=7, epoch=str(story.epoch))

    assert audited(story).epoch == story.epoch


def test_a_compaction_says_with_a_restoration_that_is_left_which_log_it_is(story: Story) -> None:
    restored = LogRestored(
        event_id="r",
        time=TIME,
        actor="a",
        epoch="second",
        lost_epoch=None,
        lost_position=None,
        outcome="log_gone",
        live=0,
        removed=0,
    )
    place = story.log(restored)
    second = Epoch("second", place.entry, story.epoch.begun)
    story.compact(first=place.seq, epoch=str(second))

    assert audited(story).epoch == second


def test_the_tenant_that_only_its_head_and_key_tell_of_is_lost_when_one_of_them_is(story: Story) -> None:
    story.register("only")
    story.register("acme")
    story.compact(first=11)
    audit, kept = audited(story), story.kept("only")
    assert check_kept(audit, "only", kept, story.epoch)[0].by_head

    edited = msgspec.structs.replace(kept, document=(kept.document or b"").replace(b'"db"', b'"evil"'))
    for broken in (edited, msgspec.structs.replace(kept, document=None), msgspec.structs.replace(kept, head=None)):
        truth, (finding,) = check_kept(audit, "only", broken, story.epoch)
        assert truth.tenant is None
        assert finding.where == "tenant 'only'"


def test_a_log_without_its_beginning_and_without_a_word_about_it_is_not_whole(story: Story) -> None:
    story.entries = story.entries[3:]

    (finding,) = audited(story).findings

    assert finding.what == "entries 1 to 3 before it are missing"


def test_a_compaction_does_not_excuse_a_hole_behind_it(story: Story) -> None:
    story.compact(first=4)
    del story.entries[2]

    assert [finding.what for finding in audited(story).findings] == ["entry 6 before it are missing"]


def test_an_event_in_a_gap_is_later_than_what_the_entries_say(story: Story) -> None:
    kept, head = story.kept("acme"), story.tenants["acme"].position
    del story.entries[8]
    story.log(LogCompacted(event_id="c", time=TIME, actor="a", before="10@10-0", tenants=3))
    story.entries[-1] = msgspec.structs.replace(story.entries[-1], position=Position(10, "10-0"), prev="9-0")
    audit = audited(story)

    truth, found = check_kept(audit, "acme", kept, story.epoch)

    assert audit.tenants["acme"].position != head
    assert (truth.tenant, truth.by_head, found) == (story.tenants["acme"], True, [])
    assert check_kept(audit, "acme", msgspec.structs.replace(kept, head=None), story.epoch)[0].lost


Breaking = Callable[[Kept], Kept]


def opened(master: MasterKeys, tenant: str, kept: Kept) -> DataKey | SecretUnreadable | None:
    """Return the tenant's data key, or why it does not open, as whoever looks through a log hands it in."""
    if kept.data_key is None:
        return None
    try:
        return now(master.unwrap(tenant, kept.data_key))
    except SecretUnreadable as error:
        return error


def without(field: str) -> Breaking:
    return lambda kept: msgspec.structs.replace(kept, **{field: None})


def head_with(**fields: object) -> Breaking:
    return lambda kept: msgspec.structs.replace(kept, head=msgspec.structs.replace(kept.head, **fields))  # type: ignore[type-var]  # it is there


@pytest.mark.parametrize(
    ("tenant", "breaking", "kind", "said"),
    [
        ("acme", without("head"), "head", "is missing"),
        ("acme", head_with(version=9), "head", "does not say"),
        ("acme", head_with(position=Position(5, "5-0")), "head", "tells of 5@5-0"),
        ("gone", head_with(alive=True), "head", "does not say"),
        ("acme", without("document"), "tenant_key", "is missing"),
        ("gone", lambda kept: msgspec.structs.replace(kept, document=b"{}"), "tenant_key", "is removed"),
        ("acme", lambda kept: msgspec.structs.replace(kept, document=b"{}"), "tenant_key", "does not say"),
        ("acme", lambda kept: msgspec.structs.replace(kept, fence=b"1-0|99"), "fence", "ahead of the log"),
        ("acme", lambda kept: msgspec.structs.replace(kept, fence=b"2-0|1"), "fence", "ahead of the log"),
        ("acme", without("data_key"), "data_key", "is missing"),
        ("acme", lambda kept: msgspec.structs.replace(kept, data_key="nonsense"), "data_key", "unreadable"),
        ("gone", lambda kept: msgspec.structs.replace(kept, data_key="v1|k|one|x"), "data_key", "not destroyed"),
        ("acme", lambda kept: msgspec.structs.replace(kept, head=Unreadable("x")), "head", "be read"),
    ],
)  # fmt: skip
def test_what_is_kept_beside_the_log_and_does_not_fit_it_is_named(
    story: Story, tenant: str, breaking: Breaking, kind: str, said: str
) -> None:
    kept = breaking(story.kept(tenant))
    _, (finding,) = check_kept(audited(story), tenant, kept, story.epoch, opened(MASTER, tenant, kept))

    assert finding.kind == kind
    assert said in finding.what
    assert tenant in finding.where


def test_a_data_key_that_the_master_key_does_not_open_is_named(story: Story) -> None:
    other = MasterKeys.parse(new_master_key("one"))
    audit, kept = audited(story), story.kept("acme")

    assert check_kept(audit, "acme", kept, story.epoch)[1] == []
    assert kinds(check_kept(audit, "acme", kept, story.epoch, opened(other, "acme", kept))[1]) == ["data_key"]


def test_what_is_left_of_a_tenant_that_the_log_does_not_tell_of_is_named(story: Story) -> None:
    kept = story.kept("acme")

    _, found = check_kept(audited(story), "stranger", kept, story.epoch)

    assert kinds(found) == ["head", "tenant_key", "data_key"]


def test_the_head_that_an_earlier_log_has_left_is_named_as_that(story: Story) -> None:
    later = Epoch("later", "100-0", "100-0")

    _, found = check_kept(audited(story), "stranger", Kept(head=story.kept("acme").head), later)

    assert "an earlier log has left it" in found[0].what


def test_another_epoch_than_the_logs_is_named(story: Story) -> None:
    audit = audited(story)

    assert check_epoch(audit, story.epoch) is None
    for wrong in (None, Epoch("other", "1-0", "1-0"), Epoch("first", "2-0", "1-0"), Epoch("first", "1-0", "0-0")):
        finding = check_epoch(audit, wrong)
        assert finding is not None
        assert finding.kind == "epoch"


def test_of_very_many_findings_the_first_are_kept_and_all_are_counted() -> None:
    audit = Audit()
    for number in range(1500):
        audit.entry(Foreign(f"{number + 1}-0", "it has no field 'seq'"))

    assert (len(audit.findings), audit.counted) == (1000, 1500)


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

    audit = Audit(Signer(KEYS))
    for each in story.entries:
        audit.entry(each)
    audit.finish(Position(5, "5-0"))

    assert audit.findings


@given(st.data())
def test_what_stops_a_replica_is_found(data: st.DataObject) -> None:
    story = Story(Signer())
    for tenant in ("acme", "beta", "acme"):
        story.register(tenant)
    story.remove("beta")
    taken = data.draw(st.lists(st.integers(0, 4), unique=True, max_size=2), label="taken out")
    entries = [entry for number, entry in enumerate(story.entries) if number not in taken]
    shuffled = data.draw(st.permutations(entries), label="order")
    directory, audit, stopped = Directory(), Audit(), False
    for entry in shuffled:
        audit.entry(entry)
        try:
            directory.apply(entry)
        except (CorruptEntry, LogDiverged):
            stopped = True
    audit.finish(story.end)

    assert bool(audit.findings) == (stopped or directory.position != story.end)
