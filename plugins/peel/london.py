"""London time: business dates, due times, months."""

from __future__ import annotations

import calendar
import datetime as dt
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")


def now() -> dt.datetime:
    """The present moment in London."""
    return dt.datetime.now(LONDON)


def yesterday() -> dt.date:
    """The business date of the night now ending: yesterday in London."""
    return now().date() - dt.timedelta(days=1)


def parse_business_date(text: str) -> dt.date:
    """Read an ISO date.

    Raises:
        ValueError: the text is no date of the form YYYY-MM-DD.
    """
    if len(text) != 10:
        raise ValueError("a business date has the form YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError("a business date has the form YYYY-MM-DD") from None


def due_at(business_date: dt.date, due_time: dt.time) -> dt.datetime:
    """When a delivery for a business date is due: a London time on the day after it."""
    return dt.datetime.combine(business_date + dt.timedelta(days=1), due_time, LONDON)


def month_end(day: dt.date) -> dt.date:
    """The last day of the day's month."""
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])
