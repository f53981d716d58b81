"""Days and months as integers, and London clock time as UTC seconds.

A *day* is a number of days since 1970-01-01; a *month* is ``year * 12 + month - 1``.
"""

from __future__ import annotations

import calendar
import datetime as dt
from functools import cache

import numpy as np
from numpy.typing import NDArray

from peel.london import LONDON
from peel.simulate.draws import Ints

EPOCH = dt.date(1970, 1, 1).toordinal()
DAY_SECONDS = 86_400
YEAR_DAYS = 365


def day_of(date: dt.date) -> int:
    """The day number of a date."""
    return date.toordinal() - EPOCH


def date_of(day: int) -> dt.date:
    """The date of a day number."""
    return dt.date.fromordinal(day + EPOCH)


OPEN = day_of(dt.date(4712, 12, 31))
"""The HR system's end of time: a period that has not ended."""


def month_of(date: dt.date) -> int:
    """The month number of a date."""
    return date.year * 12 + date.month - 1


def parse_month(text: str) -> int:
    """Read ``YYYY-MM``."""
    year, month = text.split("-")
    return int(year) * 12 + int(month) - 1


def first_day(month: int) -> int:
    """The first day of a month."""
    return day_of(dt.date(month // 12, month % 12 + 1, 1))


def days_in(month: int) -> int:
    """How many days a month has."""
    return calendar.monthrange(month // 12, month % 12 + 1)[1]


def mondays(month: int) -> NDArray[np.int64]:
    """The Mondays of a month."""
    start = first_day(month)
    days = np.arange(start, start + days_in(month), dtype=np.int64)
    return np.asarray(days[(days + 3) % 7 == 0])  # 1970-01-01 was a Thursday


def on_weekdays(days: Ints) -> Ints:
    """Move Saturdays and Sundays to the Monday after."""
    weekday = (days + 3) % 7
    moved: Ints = days + np.where(weekday == 5, 2, np.where(weekday == 6, 1, 0))
    return moved


@cache
def summer_time() -> NDArray[np.bool_]:
    """Whether London has summer time on a day's working hours, for days from 1970 to 2099."""
    last = day_of(dt.date(2100, 1, 1))
    flags = np.zeros(last, dtype=np.bool_)
    for year in range(1970, 2100):
        flags[_last_sunday(year, 3) : _last_sunday(year, 10)] = True
    return flags


def _last_sunday(year: int, month: int) -> int:
    day = day_of(dt.date(year, month, 31))
    return day - (day + 4) % 7


def utc_seconds(days: Ints, second_of_day: Ints) -> Ints:
    """UTC seconds since 1970 of London clock times; the second of day lies in working hours."""
    return days * DAY_SECONDS + second_of_day - 3600 * summer_time()[days]


def midnight_after(day: int) -> dt.datetime:
    """The London midnight that ends a day, in UTC."""
    local = dt.datetime.combine(date_of(day + 1), dt.time(0), LONDON)
    return local.astimezone(dt.UTC)


def half_past_midnight_after(day: int) -> dt.datetime:
    """Half past midnight in London on the day after, in UTC: when the sources write their extracts."""
    local = dt.datetime.combine(date_of(day + 1), dt.time(0, 30), LONDON)
    return local.astimezone(dt.UTC)
