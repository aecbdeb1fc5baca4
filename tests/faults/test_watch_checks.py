"""The watch checks, each on a history that keeps its guarantee and on ones that break it."""

from typing import Literal

import pytest

from registry.entries import START, Position
from tests.faults.history import Announced, Applied, Began, History, Logged, Ok, Operation, Restored
from tests.faults.watch_checks import (
    Watch,
    bookmarkable,
    check_watches,
    ordered,
    reliable,
    resumable,
    resumable_by_the_next,
    unique,
    watches,
)


def at(seq: int) -> Position:
    return Position(seq, f"{seq}-0") if seq else START


def applied(
    seq: int,
    prev: int | None = None,
    *,
    tenant: str = "acme",
    state: Literal["live", "removed", "quarantined"] = "live",
    life: int = 1,
) -> Applied:
    before = at(seq - 1 if prev is None else prev)
    return Applied(replica="a", life=life, position=at(seq), prev=before, tenant=tenant, version=seq - 1, state=state)


def announced(seq: int, life: int = 1) -> Announced:
    return Announced(replica="a", life=life, position=at(seq))


def watch(*marks: Applied | Announced, life: int = 1, served: tuple[Position, ...] = ()) -> Watch:
    return Watch(replica="a", life=life, marks=marks, served=served)


@pytest.fixture
def log() -> list[Logged]:
    """Five entries: the log's creation and four versions of one tenant."""
    created = Logged(position=at(1), prev="0-0")
    return [
        created,
        *(
            Logged(position=at(seq), prev=f"{seq - 1}-0", tenant="acme", version=seq - 1, alive=True)
            for seq in range(2, 6)
        ),
    ]


def test_what_was_applied_entry_by_entry_keeps_every_guarantee(log: list[Logged]) -> None:
    good = watch(announced(1), applied(2), applied(3), announced(3), applied(4), applied(5), served=(at(5), at(3)))

    assert ordered(good) + unique(good) + reliable(good, log) + resumable(good) + bookmarkable(good, log) == []


def test_an_entry_applied_after_a_later_one_is_not_ordered() -> None:
    assert ordered(watch(applied(2), applied(4), applied(3)))


def test_an_entry_applied_twice_is_not_unique() -> None:
    assert unique(watch(applied(2), applied(3), applied(3)))


def test_an_entry_left_out_is_not_reliable(log: list[Logged]) -> None:
    assert reliable(watch(applied(2), applied(4)), log) == ["replica a (process 1) left out entry 3"]


def test_an_entry_that_the_log_does_not_hold_is_not_reliable(log: list[Logged]) -> None:
    assert reliable(watch(applied(5), applied(6)), log)


@pytest.mark.parametrize("other", [applied(3, tenant="other"), applied(3, state="removed"), applied(3, prev=1)])
def test_an_entry_that_was_made_something_else_of_is_not_reliable(other: Applied, log: list[Logged]) -> None:
    assert reliable(watch(applied(2), other, applied(4)), log)


def test_an_entry_that_does_not_follow_the_position_it_resumed_at_is_not_resumable() -> None:
    assert resumable(watch(announced(2), applied(4)))


def test_a_lost_connection_after_which_the_position_is_an_older_one_is_not_resumable() -> None:
    assert resumable(watch(announced(1), applied(2), applied(3), announced(2)))


def test_a_process_that_begins_behind_where_the_one_before_was_travelled_back() -> None:
    assert resumable_by_the_next(watch(announced(1), applied(2), applied(3)), watch(announced(2), life=2))
    assert not resumable_by_the_next(watch(announced(1), applied(2), applied(3)), watch(announced(3), life=2))


def test_a_position_announced_ahead_of_what_was_applied_is_no_bookmark(log: list[Logged]) -> None:
    assert bookmarkable(watch(announced(1), applied(2), announced(4)), log)


def test_a_position_announced_that_the_log_does_not_hold_is_no_bookmark(log: list[Logged]) -> None:
    assert bookmarkable(watch(Announced(replica="a", life=1, position=Position(2, "other-0"))), log)


def test_an_answer_that_says_served_before_it_was_applied_is_no_bookmark(log: list[Logged]) -> None:
    assert bookmarkable(watch(announced(1), applied(2), served=(at(4),)), log)


def test_after_a_restoration_positions_begin_anew_and_only_the_last_log_is_compared(log: list[Logged]) -> None:
    history = History(
        [
            Began(replica="a", life=1, pid=1, port=1, at=0.0),
            Began(replica="b", life=1, pid=2, port=1, at=0.0),
            Began(replica="b", life=2, pid=3, port=1, at=3.0),
            announced(8),
            applied(9),
            Restored(replica="a", life=1, epoch="new", at=2.0),
            announced(1),
            applied(2),
            *log,
        ]
    )

    assert [watch.of_last_log for watch in watches(history)] == [False, True, False, True]
    assert check_watches(history) == []


def test_a_whole_history_is_cut_into_processes_and_each_is_checked(log: list[Logged]) -> None:
    served = Operation(
        client=1,
        replica="a",
        life=2,
        command=1,
        action="register",
        invoked=1.0,
        returned=2.0,
        outcome=Ok({"position": str(at(5)), "version": 4, "status": "replaced"}),
    )
    history = History(
        [
            Began(replica="a", life=1, pid=1, port=1, at=0.0),
            Began(replica="a", life=2, pid=2, port=1, at=1.0),
            served,
            announced(1),
            applied(2),
            announced(2, life=2),
            applied(3, life=2),
            *log,
        ]
    )

    assert check_watches(history) == [
        f"replica a (process 2) answered that it serves {at(5)} and had applied up to {at(3)}"
    ]
