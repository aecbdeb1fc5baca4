"""Who counts as having applied a removal, who as perhaps serving still, and who as neither."""

import itertools
import math
from typing import Final

import msgspec
import pytest

from projections.replicas import (
    FORGOTTEN,
    LEASE,
    Identity,
    Pending,
    ReplicaState,
    Whereabouts,
    judge,
    line_of,
    read_line,
)
from registry.entries import START, Position
from tests.tables import table

AT: Final = Position(12, "1763856000000-0")
BEFORE: Final = Position(11, "1763855000000-5")
AFTER: Final = Position(13, "1763856000000-1")


def replica(
    *,
    name: str = "one",
    at: Position = BEFORE,
    log: str = "epoch",
    linked: bool = True,
    bound: float = 60.0,
    last_seen: float = 0.0,
) -> ReplicaState:
    return ReplicaState(
        identity=Identity(name=name, version="1", host="h", pid=7, max_staleness=bound),
        whereabouts=Whereabouts(log=log, position=at, state="following", linked=linked),
        last_seen=last_seen,
    )


@table(
    ("at", "applied"),
    [
        pytest.param(START, False, id="nothing yet"),
        pytest.param(BEFORE, False, id="the one before"),
        pytest.param(AT, True, id="the very entry"),
        pytest.param(AFTER, True, id="a later one"),
        pytest.param(Position(12, "1763855999999-0"), False, id="another entry of the same number, which was lost"),
        pytest.param(Position(15, "1763855999999-0"), False, id="further in entries that a failover lost"),
        pytest.param(Position(13, "9-9"), False, id="ids compare as numbers, not as texts"),
        pytest.param(Position(13, "what"), False, id="an id that is none"),
    ],
)
def test_what_a_replica_applied_shows_by_number_and_by_entry(at: Position, applied: bool) -> None:  # noqa: FBT001 - a column of the table
    assert replica(at=at).has_applied(AT, "epoch") is applied
    assert not replica(at=at, log="another").has_applied(AT, "epoch")
    assert not replica(at=at, linked=False).has_applied(AT, "epoch")


@table(
    ("bound", "last_seen"),
    list(itertools.product((0.0, 60.0, 1e6, math.inf), (0.0, LEASE, LEASE + 0.1, 65.0, 65.1, FORGOTTEN, 1.1e6))),
)
def test_one_that_has_not_said_so_is_pending_for_as_long_as_it_may_serve(bound: float, last_seen: float) -> None:
    one = replica(bound=bound, last_seen=last_seen)
    assert one.live is (last_seen <= LEASE)
    assert one.may_serve is (last_seen <= bound + LEASE)
    told = judge([one], AT, "epoch")
    assert told.confirmed == []
    assert told.pending == ([Pending(name="one", position=BEFORE, last_seen=last_seen)] if one.may_serve else [])
    assert not (one.forgettable and one.may_serve and bound < math.inf), "forgotten while it may serve"


def test_one_that_has_said_so_is_confirmed_however_long_ago() -> None:
    told = judge([replica(name="b", at=AFTER, last_seen=1e5), replica(name="a", at=AT)], AT, "epoch")
    assert (told.confirmed, told.pending, told.unknown) == (["a", "b"], [], None)


def test_those_that_were_not_seen_for_a_day_are_forgotten_unless_they_may_serve_for_longer() -> None:
    assert not replica(last_seen=FORGOTTEN).forgettable
    assert replica(last_seen=FORGOTTEN + 1).forgettable
    assert not replica(last_seen=FORGOTTEN + 1, bound=FORGOTTEN * 7).forgettable
    assert replica(last_seen=FORGOTTEN + 1, bound=math.inf).forgettable


@pytest.mark.parametrize("bound", [0.0, 60.0, math.inf])
def test_what_a_replica_tells_is_read_back_as_it_was(bound: float) -> None:
    one = replica(bound=bound, linked=False)
    text = line_of(one.identity, one.whereabouts)
    stored = text[:-1] + b',"seen":5000}'
    assert read_line(stored, 7500) == msgspec.structs.replace(one, last_seen=2.5)


def test_one_that_was_seen_before_redis_clock_went_back_is_pending_and_not_waited_for() -> None:
    one = replica()
    told = read_line(line_of(one.identity, one.whereabouts)[:-1] + b',"seen":3600000}', 0)
    assert told is not None
    assert not told.live, "every removal would wait for one that may have died an hour ago"
    assert told.may_serve
    assert not told.forgettable


@pytest.mark.parametrize("text", [b"", b"{}", b"no", b"\xff", b'{"name":"one","seen":5}', b"[1]"])
def test_what_none_of_ours_wrote_is_no_replica(text: bytes) -> None:
    assert read_line(text, 0) is None


def test_a_later_versions_replica_is_read_although_it_tells_more() -> None:
    one = replica()
    text = line_of(one.identity, one.whereabouts)[:-1] + b',"mood":"good","seen":0}'
    assert read_line(text, 0) == one
