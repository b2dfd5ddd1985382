"""Contact caps and the minimum gap: how often, over the five kinds of period that laws and standards count in.

The facts hold the contacts that were handed over to a provider or may have been. Channels that a pack exempts, such as
in-app messages, are not counted and not capped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.core.facts import Contact
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import POSITIVE, WORDS, Schema, marked
from gateway.policy.zones import ZoneResolution, candidate_zones, day_start, local_date, zone_resolution_from

_DAY = timedelta(days=1)
# Dates are counted in local time: the first of them may begin a day earlier by a zone's change of date (Samoa skipped
# one in 2011), and an hour or two by a change of the clocks.
_DATES_MARGIN = timedelta(days=2)
# Where anchored periods follow each other without a pause, the beginning of the present one depends on all before it:
# so many are reconstructed. Our choice.
_ANCHORED_PERIODS = 4
_REASONS = {
    "borrower": PolicyReason.CAP_BORROWER,
    "case": PolicyReason.CAP_CASE,
    "channel": PolicyReason.CAP_CHANNEL,
    "address": PolicyReason.CAP_ADDRESS,
}


class Cap(Rule):
    """At most ``maximum`` contacts of a scope within a period."""

    __slots__ = ("channel", "kind", "maximum", "period", "scope", "uncounted", "within", "zoning")

    def __init__(
        self, origin: Origin, zoning: ZoneResolution, section: Mapping[str, Any], uncounted: frozenset[str]
    ) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.scope: str = section["scope"]
        self.channel: str | None = section.get("channel")
        self.maximum: int = section["value"]
        self.kind: str = section["period_kind"]
        self.period: int = section["period"]
        self.uncounted = uncounted
        self.within = tuple(origin.allow(self._usage(number)) for number in range(self.maximum))

    def applies_to(self, category: str, channel: str) -> bool:
        return channel not in self.uncounted and self.channel in (None, channel)

    def lookback(self) -> timedelta:
        if self.kind == "rolling_hours":
            return timedelta(hours=self.period)
        if self.kind == "anchored":
            return timedelta(hours=self.period * _ANCHORED_PERIODS)
        return _DAY * (7 if self.kind == "calendar_week" else self.period) + _DATES_MARGIN

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        number, until = self._use(context, self._counted(context, t), t)
        if until is None:
            return self.within[number]
        return self.origin.defer(_REASONS[self.scope], until, self._usage(number))

    def _usage(self, number: int) -> str:
        return f"{number} of {self.maximum} in {self.period} {self.kind}"

    def _counted(self, context: EvaluationContext, t: datetime) -> list[datetime]:
        """When the contacts of this scope were, in order."""
        case_id = context.notification.case.id
        return sorted(
            each.at
            for each in context.facts.contacts
            if each.at <= t
            and each.channel not in self.uncounted
            and (self.channel is None or each.channel == self.channel)
            and (self.scope != "case" or each.case_id == case_id)
            and (self.scope != "address" or each.address == context.address_digest)
            and (self.scope != "channel" or each.channel == context.channel)
        )

    def _use(self, context: EvaluationContext, at: Sequence[datetime], t: datetime) -> tuple[int, datetime | None]:
        """How many of these contacts count at ``t``, and when another is permitted; None: it is permitted now.

        That is when the oldest contact over the maximum leaves the period. Of several zones the strictest counts.
        """
        if not at:
            return 0, None
        if self.kind == "rolling_hours":
            period = timedelta(hours=self.period)
            number = len(at) - bisect_right(at, t - period)
            return number, at[-self.maximum] + period if number >= self.maximum else None
        if self.kind == "anchored":
            return self._anchored(at, t)
        used = [self._in_zone(zone, at, t) for zone in self._zones(context)]
        return max(used, key=lambda each: (each[1] is not None, each[1] or t, each[0]))

    def _in_zone(self, zone: ZoneInfo, at: Sequence[datetime], t: datetime) -> tuple[int, datetime | None]:
        """The same by the calendar of one zone: contacts count from the start of the period's first date."""
        number = len(at) - bisect_left(at, day_start(zone, self._first_date(local_date(zone, t))))
        return number, self._leaves(zone, at[-self.maximum]) if number >= self.maximum else None

    def _first_date(self, today: date) -> date:
        if self.kind == "calendar_week":
            return today - _DAY * today.weekday()
        return today - _DAY * (self.period - 1)  # today is one of the dates

    def _leaves(self, zone: ZoneInfo, instant: datetime) -> datetime:
        day = local_date(zone, instant)
        if self.kind == "calendar_week":
            return day_start(zone, day + _DAY * (7 - day.weekday()))
        return day_start(zone, day + _DAY * self.period)  # the day of the contact is day one

    def _anchored(self, at: Sequence[datetime], t: datetime) -> tuple[int, datetime | None]:
        """The period opens with the first contact, and anew with the first one after it has closed."""
        period = timedelta(hours=self.period)
        opened, number = at[0], 0
        for instant in at:
            if instant >= opened + period:
                opened, number = instant, 0
            number += 1
        closes = opened + period
        if t >= closes:
            return 0, None
        return number, closes if number >= self.maximum else None

    def _zones(self, context: EvaluationContext) -> Sequence[ZoneInfo]:
        # Without a known zone the window rule sends the message to review; UTC only keeps this rule total.
        return candidate_zones(self.zoning, context.time_zones) or candidate_zones(self.zoning, ("UTC",))


class Gap(Rule):
    """The least time between two contacts. Steps of one notification's own route are one reminder."""

    __slots__ = ("gap", "per_channel", "uncounted")

    def __init__(self, origin: Origin, section: Mapping[str, Any], uncounted: frozenset[str]) -> None:
        super().__init__(origin)
        self.gap = timedelta(minutes=section["value_minutes"])
        self.per_channel: bool = section.get("per") == "channel"
        self.uncounted = uncounted

    def applies_to(self, category: str, channel: str) -> bool:
        return channel not in self.uncounted

    def lookback(self) -> timedelta:
        return self.gap

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        last = max((each.at for each in context.facts.contacts if self._counts(each, context, t)), default=None)
        if last is None or last + self.gap <= t:
            return self.allowed
        return self.origin.defer(PolicyReason.MIN_GAP, last + self.gap)

    def _counts(self, contact: Contact, context: EvaluationContext, t: datetime) -> bool:
        return (
            contact.at <= t
            and contact.channel not in self.uncounted
            and contact.notification_id != context.notification.id
            and (not self.per_channel or contact.channel == context.channel)
        )


SECTIONS: Schema = {
    "channels_without_caps": WORDS,
    "caps": {
        "type": "array",
        "items": marked(
            {
                "scope": {"enum": [*_REASONS]},
                "value": POSITIVE,
                "period_kind": {
                    "enum": ["calendar_day", "consecutive_days", "rolling_hours", "calendar_week", "anchored"]
                },
                "period": {**POSITIVE, "maximum": 8784},
            },
            {"channel": {"type": "string"}},
        ),
    },
    "min_gap": marked({"value_minutes": POSITIVE}, {"per": {"enum": ["channel"]}}),
}


def rules(source: PackSection) -> list[Rule]:
    """The caps and the gap of one pack file."""
    sections = source.sections
    uncounted = frozenset(sections.get("channels_without_caps", {}).get("value", ()))
    zoning = zone_resolution_from(sections["zone"])
    made: list[Rule] = [
        Cap(source.origin(f"cap_{each['scope']}_{each.get('channel', 'any')}", each), zoning, each, uncounted)
        for each in sections.get("caps", ())
    ]
    if "min_gap" in sections:
        made.append(Gap(source.origin("min_gap", sections["min_gap"]), sections["min_gap"], uncounted))
    return made
