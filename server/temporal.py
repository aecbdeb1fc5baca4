"""Postgres's dates and times, from the numbers on the wire to text and back.

Rules: pure; no session setting has a part in it (DateStyle, IntervalStyle and TimeZone may be anything). What is
written is ISO 8601 as far as that goes, and in every case something that Postgres itself reads as the same value:

- `2024-02-29`, `13:05:09.25` (a fraction only where there is one), `2024-02-29T13:05:09`;
- `2024-02-29T13:05:09Z` for timestamptz, always in UTC; `13:05:09+02:00` for timetz, in its own offset;
- `infinity` and `-infinity`;
- years before 1 as `0044-03-15 BC`, for ISO's astronomical `-0043` would be read as 43 BC; years beyond 9999 with the
  digits they need;
- an interval as `P1Y2M3DT4H5M6.5S`: months, days and time are three numbers in Postgres, and stay so. Each has its own
  sign: `P-1M2DT-3H`.

The epoch is Postgres's: 2000-01-01. The calendar is the proleptic Gregorian one.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

DAY_US: Final = 86_400_000_000
"""Microseconds of a day."""

_DAY_INFINITY: Final = {0x7FFF_FFFF: "infinity", -0x8000_0000: "-infinity"}
_US_INFINITY: Final = {0x7FFF_FFFF_FFFF_FFFF: "infinity", -0x8000_0000_0000_0000: "-infinity"}
_INTERVAL_INFINITY: Final = {
    (0x7FFF_FFFF, 0x7FFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF): "infinity",
    (-0x8000_0000, -0x8000_0000, -0x8000_0000_0000_0000): "-infinity",
}
_INFINITE_DAY: Final = {text: number for number, text in _DAY_INFINITY.items()}
_INFINITE_US: Final = {text: number for number, text in _US_INFINITY.items()}
_INFINITE_INTERVAL: Final = {text: number for number, text in _INTERVAL_INFINITY.items()}

_MINUTES: Final = tuple(f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(24 * 60 + 1))
_SECONDS: Final = tuple(f"{second:02d}" for second in range(60))
_ERA_DAYS: Final = 146_097
_EPOCH_SHIFT: Final = 730_425  # days from 0000-03-01, where the algorithm's eras begin, to 2000-01-01

_DATE: Final = r"(?P<year>\d{4,7})-(?P<month>\d\d)-(?P<day>\d\d)"
_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?"
_OFFSET: Final = r"(?P<offset>Z|(?P<sign>[+-])(?P<oh>\d\d)(?::?(?P<om>\d\d)(?::?(?P<os>\d\d))?)?)"
_ERA: Final = r"(?P<era> BC)?"
_READ_DATE: Final = re.compile(_DATE + _ERA, re.ASCII)
_READ_TIME: Final = re.compile(_CLOCK, re.ASCII)
_READ_TIMETZ: Final = re.compile(_CLOCK + _OFFSET, re.ASCII)
_READ_TIMESTAMP: Final = re.compile(f"{_DATE}(?:[T ]{_CLOCK})?{_ERA}", re.ASCII)
_READ_TIMESTAMPTZ: Final = re.compile(f"{_DATE}(?:[T ]{_CLOCK} ?{_OFFSET}?)?{_ERA}", re.ASCII)
_READ_INTERVAL: Final = re.compile(
    r"P(?=.)(?:(?P<Y>[+-]?\d+)Y)?(?:(?P<M>[+-]?\d+)M)?(?:(?P<W>[+-]?\d+)W)?(?:(?P<D>[+-]?\d+)D)?"
    r"(?:T(?=.)(?:(?P<h>[+-]?\d+)H)?(?:(?P<m>[+-]?\d+)M)?(?:(?P<neg>[+-]?)(?P<s>\d+)(?:\.(?P<f>\d{1,6}))?S)?)?",
    re.ASCII,
)


def date_text(days: int) -> str:
    """Return the date that lies `days` after 2000-01-01."""
    day, era = _day(days)
    return day + era


def time_text(us: int) -> str:
    """Return the time of day at `us` microseconds after midnight; 24:00:00 is one."""
    minutes, rest = divmod(us, 60_000_000)
    second, fraction = divmod(rest, 1_000_000)
    clock = f"{_MINUTES[minutes]}:{second:02d}"
    return f"{clock}.{fraction:06d}".rstrip("0") if fraction else clock


def timetz_text(us: int, west: int) -> str:
    """Return a time of day with its offset, which Postgres counts in seconds west of Greenwich."""
    minutes, second = divmod(abs(west), 60)
    offset = f"{'+' if west <= 0 else '-'}{minutes // 60:02d}:{minutes % 60:02d}"
    return time_text(us) + (f"{offset}:{second:02d}" if second else offset)


def timestamp_text(us: int) -> str:
    """Return the date and time `us` microseconds after 2000-01-01T00:00:00, without a zone."""
    return _moment(us, _minute)


def timestamptz_text(us: int) -> str:
    """Return the instant `us` microseconds after 2000-01-01T00:00:00Z, in UTC."""
    return _moment(us, _utc_minute)


def interval_text(months: int, days: int, us: int) -> str:
    """Return an ISO 8601 duration with months, days and time kept apart."""
    infinite = _INTERVAL_INFINITY.get((months, days, us))
    if infinite:
        return infinite
    years, months = _towards_zero(months, 12)
    date = "".join(f"{count}{unit}" for count, unit in ((years, "Y"), (months, "M"), (days, "D")) if count)
    time = _duration_time(us)
    return f"P{date}{'T' if time else ''}{time}" if date or time else "PT0S"


def read_date(text: str) -> int:
    """Return the days after 2000-01-01 of what `date_text` writes; raises `ValueError` with the form to give."""
    if text in _INFINITE_DAY:
        return _INFINITE_DAY[text]
    return _days(_matched(_READ_DATE, text, "2024-02-29"))


def read_time(text: str) -> int:
    """Return the microseconds after midnight of what `time_text` writes; raises `ValueError`."""
    return _us_of_day(_matched(_READ_TIME, text, "13:05:09.25, without an offset"))


def read_timetz(text: str) -> tuple[int, int]:
    """Return microseconds after midnight and seconds west of Greenwich; raises `ValueError`."""
    found = _matched(_READ_TIMETZ, text, "13:05:09.25+02:00")
    return _us_of_day(found), -_east(found)


def read_timestamp(text: str) -> int:
    """Return the microseconds after 2000-01-01T00:00:00 of a time without offset; raises `ValueError`."""
    if text in _INFINITE_US:
        return _INFINITE_US[text]
    found = _matched(_READ_TIMESTAMP, text, "2024-02-29T13:05:09.25, without an offset")
    return _days(found) * DAY_US + _us_of_day(found)


def read_timestamptz(text: str) -> int:
    """Return the microseconds after 2000-01-01T00:00:00Z; what has no offset is UTC. Raises `ValueError`."""
    if text in _INFINITE_US:
        return _INFINITE_US[text]
    found = _matched(_READ_TIMESTAMPTZ, text, "2024-02-29T13:05:09.25Z or …+02:00; without an offset it is UTC")
    return _days(found) * DAY_US + _us_of_day(found) - _east(found) * 1_000_000


def read_interval(text: str) -> tuple[int, int, int]:
    """Return months, days and microseconds of an ISO 8601 duration; raises `ValueError`."""
    if text in _INFINITE_INTERVAL:
        return _INFINITE_INTERVAL[text]
    found = _matched(_READ_INTERVAL, text, "an ISO 8601 duration like P1Y2M3DT4H5M6.5S")
    years, months, weeks, days, hours, minutes = (int(found[unit] or 0) for unit in "YMWDhm")
    us = int(found["s"] or 0) * 1_000_000 + _fraction(found["f"])
    signed = -us if found["neg"] == "-" else us
    return years * 12 + months, weeks * 7 + days, (hours * 60 + minutes) * 60_000_000 + signed


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Return astronomical year, month and day of the date `days` after 2000-01-01.

    After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": eras of 400 years, which begin in March.
    """
    era, of_era = divmod(days + _EPOCH_SHIFT, _ERA_DAYS)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9  # noqa: PLR2004 - March is 0, so January is 10
    return era * 400 + year + (month <= 2), month, day  # noqa: PLR2004 - January and February end the year before


def days_from_civil(year: int, month: int, day: int) -> int:
    """Return the days from 2000-01-01 to a date of the astronomical calendar; the inverse of `civil_from_days`."""
    era, year = divmod(year - (month <= 2), 400)  # noqa: PLR2004 - January and February end the year before
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * _ERA_DAYS + 365 * year + year // 4 - year // 100 + of_year - _EPOCH_SHIFT


@lru_cache(maxsize=4096)  # a column of timestamps has few days; half of the time spent on one is its date
def _day(days: int) -> tuple[str, str]:
    if days in _DAY_INFINITY:
        return _DAY_INFINITY[days], ""
    year, month, day = civil_from_days(days)
    if year > 0:
        return f"{year:04d}-{month:02d}-{day:02d}", ""
    return f"{1 - year:04d}-{month:02d}-{day:02d}", " BC"


@lru_cache(maxsize=4096)  # as for days: rows of one table were often made at the same time
def _minute(minutes: int) -> tuple[str, str]:
    """Return what stands before and behind the seconds."""
    days, of_day = divmod(minutes, 24 * 60)
    day, era = _day(days)
    return f"{day}T{_MINUTES[of_day]}:", era


@lru_cache(maxsize=4096)
def _utc_minute(minutes: int) -> tuple[str, str]:
    head, era = _minute(minutes)
    return head, f"Z{era}"


def _moment(us: int, minute: Callable[[int], tuple[str, str]]) -> str:
    if us in _US_INFINITY:
        return _US_INFINITY[us]
    minutes, rest = divmod(us, 60_000_000)
    before, behind = minute(minutes)
    second, fraction = divmod(rest, 1_000_000)
    if not fraction:
        return f"{before}{_SECONDS[second]}{behind}"
    if fraction % 10:
        return f"{before}{_SECONDS[second]}.{fraction:06d}{behind}"
    return f"{before}{_SECONDS[second]}.{fraction:06d}".rstrip("0") + behind


def _towards_zero(number: int, by: int) -> tuple[int, int]:
    whole, rest = divmod(abs(number), by)
    return (-whole, -rest) if number < 0 else (whole, rest)


def _duration_time(us: int) -> str:
    minutes, rest = _towards_zero(us, 60_000_000)
    hours, minutes = _towards_zero(minutes, 60)
    units = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    if not rest:
        return units
    second, fraction = divmod(abs(rest), 1_000_000)
    text = f"{second}.{fraction:06d}".rstrip("0").rstrip(".")
    return f"{units}{'-' if rest < 0 else ''}{text}S"


def _matched(pattern: re.Pattern[str], text: str, form: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError(f"give {form}")
    return found


def _days(found: re.Match[str]) -> int:
    year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
    astronomical = 1 - year if found["era"] else year
    days = days_from_civil(astronomical, month, day)
    if year == 0 or civil_from_days(days) != (astronomical, month, day):
        raise ValueError("there is no such date")
    return days


def _us_of_day(found: re.Match[str]) -> int:
    hour, minute, second = (int(found[unit] or 0) for unit in ("hour", "minute", "second"))
    us = ((hour * 60 + minute) * 60 + second) * 1_000_000 + _fraction(found["fraction"])
    if minute > 59 or second > 59 or us > DAY_US:  # noqa: PLR2004 - a clock
        raise ValueError("there is no such time of day")
    return us


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(6, "0"))


def _east(found: re.Match[str]) -> int:
    seconds = int(found["oh"] or 0) * 3600 + int(found["om"] or 0) * 60 + int(found["os"] or 0)
    return -seconds if found["sign"] == "-" else seconds
