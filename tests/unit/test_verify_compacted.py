"""The verifier of a log whose beginning is gone: what a compaction excuses, and what nothing does."""

import msgspec
import pytest

from registry.entries import Epoch, Position
from registry.events import LogCompacted, LogRestored
from registry.signing import Signer
from registry.verify_kept import check_kept
from tests.stories import TIME, Story, kinds, three_tenants, verified


@pytest.fixture
def story() -> Story:
    return three_tenants()


@pytest.mark.parametrize("before", ["99@99-0", "somewhere"])
def test_a_compaction_of_what_was_not_there_yet_is_named(story: Story, before: str) -> None:
    story.log(LogCompacted(event_id="cut", time=TIME, actor="ann", before=before, tenants=3))

    assert kinds(verified(story).findings) == ["transition"]


def test_a_compacted_log_is_whole_when_heads_and_keys_tell_the_rest(story: Story) -> None:
    story.compact(first=7)

    verifier = verified(story)

    assert verifier.findings == []
    assert [str(gap) for gap in verifier.compacted] == ["entries 1 to 6"]
    assert verifier.unchecked == 3  # the event before each of these is gone
    for name in story.tenants:
        truth, found = check_kept(verifier, name, story.kept(name), story.epoch)
        assert (truth.tenant, found) == (story.tenants[name], [])


def test_an_event_that_names_one_of_before_a_compaction_is_not_the_next_of_a_tenant_that_has_a_later_one(
    story: Story,
) -> None:
    """Or whoever may write to Redis could put any tenant where he likes, without the key, and nobody would be told."""
    story.compact(first=7)
    forged = story.registration("acme", "evil")

    story.log(msgspec.structs.replace(forged, previous="2-0"))

    assert kinds(verified(story).findings) == ["transition"]


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

    (finding,) = verified(story).findings

    assert (finding.kind, finding.where) == ("signature", "entry 12@12-0")
    assert said in finding.what


def test_a_compaction_that_was_noted_without_the_key_is_named(story: Story) -> None:
    story.signer = Signer()
    story.compact(first=7)

    (finding,) = verified(story).findings

    assert (finding.where, finding.what) == ("entry 10@10-0", "it is not signed")


def test_the_note_of_a_compaction_excuses_no_gap_but_the_one_it_tells_of(story: Story) -> None:
    """Numbers are given again when a log is restored: the note of before tells of another entry of that number."""
    story.log(LogCompacted(event_id="cut", time=TIME, actor="ann", before="7@5-0", tenants=3))
    del story.entries[:6]

    assert [finding.what for finding in verified(story).findings] == ["entries 1 to 6 before it are missing"]


def test_a_compaction_says_which_log_it_is_when_the_entries_that_did_are_gone(story: Story) -> None:
    story.compact(first=7, epoch=str(story.epoch))

    assert verified(story).epoch == story.epoch


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

    assert verified(story).epoch == second


def test_the_tenant_that_only_its_head_and_key_tell_of_is_lost_when_one_of_them_is(story: Story) -> None:
    story.register("only")
    story.register("acme")
    story.compact(first=11)
    verifier, kept = verified(story), story.kept("only")
    assert check_kept(verifier, "only", kept, story.epoch)[0].by_head

    edited = msgspec.structs.replace(kept, document=(kept.document or b"").replace(b'"db"', b'"evil"'))
    for broken in (edited, msgspec.structs.replace(kept, document=None), msgspec.structs.replace(kept, head=None)):
        truth, (finding,) = check_kept(verifier, "only", broken, story.epoch)
        assert truth.tenant is None
        assert finding.where == "tenant 'only'"


def test_a_log_without_its_beginning_and_without_a_word_about_it_is_not_whole(story: Story) -> None:
    story.entries = story.entries[3:]

    (finding,) = verified(story).findings

    assert finding.what == "entries 1 to 3 before it are missing"


def test_a_compaction_does_not_excuse_a_hole_behind_it(story: Story) -> None:
    story.compact(first=4)
    del story.entries[2]

    assert [finding.what for finding in verified(story).findings] == ["entry 6 before it are missing"]


def test_an_event_in_a_gap_is_later_than_what_the_entries_say(story: Story) -> None:
    kept, head = story.kept("acme"), story.tenants["acme"].position
    del story.entries[8]
    story.log(LogCompacted(event_id="c", time=TIME, actor="a", before="10@10-0", tenants=3))
    story.entries[-1] = msgspec.structs.replace(story.entries[-1], position=Position(10, "10-0"), prev="9-0")
    verifier = verified(story)

    truth, found = check_kept(verifier, "acme", kept, story.epoch)

    assert verifier.tenants["acme"].position != head
    assert (truth.tenant, truth.by_head, found) == (story.tenants["acme"], True, [])
    assert check_kept(verifier, "acme", msgspec.structs.replace(kept, head=None), story.epoch)[0].lost
