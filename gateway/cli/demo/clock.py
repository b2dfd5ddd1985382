"""Computes the start time of the demo's clock. Pure: the ledger's last instant is an argument."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import holidays

# The day that a demo begins on, whenever it is run, so that it shows the same each time. Our choice: a Tuesday after
# the due date in the shipped portfolio, and no holiday in any part of its three countries.
_DAY = date(2026, 11, 17)
# 10:00 UTC is 18:00 in Taipei, 15:30 in Kolkata and 10:00 or 11:00 in London: within the contact windows of all
# three jurisdictions of the shipped portfolio (templates/policies), so that the demo shows messages, not waiting.
_START = time(10, 0, tzinfo=UTC)
_LATEST = time(11, 0, tzinfo=UTC)  # a run that begins later could meet the end of Taipei's evening
_CALENDARS = (("TW", None), ("GB", "ENG"), ("GB", "SCT"), ("GB", "NIR"), ("IN", None))


def demo_time(last: datetime | None) -> datetime:
    """The time at which a demo starts: on the demo's day, or on the first working day after the ledger's last instant.

    ``last`` is the latest instant in the ledger: the clock never goes back on a data directory, since
    expired waits would begin again.
    """
    start = datetime.combine(_DAY, _START)
    if last is not None and last >= start:
        after = last.astimezone(UTC) + timedelta(seconds=1)
        if after.timetz() < _LATEST and _is_working_day(after.date()):
            return max(after, datetime.combine(after.date(), _START))
        start = datetime.combine(after.date() + timedelta(days=1), _START)
    while not _is_working_day(start.date()):
        start += timedelta(days=1)
    return start


def _is_working_day(day: date) -> bool:
    calendars = (holidays.country_holidays(code, subdiv=part, years=day.year) for code, part in _CALENDARS)
    return day.weekday() < 5 and not any(day in calendar for calendar in calendars)
