"""What is known of the address by itself: that it must not be used, or that nobody has confirmed it for long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule


class Suppressed(Rule):
    """The address is not the borrower's, or receives nothing: whoever it is written for, it is not used."""

    __slots__ = ()

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        known = context.facts.addresses.get(context.address_digest)
        if known is None or not known.suppressed:
            return self.allowed
        return self.origin.suppresses(PolicyReason.ADDRESS_SUPPRESSED, known.suppressed)


class Freshness(Rule):
    """A number may have passed to somebody else: it counts only so long after it was last confirmed.

    Confirmed is what the request says, or the borrower's own writing from it. Where nobody has said anything the
    pack says whether that denies.
    """

    __slots__ = ("channels", "lasts", "unknown_denies")

    def __init__(self, origin: Origin, section: Mapping[str, Any]) -> None:
        super().__init__(origin)
        self.channels = frozenset(section["channels"])
        self.lasts = timedelta(days=section["value_days"])
        self.unknown_denies: bool = section["unknown"] == "deny"

    def applies_to(self, category: str, channel: str) -> bool:
        return channel in self.channels

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        latest = self._latest(context)
        if latest is None and not self.unknown_denies:
            return self.origin.allows("never confirmed")
        if latest is not None and t < latest + self.lasts:
            return self.allowed
        return self.origin.suppresses(PolicyReason.ADDRESS_STALE, "never confirmed" if latest is None else "")

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        latest = self._latest(context)
        return latest + self.lasts if latest is not None and t < latest + self.lasts else None

    @staticmethod
    def _latest(context: EvaluationContext) -> datetime | None:
        known = context.facts.addresses.get(context.address_digest)
        said = context.notification.borrower.confirmed.get(context.channel)
        wrote = known.confirmed_at if known is not None else None
        return max((each for each in (said, wrote) if each is not None), default=None)


def rules(source: PackSection) -> list[Rule]:
    """These rules of one pack file."""
    sections = source.sections
    made: list[Rule] = []
    if "suppression" in sections:
        made.append(Suppressed(source.origin("suppression", sections["suppression"])))
    if "freshness" in sections:
        made.append(Freshness(source.origin("freshness", sections["freshness"]), sections["freshness"]))
    return made
