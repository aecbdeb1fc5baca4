"""The verifier of what is kept beside the log: heads, tenants' keys, fences, data keys and the epoch."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec
import pytest

from registry.entries import Epoch, Position, Unreadable
from registry.secrets import MasterKeys, new_master_key
from registry.verify_kept import Kept, check_epoch, check_kept
from tests.stories import MASTER, Story, kinds, opened, three_tenants, verified


@pytest.fixture
def story() -> Story:
    return three_tenants()


Breaking: TypeAlias = Callable[[Kept], Kept]


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
    _, (finding,) = check_kept(verified(story), tenant, kept, story.epoch, opened(MASTER, tenant, kept))

    assert finding.kind == kind
    assert said in finding.what
    assert tenant in finding.where


def test_a_data_key_that_the_master_key_does_not_open_is_named(story: Story) -> None:
    other = MasterKeys.parse(new_master_key("one"))
    verifier, kept = verified(story), story.kept("acme")

    assert check_kept(verifier, "acme", kept, story.epoch)[1] == []
    assert kinds(check_kept(verifier, "acme", kept, story.epoch, opened(other, "acme", kept))[1]) == ["data_key"]


def test_what_is_left_of_a_tenant_that_the_log_does_not_tell_of_is_named(story: Story) -> None:
    kept = story.kept("acme")

    _, found = check_kept(verified(story), "stranger", kept, story.epoch)

    assert kinds(found) == ["head", "tenant_key", "data_key"]


def test_the_head_that_an_earlier_log_has_left_is_named_as_that(story: Story) -> None:
    later = Epoch("later", "100-0", "100-0")

    _, found = check_kept(verified(story), "stranger", Kept(head=story.kept("acme").head), later)

    assert "an earlier log has left it" in found[0].what


def test_another_epoch_than_the_logs_is_named(story: Story) -> None:
    verifier = verified(story)

    assert check_epoch(verifier, story.epoch) is None
    for wrong in (None, Epoch("other", "1-0", "1-0"), Epoch("first", "2-0", "1-0"), Epoch("first", "1-0", "0-0")):
        finding = check_epoch(verifier, wrong)
        assert finding is not None
        assert finding.kind == "epoch"
