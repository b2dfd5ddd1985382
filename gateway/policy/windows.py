"""When a borrower may be contacted: the pack's hours, and the borrower's own, in every possible zone at once.

Owns the rules ``zone``, ``window`` and ``borrower_window``. The arithmetic is in intervals.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from gateway.model import Category, PolicyReason, RuleResult, VerdictKind
from gateway.policy.durations import parse_duration
from gateway.policy.intervals import HOLIDAYS_VERSION, Calendar, Hours, Schedule, next_opening, parse_hours
from gateway.policy.rule import Intent, Origin, Rule, Source
from gateway.policy.zones import Zoning, candidates, zoning_from

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOLIDAY = "holiday"

# Reasons that come round again by the clock alone. A search that meets nothing else for long has no common window.
RECURRING = frozenset({PolicyReason.OUTSIDE_WINDOW, PolicyReason.HOLIDAY, PolicyReason.BORROWER_WISH})


class ZoneRule(Rule):
    """Nobody is contacted whose local time is unknown."""

    __slots__ = ("zoning",)

    def __init__(self, origin: Origin, zoning: Zoning) -> None:
        super().__init__(origin)
        self.zoning = zoning

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        found = candidates(self.zoning, intent.notification.borrower.time_zones)
        if found:
            return self.origin.allows(" ".join(each.key for each in found))
        return self.origin.says(VerdictKind.REVIEW, PolicyReason.UNKNOWN_ZONE, detail="no zone, or one that is none")


class WindowRule(Rule):
    """The pack's own hours, by category of message."""

    __slots__ = ("plain", "schedules", "without", "zoning")

    def __init__(
        self, origin: Origin, zoning: Zoning, schedules: Mapping[Category, Schedule], without: frozenset[str]
    ) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.schedules = schedules
        self.without = without
        # The same hours in a year without holidays, to tell a closed holiday from a closed hour.
        self.plain = {
            category: Schedule(each.weekdays, each.guard, each.exclusive) if each.holiday is not None else None
            for category, each in schedules.items()
        }

    def _zones(self, intent: Intent) -> tuple[tzinfo, ...]:
        if intent.channel in self.without:
            return ()
        return candidates(self.zoning, intent.notification.borrower.time_zones)

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        zones = self._zones(intent)
        if not zones:
            return None
        category = intent.notification.category
        schedule = self.schedules[category]
        detail = f"holidays {HOLIDAYS_VERSION}" if schedule.calendar else ""
        found = next_opening(schedule, zones, t)
        if found is None:
            return self.origin.says(VerdictKind.REVIEW, PolicyReason.NO_COMMON_WINDOW, detail=detail)
        if found[0] <= t:
            return self.origin.allows(detail)
        reason = PolicyReason.OUTSIDE_WINDOW
        if (plain := self.plain[category]) is not None:
            usual = next_opening(plain, zones, t)
            reason = PolicyReason.HOLIDAY if usual is not None and usual[0] <= t else reason
        return self.origin.defers(reason, found[0], detail)

    def ends(self, intent: Intent, t: datetime) -> datetime | None:
        zones = self._zones(intent)
        found = next_opening(self.schedules[intent.notification.category], zones, t) if zones else None
        return found[1] if found else None


class BorrowerWindowRule(Rule):
    """The hours the borrower asked for, with the pack's guard at both ends."""

    __slots__ = ("guard", "without", "zoning")

    def __init__(self, origin: Origin, zoning: Zoning, guard: timedelta, without: frozenset[str]) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.guard = guard
        self.without = without

    def _zones(self, intent: Intent) -> tuple[tzinfo, ...]:
        borrower = intent.notification.borrower
        if not borrower.windows or intent.channel in self.without:
            return ()
        return candidates(self.zoning, borrower.time_zones)

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        zones = self._zones(intent)
        if not zones:
            return None
        schedule = _wished(intent.notification.borrower.windows, self.guard)
        if schedule is None:
            return self.origin.says(VerdictKind.REVIEW, PolicyReason.BORROWER_WISH, detail="hours that can't be read")
        found = next_opening(schedule, zones, t)
        if found is None:
            return self.origin.says(VerdictKind.REVIEW, PolicyReason.NO_COMMON_WINDOW)
        if found[0] <= t:
            return self.origin.allows()
        return self.origin.defers(PolicyReason.BORROWER_WISH, found[0])

    def ends(self, intent: Intent, t: datetime) -> datetime | None:
        zones = self._zones(intent)
        schedule = _wished(intent.notification.borrower.windows, self.guard) if zones else None
        found = next_opening(schedule, zones, t) if schedule else None
        return found[1] if found else None


@lru_cache(maxsize=4096)
def _wished(windows: tuple[tuple[str, str], ...], guard: timedelta) -> Schedule | None:
    try:
        hours = tuple(piece for opens, closes in windows for piece in parse_hours(opens, closes))
    except ValueError:
        return None
    return Schedule((hours,) * 7, guard)


def compile_rules(source: Source) -> Iterator[Rule]:
    sections = source.sections
    if "zone" not in sections:
        return
    zoning = zoning_from(sections["zone"])
    yield ZoneRule(source.origin("zone", sections["zone"]), zoning)
    if "windows" not in sections:
        return
    section = sections["windows"]
    guard = parse_duration(section["guard"]["value"])
    without = frozenset(section["channels_without_window"]["value"])
    calendar = _calendar(sections.get("holidays"))
    schedules = {
        category: _schedule(section["hours"], category, guard, section["opening_exclusive"]["value"], calendar)
        for category in Category
    }
    yield WindowRule(source.origin("window", section), zoning, schedules, without)
    wish = sections["borrower_windows"]
    yield BorrowerWindowRule(source.origin("borrower_window", wish), zoning, guard, without)


def _calendar(section: Mapping[str, Any] | None) -> Calendar | None:
    return Calendar(section["country"], tuple(section.get("subdivisions", ()))) if section else None


def _schedule(
    entries: Sequence[Mapping[str, Any]],
    category: Category,
    guard: timedelta,
    exclusive: bool,
    calendar: Calendar | None,
) -> Schedule:
    """The entries for one category, laid over the week. A day that no entry names is closed."""
    mine = [entry for entry in entries if category.value in entry["categories"]]
    if not mine:
        raise ValueError(f"windows say nothing about {category.value} messages")
    weekdays = tuple(_hours(entry for entry in mine if day in entry.get("days", DAYS)) for day in DAYS)
    on_holidays = [entry for entry in mine if HOLIDAY in entry.get("days", ())]
    if on_holidays and calendar is None:
        raise ValueError("windows name holidays, but the pack has no calendar of them")
    return Schedule(weekdays, guard, exclusive, _hours(on_holidays) if on_holidays else None, calendar)


def _hours(entries: Iterable[Mapping[str, Any]]) -> Hours:
    return tuple(
        piece for entry in entries for text in entry["hours"] for piece in parse_hours(*text.split("-", maxsplit=1))
    )
