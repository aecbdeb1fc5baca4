"""Dates and times are read by models and programs: a wrong one is believed."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from server import temporal
from tests.tables import table

EPOCH = date(2000, 1, 1)
POSTGRES_DAYS = st.integers(-2_451_545, 106_741_034)  # 4713 BC to the year 294276
POSTGRES_US = st.integers(-2_451_545 * temporal.DAY_US, 106_741_034 * temporal.DAY_US)


@given(st.dates())
def test_a_date_of_our_era_is_written_as_python_writes_it(day: date) -> None:
    assert temporal.date_text((day - EPOCH).days) == day.isoformat()


@given(POSTGRES_DAYS)
def test_every_date_that_postgres_has_comes_back_as_the_same_day(days: int) -> None:
    assert temporal.read_date(temporal.date_text(days)) == days


@given(st.datetimes())
def test_an_instant_is_written_in_utc_as_python_writes_it_but_for_idle_zeros(moment: datetime) -> None:
    us = (moment - datetime(2000, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001 - a timestamp has no zone
    text = temporal.timestamptz_text(us)
    assert datetime.fromisoformat(text) == moment.replace(tzinfo=UTC)
    assert not text.endswith("0Z") or "." not in text


@given(POSTGRES_US)
def test_every_timestamp_that_postgres_has_comes_back_to_the_microsecond(us: int) -> None:
    assert temporal.read_timestamp(temporal.timestamp_text(us)) == us
    assert temporal.read_timestamptz(temporal.timestamptz_text(us)) == us


@given(st.integers(0, temporal.DAY_US), st.integers(-57599, 57599))
def test_every_time_of_day_comes_back_with_its_offset(us: int, west: int) -> None:
    assert temporal.read_time(temporal.time_text(us)) == us
    assert temporal.read_timetz(temporal.timetz_text(us, west)) == (us, west)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_every_interval_comes_back_with_months_days_and_time_apart(months: int, days: int, us: int) -> None:
    assert temporal.read_interval(temporal.interval_text(months, days, us)) == (months, days, us)


@table(
    ("days", "text"),
    [
        (0, "2000-01-01"),
        (59, "2000-02-29"),
        (-730_119, "0001-01-01"),
        (-730_120, "0001-12-31 BC"),
        (-746_134, "0044-02-26 BC"),
        (2_921_940, "10000-01-01"),
        (2**31 - 1, "infinity"),
        (-(2**31), "-infinity"),
    ],
)
def test_the_years_around_christ_and_beyond_9999_are_not_misread(days: int, text: str) -> None:
    assert temporal.date_text(days) == text
    assert temporal.read_date(text) == days


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "00:00:00"),
        (47_109_250_000, "13:05:09.25"),
        (1, "00:00:00.000001"),
        (temporal.DAY_US, "24:00:00"),
    ],
)
def test_a_time_has_a_fraction_only_where_there_is_one(us: int, text: str) -> None:
    assert temporal.time_text(us) == text


@pytest.mark.parametrize(
    ("west", "offset"), [(0, "+00:00"), (-7200, "+02:00"), (19_800, "-05:30"), (-(3600 + 60 + 1), "+01:01:01")]
)
def test_an_offset_is_told_east_of_greenwich_as_iso_has_it(west: int, offset: str) -> None:
    assert temporal.timetz_text(0, west) == f"00:00:00{offset}"


@pytest.mark.parametrize("text", ["infinity", "-infinity"])
def test_the_ends_of_time_have_names(text: str) -> None:
    assert temporal.timestamp_text(temporal.read_timestamp(text)) == text
    assert temporal.timestamptz_text(temporal.read_timestamptz(text)) == text
    assert temporal.interval_text(*temporal.read_interval(text)) == text


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 0), "PT0S"),
        ((14, 3, 14_706_500_000), "P1Y2M3DT4H5M6.5S"),
        ((-1, 2, -10_800_000_000), "P-1M2DT-3H"),
        ((0, 0, -500_000), "PT-0.5S"),
        ((0, 1, 0), "P1D"),
        ((0, 0, 61_000_000), "PT1M1S"),
    ],
)
def test_an_interval_is_an_iso_duration_whose_parts_have_their_own_signs(
    parts: tuple[int, int, int], text: str
) -> None:
    assert temporal.interval_text(*parts) == text
    assert temporal.read_interval(text) == parts


def test_weeks_are_read_though_never_written() -> None:
    assert temporal.read_interval("P2W") == (0, 14, 0)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2024-02-29", "2024-02-29T00:00:00Z"),
        ("2024-02-29 13:05", "2024-02-29T13:05:00Z"),
        ("2024-02-29T13:05:09+02", "2024-02-29T11:05:09Z"),
        ("2024-02-29T13:05:09-0530", "2024-02-29T18:35:09Z"),
        ("0044-03-15T12:00:00Z BC", "0044-03-15T12:00:00Z BC"),
    ],
)
def test_an_instant_without_offset_is_utc_and_one_with_is_moved(text: str, same: str) -> None:
    assert temporal.timestamptz_text(temporal.read_timestamptz(text)) == same


@table("text", ["2023-02-29", "2024-13-01", "2024-00-10", "0000-01-01", "24-01-01", "today", ""])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no such date|give "):
        temporal.read_date(text)


@pytest.mark.parametrize("text", ["24:00:01", "12:60", "12:00:60", "12", "12:00:00Z", "noon"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no such time|give "):
        temporal.read_time(text)


@pytest.mark.parametrize("text", ["P", "PT", "P1YT", "1 day", "P1.5D", "P1H"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601 duration"):
        temporal.read_interval(text)


def test_an_offset_on_a_timestamp_without_zone_is_refused_where_postgres_would_drop_it() -> None:
    with pytest.raises(ValueError, match="without an offset"):
        temporal.read_timestamp("2024-02-29T13:05:09Z")


@given(st.integers(-(10**9), 10**9))
def test_the_calendar_and_its_inverse_agree(days: int) -> None:
    assert temporal.days_from_civil(*temporal.civil_from_days(days)) == days
