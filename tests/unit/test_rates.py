"""Rates of calls: so many a second, more after a pause, and a bounded memory of who called."""

import pytest
from hypothesis import given, strategies as st

from registry.errors import RateLimited
from server import rates
from server.rates import CallRates, Rate
from tests.rates import unlimited


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_after_a_pause_a_burst_goes_through_and_then_as_many_as_the_rate_allows() -> None:
    clock = Clock()
    rate = Rate(8, 2.0, clock)
    assert [rate.take("ann") for _ in range(16)] == [0.0] * 16
    assert rate.take("ann") == 0.125
    clock.now += 0.125
    assert rate.take("ann") == 0.0
    assert rate.take("ann") > 0


def test_who_comes_when_it_was_told_to_is_let_in() -> None:
    clock = Clock()
    rate = Rate(3, 1.0, clock)
    while not (wait := rate.take("ann")):
        pass
    clock.now += wait + 1e-6
    assert rate.take("ann") == 0.0


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    rate = Rate(1, 0, clock)
    assert rate.take("ann") == 0.0
    for _ in range(100):
        assert rate.take("ann") > 0
    clock.now += 1.001
    assert rate.take("ann") == 0.0


def test_one_name_takes_nothing_from_another() -> None:
    rate = Rate(1, 0, Clock())
    assert rate.take("ann") == 0.0
    assert rate.take("ann") > 0
    assert rate.take("ben") == 0.0


def test_a_rate_of_less_than_one_a_second_lets_one_call_in_at_once() -> None:
    clock = Clock()
    rate = Rate(0.1, 2.0, clock)
    assert rate.take("ann") == 0.0
    assert rate.take("ann") == pytest.approx(10.0)


@given(
    per_second=st.floats(0.1, 1000),
    burst=st.floats(0, 10),
    pauses=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_in_no_stretch_of_time_come_more_than_its_rate_and_one_burst(
    per_second: float, burst: float, pauses: list[float]
) -> None:
    clock = Clock()
    rate, let_in = Rate(per_second, burst, clock), list[float]()
    for pause in pauses:
        clock.now += pause
        if not rate.take("ann"):
            let_in.append(clock.now)
    for first, begun in enumerate(let_in):
        for last in range(first, len(let_in)):
            most = max(1.0, burst * per_second) + (let_in[last] - begun) * per_second
            assert last - first + 1 <= most + 1e-3 + 1


def test_no_more_names_are_remembered_than_the_bound_and_those_that_are_paid_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "REMEMBERED", 100)
    clock = Clock()
    rate = Rate(1, 0, clock)
    for number in range(100):
        rate.take(f"old-{number}")
    clock.now += 0.5
    rate.take("busy")
    assert len(rate) == 100
    clock.now += 0.6
    for number in range(1000):
        rate.take(f"new-{number}")
        assert len(rate) <= 100
    clock.now += 5
    rate.take("one more")
    assert len(rate) == 1


def test_without_a_rate_nobody_is_refused_or_remembered() -> None:
    free = unlimited()
    for _ in range(1000):
        free.count_caller("ann")
        free.count_tenant("acme")
    assert len(free._caller) == len(free._tenant) == 0


def test_who_is_refused_is_told_why_when_to_come_again_and_that_it_may() -> None:
    limited = CallRates(caller=Rate(2, 0, Clock()), tenant=Rate(4, 0, Clock()))
    limited.count_caller("ann")
    limited.count_tenant("acme")
    with pytest.raises(RateLimited, match=r"You call more than 2 times a second; try again in 0\.5 s") as caller:
        limited.count_caller("ann")
    with pytest.raises(RateLimited, match="Tenant 'acme' is called more than 4 times a second") as tenant:
        limited.count_tenant("acme")
    assert (caller.value.retryable, caller.value.facts) == (True, {"retry_after_ms": 500})
    assert tenant.value.facts == {"retry_after_ms": 250}
