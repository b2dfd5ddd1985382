"""Building blocks for tests of the contact policy: the shipped packs, clocks of zones, requests and contacts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from gateway.core.facts import Contact
from gateway.core.notifications import Borrower, Case, Category, Notification, Step
from gateway.policy import load_packs
from gateway.policy.zones import zone

PACKS = load_packs(Path(__file__).parents[3] / "templates" / "policies")

NEW_YORK, LOS_ANGELES, HONOLULU = "America/New_York", "America/Los_Angeles", "Pacific/Honolulu"
TAIPEI, LONDON, KOLKATA, SHANGHAI = "Asia/Taipei", "Europe/London", "Asia/Kolkata", "Asia/Shanghai"


def at(text: str, name: str = "UTC") -> datetime:
    """``2026-11-24 10:00`` on the clocks of a zone."""
    place = zone(name)
    assert place is not None
    return datetime.fromisoformat(text).replace(tzinfo=place).astimezone(UTC)


def notification(jurisdiction: str = "tw", *zones: str, **changes: object) -> Notification:
    borrower = Borrower("B", "N", "en-US", jurisdiction, zones, {"sms": "x", "email": "y", "inapp": "z"})
    made = Notification(
        id="n1",
        tenant="t",
        idempotency_key="k",
        dedup_key="d",
        borrower=borrower,
        case=Case("C1", "card", date(2026, 11, 1), "first"),
        template="t",
        template_version="1",
        variables={},
        route=(Step("sms"),),
        category=Category.COLLECTIONS,
        accepted_at=at("2026-01-01 00:00"),
    )
    of_borrower = {name: changes.pop(name) for name in ("windows", "audience") if name in changes}
    return replace(made, borrower=replace(borrower, **of_borrower), **changes)  # type: ignore[arg-type]


def contact(when: datetime, channel: str = "sms", *, case: str = "C1", of: str = "other") -> Contact:
    return Contact(when, channel, case, "digest", of)
