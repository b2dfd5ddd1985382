"""At what time the demo's day stands. Pure: the real time and the ledger's last one come in as values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import holidays

# 10:00 UTC is 18:00 in Taipei, 15:30 in Kolkata and 10:00 or 11:00 in London: within the contact windows of all
# three jurisdictions of the shipped portfolio (templates/policies), so that the demo shows messages, not waiting.
_START = time(10, 0, tzinfo=UTC)
_LATEST = time(11, 0, tzinfo=UTC)  # a run that begins later could meet the end of Taipei's evening
_COUNTRIES = ("TW", "GB", "IN")


def demo_time(now: datetime, last: datetime | None) -> datetime:
    """A permitted moment, today or on the next working day of all three countries.

    ``last`` is the latest instant in the ledger: a demo's clock never goes back on its data directory, or
    waits that had ended would begin again.
    """
    start = datetime.combine(now.astimezone(UTC).date(), _START)
    if last is not None and last >= start:
        after = last.astimezone(UTC) + timedelta(seconds=1)
        if after.timetz() < _LATEST and _is_working_day(after.date()):
            return after
        start = datetime.combine(after.date() + timedelta(days=1), _START)
    while not _is_working_day(start.date()):
        start += timedelta(days=1)
    return start


def _is_working_day(day: date) -> bool:
    return day.weekday() < 5 and not any(day in holidays.country_holidays(code, years=day.year) for code in _COUNTRIES)
