"""How close together: the shortest time between two contacts. Elapsed time, so in UTC throughout."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from gateway.model import Limit, PolicyReason, RuleResult
from gateway.policy.caps import STEP
from gateway.policy.durations import parse_duration
from gateway.policy.rule import Intent, Origin, Rule, Source


class GapRule(Rule):
    """One minimum gap; per channel, or between contacts on any channel."""

    __slots__ = ("exempt_own", "gap", "per_channel", "without")

    def __init__(
        self, origin: Origin, gap: timedelta, *, per_channel: bool, exempt_own: bool, without: frozenset[str]
    ) -> None:
        super().__init__(origin)
        self.gap = gap
        self.per_channel = per_channel
        self.exempt_own = exempt_own
        self.without = without

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if intent.channel in self.without:
            return None
        own = intent.notification.id if self.exempt_own else ""
        last = max(
            (
                each.at
                for each in intent.facts.contacts
                if (not self.per_channel or each.channel == intent.channel)
                and each.channel not in self.without
                # The next step of a route is the same reminder, not another contact.
                and not (own and each.notification_id == own)
            ),
            default=None,
        )
        if last is None or last + self.gap <= t:
            return self.origin.allows()
        return self.origin.defers(PolicyReason.MIN_GAP, last + self.gap)

    def limit(self, intent: Intent, t: datetime) -> Limit | None:
        if intent.channel in self.without:
            return None
        return Limit(
            PolicyReason.MIN_GAP,
            t - self.gap + STEP,
            1,
            channel=intent.channel if self.per_channel else None,
            exempt_notification=intent.notification.id if self.exempt_own else None,
            exempt_channels=tuple(sorted(self.without)),
        )


def compile_rules(source: Source) -> Iterator[Rule]:
    if "min_gaps" not in source.sections:
        return
    without = frozenset(source.sections["caps"]["channels_without_caps"]["value"])
    for section in source.sections["min_gaps"]:
        yield GapRule(
            source.origin(f"min_gap.{section['per']}", section),
            parse_duration(section["value"]),
            per_channel=section["per"] == "channel",
            exempt_own=section["within_notification"]["value"] == "exempt",
            without=without,
        )
