"""How often: at most so many contacts of a borrower, case, channel or address in a period.

Owns the five kinds of period. Dates are counted in the borrower's zones, in all possible ones at once, so that the
zone in which most contacts fall into the period decides; hours are counted in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from gateway.model import Category, Limit, PolicyReason, RuleResult
from gateway.policy.rule import Intent, Origin, Rule, Source
from gateway.policy.zones import Zoning, candidates, day_start, local_date, zoning_from

# A contact exactly one period ago no longer counts; limits count "at or after since", hence the smallest step.
STEP = timedelta(microseconds=1)

_MONDAY, _SUNDAY = 0, 6
_REASONS = {
    "borrower": PolicyReason.CAP_BORROWER,
    "case": PolicyReason.CAP_CASE,
    "channel": PolicyReason.CAP_CHANNEL,
    "address": PolicyReason.CAP_ADDRESS,
}


class Period(StrEnum):
    """What a cap counts over. ``contact-rules`` vocabulary, one meaning each."""

    CALENDAR_DAY = "calendar_day"  # the local date
    CONSECUTIVE_DAYS = "consecutive_days"  # so many local dates, the event's own being day one
    CALENDAR_WEEK = "calendar_week"  # from the pack's first day of the week
    ROLLING_HOURS = "rolling_hours"  # so many hours back
    ANCHORED = "anchored"  # so many hours from the first contact that found no period open


class CapRule(Rule):
    """One cap of one pack."""

    __slots__ = ("categories", "channel", "kind", "length", "maximum", "scope", "week_start", "without", "zoning")

    def __init__(self, origin: Origin, zoning: Zoning, cap: Mapping[str, Any], without: frozenset[str]) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.without = without
        self.scope: str = cap["scope"]
        self.channel: str | None = cap.get("channel")
        self.maximum: int = cap["max"]
        self.kind = Period(cap["period_kind"])
        self.length: int = cap["period"]
        self.week_start = _SUNDAY if cap.get("week_starts") == "sunday" else _MONDAY
        self.categories = frozenset(Category(each) for each in cap.get("categories", list(Category)))

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if not self._binds(intent):
            return None
        zones = candidates(self.zoning, intent.notification.borrower.time_zones)
        if not zones:
            return None
        counted = self._counted(intent)
        since = self._since(zones, counted, t)
        used = sum(1 for at in counted if at >= since)
        detail = f"{used} of {self.maximum}"
        if used < self.maximum:
            return self.origin.allows(detail)
        return self.origin.defers(_REASONS[self.scope], self._free(zones, counted, since), detail)

    def limit(self, intent: Intent, t: datetime) -> Limit | None:
        if not self._binds(intent):
            return None
        zones = candidates(self.zoning, intent.notification.borrower.time_zones)
        return Limit(
            _REASONS[self.scope],
            self._since(zones, self._counted(intent), t),
            self.maximum,
            channel=self._channel(intent),
            case_id=intent.notification.case.id if self.scope == "case" else None,
            address=(intent.address_digest or None) if self.scope == "address" else None,
            exempt_channels=tuple(sorted(self.without)),
        )

    def _binds(self, intent: Intent) -> bool:
        return (
            intent.channel not in self.without
            and (self.channel is None or self.channel == intent.channel)
            and intent.notification.category in self.categories
        )

    def _channel(self, intent: Intent) -> str | None:
        return intent.channel if self.scope in ("channel", "address") else self.channel

    def _counted(self, intent: Intent) -> list[datetime]:
        channel = self._channel(intent)
        case = intent.notification.case.id if self.scope == "case" else None
        address = intent.address_digest if self.scope == "address" else ""
        return sorted(
            each.at
            for each in intent.facts.contacts
            if (channel is None or each.channel == channel)
            and each.channel not in self.without
            and (case is None or each.case_id == case)
            and (not address or each.address == address)
        )

    def _since(self, zones: Sequence[tzinfo], counted: Sequence[datetime], t: datetime) -> datetime:
        """Where the period that ``t`` belongs to began; the earliest beginning of all zones."""
        if self.kind is Period.ROLLING_HOURS:
            return t - timedelta(hours=self.length) + STEP
        if self.kind is Period.ANCHORED:
            return self._anchor(counted, t)
        return min(day_start(tz, self._first_day(local_date(tz, t))) for tz in zones)

    def _free(self, zones: Sequence[tzinfo], counted: Sequence[datetime], since: datetime) -> datetime:
        """When the contact that has to leave the period for one more to fit has left it, in every zone."""
        if self.kind is Period.ANCHORED:
            return since + timedelta(hours=self.length)
        leaves = counted[-self.maximum]
        if self.kind is Period.ROLLING_HOURS:
            return leaves + timedelta(hours=self.length)
        return max(day_start(tz, self._day_after(local_date(tz, leaves))) for tz in zones)

    def _first_day(self, day: date) -> date:
        """The first date of the period that ends with, or for a week contains, ``day``."""
        if self.kind is Period.CALENDAR_WEEK:
            return day - timedelta(days=(day.weekday() - self.week_start) % 7 + 7 * (self.length - 1))
        return day - timedelta(days=self.length - 1)

    def _day_after(self, day: date) -> date:
        """The first date whose period no longer reaches back to ``day``."""
        if self.kind is Period.CALENDAR_WEEK:
            return day - timedelta(days=(day.weekday() - self.week_start) % 7) + timedelta(days=7 * self.length)
        return day + timedelta(days=self.length)

    def _anchor(self, counted: Sequence[datetime], t: datetime) -> datetime:
        length = timedelta(hours=self.length)
        anchor: datetime | None = None
        for at in counted:
            if at <= t and (anchor is None or at >= anchor + length):
                anchor = at
        return anchor if anchor is not None and t < anchor + length else t


def compile_rules(source: Source) -> Iterator[Rule]:
    if "caps" not in source.sections:
        return
    section = source.sections["caps"]
    zoning = zoning_from(source.sections["zone"])
    without = frozenset(section["channels_without_caps"]["value"])
    for cap in section["limits"]:
        yield CapRule(source.origin(f"cap.{cap['name']}", cap), zoning, cap, without)
