"""How failed logins are slowed, whom that may not touch, and how much of it is kept and told."""

from typing import Final

from hypothesis import given, strategies as st

from server.failed_logins import (
    ALL_PER_ONE,
    FREE,
    HALF_LIFE,
    LONGEST_DELAY,
    WAITING_AT_MOST,
    WAITING_OF_ONE,
    FailedLogins,
)

ADDRESS: Final = "192.0.2.1"


def delays(logins: FailedLogins, number: int, address: str = ADDRESS, at: float = 1000.0) -> list[float]:
    return [logins.failed(address, at) for _ in range(number)]


def test_the_first_failures_are_answered_at_once_and_each_later_one_waits_longer_up_to_a_bound() -> None:
    told = delays(FailedLogins(), 20)

    assert told[:FREE] == [0.0] * FREE
    assert 0 < told[FREE] < told[FREE + 1] < told[FREE + 2]
    assert told[-1] == LONGEST_DELAY


def test_failures_are_forgotten() -> None:
    logins = FailedLogins()
    delays(logins, 20)

    assert logins.failed(ADDRESS, 1000 + 10 * HALF_LIFE) == 0.0


def test_an_address_that_never_failed_waits_only_when_very_many_others_did() -> None:
    logins = FailedLogins()
    delays(logins, ALL_PER_ONE * 2)
    assert logins.failed("192.0.2.2", 1000) == 0.0

    for number in range(ALL_PER_ONE * 4):
        logins.failed(f"198.51.100.{number}", 1000)
    assert logins.failed("192.0.2.3", 1000) > 0


def test_who_has_many_addresses_of_one_network_has_one() -> None:
    logins = FailedLogins()
    told = [logins.failed(f"2001:db8::{number:x}", 1000) for number in range(20)]

    assert told[-1] == LONGEST_DELAY
    assert logins.failed("2001:db8:0:1::1", 1000) == 0.0


def test_few_may_wait_at_a_time_of_one_address_and_of_all() -> None:
    logins = FailedLogins()
    assert [logins.may_wait(ADDRESS) for _ in range(WAITING_OF_ONE + 1)] == [*[True] * WAITING_OF_ONE, False]

    others = [logins.may_wait(f"198.51.100.{number}") for number in range(WAITING_AT_MOST)]
    assert others.count(True) == WAITING_AT_MOST - WAITING_OF_ONE

    logins.waited(ADDRESS)
    assert logins.may_wait(ADDRESS)


def test_what_is_kept_is_bounded() -> None:
    logins = FailedLogins()
    for number in range(10_000):
        logins.failed(f"10.0.{number >> 8}.{number & 255}", 1000.0)

    assert len(logins._of) < 5_000
    assert not logins._waiting


def test_the_log_has_few_lines_and_the_next_one_says_how_many_were_left_out() -> None:
    logins = FailedLogins()
    told = [logins.unsaid(1000) for _ in range(100)]
    lines = [each for each in told if each is not None]

    assert 1 <= len(lines) <= 20
    assert logins.unsaid(2000) == 100 - len(lines)
    assert logins.unsaid(2000) == 0


@given(st.lists(st.tuples(st.sampled_from(["", "unix", "::1", "::ffff:1.2.3.4", "1.2.3.4"]), st.floats(0, 1e6))))
def test_no_delay_is_beyond_the_bound_whatever_happens(failures: list[tuple[str, float]]) -> None:
    logins = FailedLogins()
    now = 0.0
    for address, later in failures:
        now += later
        assert 0 <= logins.failed(address, now) <= LONGEST_DELAY
