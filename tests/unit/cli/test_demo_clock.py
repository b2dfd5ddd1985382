"""The demo's day."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.cli.demo.clock import demo_time


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        ("2026-11-17T03:00", None, "2026-11-17T10:00:00"),
        ("2026-11-17T23:00", None, "2026-11-17T10:00:00"),
        ("2026-11-21T12:00", None, "2026-11-23T10:00:00"),  # a Saturday
        ("2026-11-24T03:00", None, "2026-11-25T10:00:00"),  # Guru Nanak's birthday: a holiday in India
        ("2026-12-25T12:00", None, "2026-12-29T10:00:00"),  # Boxing Day is on a Saturday, and observed on Monday
        ("2026-11-17T03:00", "2026-11-17T10:05:00", "2026-11-17T10:05:01"),
        ("2026-11-17T03:00", "2026-11-17T11:30:00", "2026-11-18T10:00:00"),
        ("2026-11-17T03:00", "2026-11-20T11:30:00", "2026-11-23T10:00:00"),
        ("2026-11-17T03:00", "2026-11-13T10:05:00", "2026-11-17T10:00:00"),
    ],
)
def test_the_clock_stands_on_a_working_day_and_never_goes_back(now: str, last: str | None, expected: str) -> None:
    """Ten o'clock UTC on a working day of all three countries, or just after what the ledger has seen."""
    assert demo_time(at(now), at(last) if last else None) == at(expected)
