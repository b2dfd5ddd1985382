"""The start time of the demo's clock."""

from __future__ import annotations

from datetime import UTC, datetime

import holidays
import pytest

from gateway.cli.demo.clock import demo_time


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, "2026-11-17T10:00:00"),
        ("2026-11-13T10:05:00", "2026-11-17T10:00:00"),  # an earlier demo's directory
        ("2026-11-17T10:05:00", "2026-11-17T10:05:01"),
        ("2026-11-17T11:30:00", "2026-11-18T10:00:00"),
        ("2026-11-18T03:00:00", "2026-11-18T10:00:00"),  # one that stayed up through the night
        ("2026-11-20T11:30:00", "2026-11-23T10:00:00"),  # a Friday
        ("2026-11-23T11:30:00", "2026-11-25T10:00:00"),  # then comes Guru Nanak's birthday: a holiday in India
        ("2026-11-27T11:30:00", "2026-12-01T10:00:00"),  # then comes St Andrew's day: a holiday in Scotland
        ("2026-12-24T11:30:00", "2026-12-29T10:00:00"),  # Boxing Day is on a Saturday, and observed on Monday
    ],
)
def test_the_clock_has_its_own_day_and_never_goes_back(last: str | None, expected: str) -> None:
    """Ten o'clock UTC on the same working day whenever it runs, or after what the ledger has seen."""
    assert demo_time(at(last) if last else None) == at(expected)


def test_the_first_day_is_no_holiday_anywhere() -> None:
    """Nothing of the shipped portfolio waits for a holiday of a part of its countries."""
    day = demo_time(None).date()
    for country in ("TW", "GB", "IN"):
        for part in (None, *holidays.country_holidays(country).subdivisions):
            assert day not in holidays.country_holidays(country, subdiv=part, years=day.year), (country, part)
