"""Whether a number is still the borrower's: numbers change hands, and the new owner must not learn of the debt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from gateway.model import PolicyReason, RuleResult
from gateway.policy.durations import parse_duration
from gateway.policy.rule import Intent, Origin, Rule, Source


class FreshnessRule(Rule):
    """A number's last check must not be older than the pack's limit."""

    __slots__ = ("channels", "max_age", "unchecked_allowed")

    def __init__(
        self, origin: Origin, channels: frozenset[str], max_age: timedelta, *, unchecked_allowed: bool
    ) -> None:
        super().__init__(origin)
        self.channels = channels
        self.max_age = max_age
        self.unchecked_allowed = unchecked_allowed

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if intent.channel not in self.channels:
            return None
        checked = intent.facts.number_checked_at
        if checked is None:
            if self.unchecked_allowed:
                return self.origin.allows("never checked")
            return self.origin.suppresses(PolicyReason.NUMBER_NOT_FRESH, "never checked")
        if t - checked <= self.max_age:
            return self.origin.allows()
        return self.origin.suppresses(PolicyReason.NUMBER_NOT_FRESH, f"checked {(t - checked).days} days before")

    def ends(self, intent: Intent, t: datetime) -> datetime | None:
        checked = intent.facts.number_checked_at
        return checked + self.max_age if checked is not None and intent.channel in self.channels else None


def compile_rules(source: Source) -> Iterator[Rule]:
    if (section := source.sections.get("number_freshness")) is not None:
        yield FreshnessRule(
            source.origin("number_freshness", section),
            frozenset(section["channels"]),
            parse_duration(section["value"]),
            unchecked_allowed=section["unchecked"]["value"] == "allow",
        )
