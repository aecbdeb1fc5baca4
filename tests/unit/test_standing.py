"""What a follower tells of itself: each loss once, and each anew; when it may serve no more, and when again."""

from datetime import UTC, datetime

import structlog
from structlog.testing import capture_logs

from projections.diagnosis import Finding
from projections.phase import Phase
from projections.standing import Standing


def standing() -> Standing:
    return Standing(structlog.get_logger("follower"))


def find(one: Standing, finding: Finding) -> None:
    one.finds(finding, "it is gone", position="9@9-0")


def test_a_loss_that_is_found_again_before_the_replica_has_got_over_it_is_told_once() -> None:
    one = standing()

    with capture_logs() as lines:
        find(one, Finding.LOG_GONE)
        one.enter(Phase.RESTORING, "it is gone", position="9@9-0")
        find(one, Finding.LOG_GONE)
        one.enter(Phase.CUT_OFF, "Redis is away", position="9@9-0")
        find(one, Finding.LOG_GONE)

    assert one.findings == {Finding.LOG_GONE: 1}
    assert [line["event"] for line in lines].count("log does not link") == 1


def test_a_loss_of_the_same_kind_is_told_anew_also_while_the_replica_looks_at_a_hole() -> None:
    one = standing()
    find(one, Finding.LOG_GONE)
    one.enter(Phase.RESTORING, "it is gone", position="9@9-0")
    one.enter(Phase.FOLLOWING, position="9@9-0")

    with capture_logs() as lines:
        one.enter(Phase.RESTORING, "entries are missing", position="9@9-0")
        find(one, Finding.LOG_GONE)

    assert one.findings == {Finding.LOG_GONE: 2}
    assert [line["event"] for line in lines] == ["registry restoring", "log does not link"]


def test_a_loss_is_told_anew_once_the_replica_has_changed_over_to_the_log_as_it_is() -> None:
    one = standing()
    find(one, Finding.LOG_GONE)
    one.enter(Phase.RESTORING, "it is gone", position="9@9-0")

    one.got_over()
    one.enter(Phase.CUT_OFF, "Redis is away", position="9@9-0")
    find(one, Finding.LOG_GONE)

    assert one.findings == {Finding.LOG_GONE: 2}


def test_who_reads_what_was_found_sees_from_when_that_is() -> None:
    one, before = standing(), datetime.now(UTC).replace(microsecond=0)

    find(one, Finding.LOG_GONE)

    assert one.found_at is not None
    assert one.found_at >= before


def test_that_a_replica_serves_nothing_any_more_and_that_it_does_again_is_one_line_each() -> None:
    one = standing()

    with capture_logs() as lines:
        for reason in (None, "cut off", "cut off", "it catches up", None, None):
            one.ages(reason, position="9@9-0")

    told = [(line["event"], line["log_level"], line.get("reason")) for line in lines]
    assert told == [("replica too old to serve", "warning", "cut off"), ("replica serves again", "info", None)]
