"""Contact windows: the hours in which a borrower may be contacted, in every zone they may be in at once.

Two rules: the pack's hours for the category, and the borrower's own wish, which is always kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult, VerdictKind
from gateway.policy.intervals import (
    HOLIDAYS_VERSION,
    Calendar,
    ContactHours,
    Hours,
    next_opening,
    parse_hours,
)
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import CATEGORIES, HOURS, NAMES, WORDS, Schema, marked
from gateway.policy.zones import ZoneResolution, candidate_zones, zone_resolution_from

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ContactWindow(Rule):
    """The pack's hours for some categories on the channels that ring or light up."""

    __slots__ = ("categories", "quiet_channels", "schedule", "usual", "zoning")

    def __init__(
        self,
        origin: Origin,
        zoning: ZoneResolution,
        schedule: ContactHours,
        categories: frozenset[str],
        quiet_channels: frozenset[str],
    ) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.schedule = schedule
        self.usual = replace(schedule, holiday=None, calendar=None)
        self.categories = categories
        self.quiet_channels = quiet_channels

    def applies_to(self, category: str, channel: str) -> bool:
        return category in self.categories

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        zones = candidate_zones(self.zoning, context.time_zones)
        if not zones:
            # On a channel without windows too: an unknown zone means that the borrower's data are incomplete.
            return self.origin.result(VerdictKind.REVIEW, PolicyReason.UNKNOWN_ZONE)
        if context.channel in self.quiet_channels:
            return None
        opening = next_opening(self.schedule, zones, t)
        if opening is None:
            return self.origin.result(VerdictKind.REVIEW, PolicyReason.NO_COMMON_WINDOW)
        if opening[0] <= t:
            return self.allowed
        holiday = self._closed_for_a_holiday(zones, t)
        reason = PolicyReason.HOLIDAY if holiday else PolicyReason.OUTSIDE_WINDOW
        return self.origin.defer(reason, opening[0], f"holidays {HOLIDAYS_VERSION}" if holiday else "")

    def _closed_for_a_holiday(self, zones: tuple[ZoneInfo, ...], t: datetime) -> bool:
        """Whether the usual hours would permit it: at night the holiday is not the reason."""
        calendar = self.schedule.calendar
        if calendar is None or not any(calendar.has(t.astimezone(zone).date()) for zone in zones):
            return False
        opening = next_opening(self.usual, zones, t)
        return opening is not None and opening[0] <= t

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        zones = candidate_zones(self.zoning, context.time_zones)
        opening = next_opening(self.schedule, zones, t) if zones else None
        return opening[1] if opening is not None else None


class PreferredHours(Rule):
    """The hours that the borrower asked for. They narrow the law's hours and never widen them."""

    __slots__ = ("quiet_channels", "zoning")

    def __init__(self, origin: Origin, zoning: ZoneResolution, quiet_channels: frozenset[str]) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.quiet_channels = quiet_channels

    def applies_to(self, category: str, channel: str) -> bool:
        return channel not in self.quiet_channels

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        wishes = _preferred_hours(context)
        if not wishes:
            return None
        zones = candidate_zones(self.zoning, context.time_zones)
        if not zones:
            return self.origin.result(VerdictKind.REVIEW, PolicyReason.UNKNOWN_ZONE)
        openings = [next_opening(_hours_of(each), zones, t) for each in wishes]
        begins = [opening[0] for opening in openings if opening is not None]
        if len(begins) < len(wishes):
            return self.origin.result(VerdictKind.REVIEW, PolicyReason.NO_COMMON_WINDOW)
        if max(begins) <= t:
            return self.allowed
        return self.origin.defer(PolicyReason.BORROWER_WISH, max(begins))

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        zones = candidate_zones(self.zoning, context.time_zones)
        openings = [next_opening(_hours_of(each), zones, t) for each in _preferred_hours(context)] if zones else []
        return min((opening[1] for opening in openings if opening is not None), default=None)


def _preferred_hours(context: EvaluationContext) -> Sequence[tuple[tuple[str, str], ...]]:
    """The hours that this request states, those of the latest request, and those that the borrower chose: all apply."""
    facts = context.facts
    stated = (context.notification.borrower.windows, facts.stated.windows, facts.chosen.windows)
    return [each for each in dict.fromkeys(stated) if each]


@lru_cache(maxsize=4096)
def _hours_of(windows: tuple[tuple[str, str], ...]) -> ContactHours:
    hours: Hours = tuple(each for opens, closes in windows for each in parse_hours(opens, closes))
    return ContactHours((hours,) * 7)


SECTIONS: Schema = {
    "zone": {
        **marked(
            {"resolution": {"enum": ["all_candidates", "legal_single_zone", "preferred"]}}, {"tz": {"type": "string"}}
        ),
        "if": {"properties": {"resolution": {"const": "all_candidates"}}},
        "else": {"required": ["tz"]},
    },
    "channels_without_window": WORDS,
    "windows": {
        "type": "object",
        "additionalProperties": marked(
            {"value": HOURS, "categories": CATEGORIES},
            {
                "guard_minutes": {"type": "integer", "minimum": 0, "maximum": 60},
                "ends_exclusive": {"type": "boolean"},
                "weekdays": {
                    "type": "object",
                    "propertyNames": {"enum": [*_WEEKDAYS]},
                    "additionalProperties": HOURS,
                },
            },
        ),
    },
    "holidays": marked({"country": {"type": "string"}, "value": HOURS}, {"subdivisions": NAMES}),
}


def rules(source: PackSection) -> list[Rule]:
    """The windows of one pack file."""
    sections = source.sections
    zoning = zone_resolution_from(sections["zone"])
    quiet = frozenset(sections.get("channels_without_window", {}).get("value", ()))
    made: list[Rule] = [
        ContactWindow(
            source.origin(f"window_{name}", section),
            zoning,
            _schedule(section, sections.get("holidays")),
            frozenset(section["categories"]),
            quiet,
        )
        for name, section in sections.get("windows", {}).items()
    ]
    return [*made, PreferredHours(source.origin("borrower_wish", sections["zone"]), zoning, quiet)]


def _schedule(section: Mapping[str, Any], off: Mapping[str, Any] | None) -> ContactHours:
    usual = _hours(section["value"])
    special = {day: _hours(text) for day, text in section.get("weekdays", {}).items()}
    return ContactHours(
        weekdays=tuple(special.get(day, usual) for day in _WEEKDAYS),
        guard=timedelta(minutes=section.get("guard_minutes", 0)),
        exclusive=section.get("ends_exclusive", False),
        holiday=_hours(off["value"]) if off else None,
        calendar=Calendar(off["country"], tuple(off.get("subdivisions", ()))) if off else None,
    )


def _hours(text: str) -> Hours:
    if text == "closed":
        return ()
    opens, closes = text.split("-")
    return parse_hours(opens, closes)
