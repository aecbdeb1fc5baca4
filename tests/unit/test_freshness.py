"""Freshness: what a replica may serve, as a product of how long it stood still, was cut off, and was not seen."""

import itertools
import math
from typing import Final

import pytest
from hypothesis import given, strategies as st

from projections.freshness import Freshness, Verdict, refusal
from registry.errors import StaleReplica
from tests.tables import table

LEASE: Final = 5.0
FRESH, CATCH_UP, STALE, UNSEEN = Verdict
BOUNDS: Final = (0.0, 60.0, math.inf)


def following(max_staleness: float = 60.0, *, until: float = 100.0, must_be_seen: bool = False) -> Freshness:
    """A replica that has run from 0 to `until`, was seen and heard the log each second, and ticked each half."""
    freshness = Freshness(LEASE, max_staleness, must_be_seen=must_be_seen)
    run(freshness, 0.0, until, heard=True)
    return freshness


def run(freshness: Freshness, begin: float, end: float, *, heard: bool = False) -> None:
    """Let the process run; with `heard`, with a connection to Redis."""
    for half in range(int(begin * 2), int(end * 2) + 1):
        freshness.tick(half / 2)
        if heard and half % 2 == 0:
            freshness.seen(half / 2, half / 2)
            freshness.heard(half / 2)


@table(
    ("frozen", "cut_off", "bound", "away"),
    list(itertools.product((0.0, 5.0, 5.1, 3600.0), (False, True), BOUNDS, (0.0, 50.0, 60.0, 61.0, 400.0))),
)
def test_the_verdict_over_all_that_can_happen(frozen: float, cut_off: bool, bound: float, away: float) -> None:  # noqa: FBT001 - one of the table's columns
    freshness = following(bound)
    woken = 100.0 + frozen
    freshness.tick(woken)
    for half in range(1, int(away * 2) + 1):
        freshness.tick(woken + half / 2)
    now = woken + away
    too_old = bound == 0 or now - 100.0 > bound
    expected = CATCH_UP if frozen > LEASE else STALE if cut_off and too_old else FRESH
    assert freshness.verdict(now, cut_off=cut_off) is expected


def test_nothing_is_served_before_the_log_was_heard() -> None:
    freshness = Freshness(LEASE, math.inf)
    freshness.tick(0)
    assert freshness.verdict(1, cut_off=False) is CATCH_UP
    assert freshness.heard_at is None
    freshness.heard(2)
    assert freshness.verdict(2, cut_off=False) is FRESH
    assert freshness.heard_at == 2


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("cut_off", [False, True])
def test_a_process_that_stood_still_catches_up_and_nothing_but_the_log_helps(bound: float, cut_off: bool) -> None:  # noqa: FBT001 - one of the table's columns
    freshness = following(bound)
    assert freshness.verdict(105.5, cut_off=cut_off) is CATCH_UP
    run(freshness, 106, 130)
    assert freshness.verdict(130, cut_off=cut_off) is CATCH_UP


def test_an_answer_to_a_question_from_before_the_sleep_is_no_news() -> None:
    freshness = following()
    assert freshness.verdict(200, cut_off=False) is CATCH_UP
    freshness.heard(100.2)
    assert freshness.verdict(200.1, cut_off=False) is CATCH_UP
    freshness.heard(200.2)
    assert freshness.verdict(200.3, cut_off=False) is FRESH


def test_the_sleep_is_noticed_whoever_notices_first() -> None:
    first_heard = following()
    first_heard.heard(200)
    assert first_heard.verdict(200, cut_off=False) is FRESH
    first_ticked = following()
    first_ticked.tick(200)
    assert first_ticked.verdict(200, cut_off=False) is CATCH_UP
    first_seen = following()
    first_seen.seen(200, 200)
    assert first_seen.verdict(200, cut_off=False) is CATCH_UP


def test_what_is_heard_late_and_out_of_order_takes_nothing_back() -> None:
    freshness = following()
    freshness.heard(98)
    assert freshness.heard_at == 100
    freshness.tick(99)
    assert freshness.verdict(105, cut_off=False) is FRESH


def test_a_replica_that_must_be_seen_serves_nothing_before_it_was_and_heard_the_log_afterwards() -> None:
    freshness = Freshness(LEASE, math.inf, must_be_seen=True)
    freshness.heard(1)
    assert freshness.verdict(1, cut_off=False) is CATCH_UP
    freshness.seen(1, 2)
    assert freshness.verdict(2, cut_off=False) is CATCH_UP
    freshness.heard(2.5)
    assert freshness.verdict(2.5, cut_off=False) is FRESH


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_replica_that_others_no_longer_count_on_stops_until_it_was_seen_and_heard_the_log(bound: float) -> None:
    freshness = following(bound, must_be_seen=True)
    end = 100 + min(bound, 100.0) + LEASE
    for half in range(200, int(end * 2) + 1):
        freshness.heard(half / 2)
    assert freshness.verdict(end, cut_off=False) is FRESH
    later = end + 1
    freshness.heard(later)
    assert freshness.verdict(later, cut_off=False) is (UNSEEN if bound < math.inf else FRESH)
    freshness.seen(later, later + 0.1)
    assert freshness.verdict(later + 0.2, cut_off=False) is (CATCH_UP if bound < math.inf else FRESH)
    freshness.heard(later + 0.3)
    assert freshness.verdict(later + 0.3, cut_off=False) is FRESH


def test_who_looks_for_the_cause_is_not_told_that_redis_is_away_when_it_only_takes_no_writes() -> None:
    freshness = following(must_be_seen=True)
    for half in range(200, 400):
        freshness.heard(half / 2)

    assert "cut off" not in refusal(freshness.verdict(200, cut_off=False)).message
    assert "cut off" in refusal(freshness.verdict(200, cut_off=True)).message


def test_all_refusals_are_retryable_and_say_what_to_do() -> None:
    for verdict in (CATCH_UP, STALE, UNSEEN):
        error = refusal(verdict)
        assert isinstance(error, StaleReplica)
        assert (error.code, error.retryable) == ("stale_replica", True)
        assert "try again" in error.message


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 20), st.sampled_from(["tick", "heard", "seen", "late"]), st.booleans()), max_size=40
    ),
    bound=st.sampled_from(BOUNDS),
    must_be_seen=st.booleans(),
)
def test_fresh_is_only_who_heard_the_log_since_it_woke_and_within_the_bound(
    steps: list[tuple[float, str, bool]],
    bound: float,
    must_be_seen: bool,  # noqa: FBT001 - drawn
) -> None:
    """A model that keeps the whole history agrees on every verdict that lets a call through."""
    freshness = Freshness(LEASE, bound, must_be_seen=must_be_seen)
    now, ran, heard, seen = 0.0, [0.0], [-math.inf], [-math.inf]
    freshness.tick(0)
    for pause, what, cut_off in steps:
        asked, now = now, now + pause
        if what == "tick":
            freshness.tick(now)
        elif what == "seen":
            freshness.seen(now, now)
            seen.append(now)
        else:
            at = asked if what == "late" else now
            freshness.heard(at)
            heard.append(at)
        if what != "late":
            ran.append(now)
        foreseen = now <= freshness.fresh_until
        verdict = freshness.verdict(now, cut_off=cut_off)
        assert cut_off or foreseen is (verdict is FRESH)
        if verdict is FRESH:
            woke = max((then for before, then in itertools.pairwise([*ran, now]) if then - before > LEASE), default=0.0)
            assert heard[-1] != -math.inf
            assert max(heard) >= woke
            assert not cut_off or now - max(heard) <= bound
            assert not cut_off or bound > 0
            assert not must_be_seen or now - max(seen) <= bound + LEASE or bound == math.inf
            assert not must_be_seen or len(seen) > 1
        ran.append(now)
