"""Which fences of tenants' keys are false, case by case."""

from datetime import UTC, datetime
from typing import Final

import pytest

from registry.entries import UNKNOWN, AsOf, Epoch, Position
from registry.fences import is_false
from registry.state import Removed
from tests.tables import table

OURS: Final = Epoch("ours", "50-0", "1-0")
READ: Final = AsOf(OURS, Position(10, "100-0"))
END: Final = Position(15, "150-0")


def acme(seq: int) -> Removed:
    return Removed(
        tenant="acme",
        version=1,
        position=Position(seq, f"{seq}0-0"),
        event_id="event",
        command_id="command",
        digest="one:0d",
        changed_at=datetime(2026, 11, 22, tzinfo=UTC),
        changed_by="ann",
    )


@table(
    ("fence", "expected"),
    [
        pytest.param(None, False, id="none keeps nobody out"),
        pytest.param(b"garbage", False, id="nor does one that is none"),
        pytest.param(b"50-0|7", False, id="an older state gives way by itself"),
        pytest.param(b"50-0|8", False, id="and so does this very one"),
        pytest.param(b"49-0|14", False, id="and any one of an earlier epoch"),
        pytest.param(b"50-0|9", True, id="what was read tells of no such state"),
        pytest.param(b"50-0|10", True, id="nor is it the last one that was read"),
        pytest.param(b"50-0|11", False, id="a later one may be there"),
        pytest.param(b"50-0|15", False, id="up to the end"),
        pytest.param(b"50-0|16", True, id="and not behind it"),
        pytest.param(b"60-0|2", True, id="what was read tells of no such epoch"),
        pytest.param(b"60-0|12", True, id="whatever the number"),
        pytest.param(b"100-0|12", True, id="nor is it the last thing that was read"),
        pytest.param(b"100-1|12", False, id="a later epoch may be there"),
        pytest.param(b"110-0|4", False, id="of any number, for after a loss they are given out again"),
        pytest.param(b"150-0|15", False, id="opened as late as at the end"),
        pytest.param(b"150-1|15", True, id="and not behind it"),
    ],
)
def test_a_fence_is_false_if_what_it_tells_is_neither_in_what_was_read_nor_can_be_behind_it(
    fence: bytes | None,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_false(fence, acme(8), READ, END) is expected


@pytest.mark.parametrize(
    ("fence", "expected"),
    [
        pytest.param(b"0-0|8", False, id="this very state"),
        pytest.param(b"50-0|8", True, id="this very state, written by somebody who knows the epoch"),
        pytest.param(b"50-0|10", True, id="a lost one"),
        pytest.param(b"50-0|12", False, id="a later one may be there"),
        pytest.param(b"110-0|4", False, id="a later epoch may be there"),
    ],
)
def test_where_the_epoch_is_not_known_a_fence_gives_way_to_who_has_read_that_far(
    fence: bytes,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_false(fence, acme(8), AsOf(UNKNOWN, READ.position), END) is expected
