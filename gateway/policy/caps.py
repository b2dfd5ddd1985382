"""Contact caps and the minimum gap: how often, over the five kinds of period that laws and standards count in.

A contact counts where it was handed over or may have been; the facts hold no others. In-app messages disturb
nobody and neither count nor are counted where the pack says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gateway.model import Contact, PolicyReason, RuleResult
from gateway.policy.rule import Intent, Origin, Rule, Source
from gateway.policy.zones import Zoning, candidates, day_start, local_date, zoning_from

_DAY = timedelta(days=1)
_REASONS = {
    "borrower": PolicyReason.CAP_BORROWER,
    "case": PolicyReason.CAP_CASE,
    "channel": PolicyReason.CAP_CHANNEL,
    "address": PolicyReason.CAP_ADDRESS,
}


class Cap(Rule):
    """At most ``maximum`` contacts of a scope within a period."""

    __slots__ = ("channel", "kind", "maximum", "period", "scope", "uncounted", "zoning")

    def __init__(self, origin: Origin, zoning: Zoning, section: Mapping[str, Any], uncounted: frozenset[str]) -> None:
        super().__init__(origin)
        self.zoning = zoning
        self.scope: str = section["scope"]
        self.channel: str | None = section.get("channel")
        self.maximum: int = section["value"]
        self.kind: str = section["period_kind"]
        self.period: int = section["period"]
        self.uncounted = uncounted

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if not self._applies(intent):
            return None
        leaving = self._leaving(intent, self._counted(intent), t)
        detail = f"{len(leaving)} of {self.maximum} in {self.period} {self.kind}"
        if len(leaving) < self.maximum:
            return self.origin.allows(detail)
        # The contact that has to leave the period before there is room decides.
        return self.origin.defers(_REASONS[self.scope], leaving[-self.maximum], detail)

    def _applies(self, intent: Intent) -> bool:
        return intent.channel not in self.uncounted and self.channel in (None, intent.channel)

    def _counted(self, intent: Intent) -> list[Contact]:
        case_id = intent.notification.case.id
        return [
            each
            for each in intent.facts.contacts
            if each.channel not in self.uncounted
            and (self.channel is None or each.channel == self.channel)
            and (self.scope != "case" or each.case_id == case_id)
            and (self.scope != "address" or each.address == intent.address_digest)
            and (self.scope != "channel" or each.channel == intent.channel)
        ]

    def _leaving(self, intent: Intent, contacts: Sequence[Contact], t: datetime) -> Sequence[datetime]:
        """When each contact that counts at ``t`` leaves the period, in order; of several zones the fullest."""
        at = sorted(each.at for each in contacts if each.at <= t)
        if not at:
            return ()
        if self.kind == "rolling_hours":
            return _after(t, (instant + timedelta(hours=self.period) for instant in at))
        if self.kind == "anchored":
            return self._anchored(at, t)
        by_zone = [_after(t, (self._leaves(zone, instant) for instant in at)) for zone in self._zones(intent)]
        return max(by_zone, key=lambda leaving: (len(leaving) >= self.maximum, self._room(leaving), len(leaving)))

    def _room(self, leaving: Sequence[datetime]) -> float:
        return leaving[-self.maximum].timestamp() if len(leaving) >= self.maximum else 0.0

    def _leaves(self, zone: Any, instant: datetime) -> datetime:
        day = local_date(zone, instant)
        if self.kind == "calendar_week":
            return day_start(zone, day + _DAY * (7 - day.weekday()))
        return day_start(zone, day + _DAY * self.period)  # the day of the contact is day one

    def _anchored(self, at: Sequence[datetime], t: datetime) -> Sequence[datetime]:
        """The period opens with the first contact, and anew with the first one after it has closed."""
        period = timedelta(hours=self.period)
        opened, count = at[0], 0
        for instant in at:
            if instant >= opened + period:
                opened, count = instant, 0
            count += 1
        return [opened + period] * count if t < opened + period else ()

    def _zones(self, intent: Intent) -> Sequence[Any]:
        # Without a known zone the window rule sends the message to review; UTC only keeps this rule total.
        return candidates(self.zoning, intent.notification.borrower.time_zones) or candidates(self.zoning, ("UTC",))


def _after(t: datetime, instants: Iterable[datetime]) -> list[datetime]:
    return [each for each in instants if each > t]


class Gap(Rule):
    """The least time between two contacts. Steps of one notification's own route are one reminder."""

    __slots__ = ("gap", "per_channel", "uncounted")

    def __init__(self, origin: Origin, section: Mapping[str, Any], uncounted: frozenset[str]) -> None:
        super().__init__(origin)
        self.gap = timedelta(minutes=section["value_minutes"])
        self.per_channel: bool = section.get("per") == "channel"
        self.uncounted = uncounted

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if intent.channel in self.uncounted:
            return None
        last = max((each.at for each in intent.facts.contacts if self._counts(each, intent, t)), default=None)
        if last is None or last + self.gap <= t:
            return self.origin.allows()
        return self.origin.defers(PolicyReason.MIN_GAP, last + self.gap)

    def _counts(self, contact: Contact, intent: Intent, t: datetime) -> bool:
        return (
            contact.at <= t
            and contact.channel not in self.uncounted
            and contact.notification_id != intent.notification.id
            and (not self.per_channel or contact.channel == intent.channel)
        )


def rules(source: Source) -> list[Rule]:
    """The caps and the gap of one pack file."""
    sections = source.sections
    uncounted = frozenset(sections.get("channels_without_caps", {}).get("value", ()))
    zoning = zoning_from(sections["zone"])
    made: list[Rule] = [
        Cap(source.origin(f"cap_{each['scope']}_{each.get('channel', 'any')}", each), zoning, each, uncounted)
        for each in sections.get("caps", ())
    ]
    if "min_gap" in sections:
        made.append(Gap(source.origin("min_gap", sections["min_gap"]), sections["min_gap"], uncounted))
    return made
