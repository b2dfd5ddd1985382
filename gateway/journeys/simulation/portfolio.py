"""Portfolios for simulations: a fictional one that ships, and the instant at which one begins. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.core.notifications import Borrower
from gateway.journeys.arms import fraction
from gateway.journeys.cases.record import CaseRecord, Snapshot, zone_of
from gateway.journeys.definitions.lint import PLACES

_CURRENCIES = {"cn": "CNY", "tw": "TWD", "us": "USD", "uk": "GBP", "in": "INR"}
_LARGEST = 50_000  # owed, in units of the currency; our choice
_LONGEST_OVERDUE = 75  # days: three months' stages; our choice


def example_portfolio(number: int, now: datetime) -> Iterator[CaseRecord]:
    """Fictional card accounts of five jurisdictions, one to 75 days overdue at ``now``; the same ones every time."""
    places = sorted(PLACES.items())
    for each in range(number):
        jurisdiction, (zone, locale) = places[each % len(places)]
        key = f"{jurisdiction}-{each:05d}"
        days = 1 + int(fraction("example", key, "days") * _LONGEST_OVERDUE)
        owed = Decimal(100 + int(fraction("example", key, "owed") * _LARGEST))
        addresses = {"sms": "+12025550100", "email": f"{key}@example.com", "inapp": key}
        borrower = Borrower(key, "", locale, jurisdiction, (zone,), addresses)
        months = 1 + min(2, days // 30)
        snapshot = Snapshot(
            now,
            borrower,
            "card",
            _CURRENCIES[jurisdiction],
            owed,
            owed,
            now.date() - timedelta(days=days),
            {"months_overdue": months},
        )
        yield CaseRecord(key, snapshot)


def latest_instant(records: Sequence[CaseRecord]) -> datetime:
    """The latest instant of the cases' snapshots, on the clock of the first case. Cases without one don't count."""
    found = max(each.snapshot.as_of for each in records if each.snapshot is not None)
    return found.astimezone(zone_of(records[0]))
