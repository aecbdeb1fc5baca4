"""Counting calls: buckets add up, and nothing a caller made up is kept."""

from hypothesis import given, strategies as st

from server.tool_tally import BUCKETS, Durations, ToolTally


@given(st.lists(st.floats(0, 100)))
def test_each_bucket_has_all_that_took_at_most_so_long(spent: list[float]) -> None:
    durations = Durations()
    for seconds in spent:
        durations.note(seconds)
    told = dict(durations.cumulative())
    assert [told[str(bound)] for bound in BUCKETS] == [sum(each <= bound for each in spent) for bound in BUCKETS]
    assert told["+Inf"] == len(spent)
    assert durations.total == sum(spent)


def test_calls_are_counted_by_tool_and_outcome() -> None:
    tally = ToolTally()
    for outcome in ("ok", "ok", "tenant_busy"):
        tally.note("list_tables", outcome, 0.1)
    assert tally.outcomes == {("list_tables", "ok"): 2, ("list_tables", "tenant_busy"): 1}
    assert tally.durations["list_tables"].counts[BUCKETS.index(0.1)] == 3
