"""Rules on the address itself: it is suppressed or opted out, or it has not been confirmed recently."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import NAMES, POSITIVE, WORDS, Schema, marked


class AddressSuppressed(Rule):
    """An address that is not the borrower's, or that receives nothing, is used for nobody."""

    __slots__ = ()

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        known = context.facts.addresses.get(context.address_digest)
        if known is None or not known.suppressed:
            return self.allowed
        return self.origin.suppress(PolicyReason.ADDRESS_SUPPRESSED, known.suppressed)


class AddressOptedOut(Rule):
    """Whoever uses the address opted out: it is used for nobody, whatever each borrower of that address said."""

    __slots__ = ()

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        known = context.facts.addresses.get(context.address_digest)
        if known is None or known.opted_out_at is None:
            return self.allowed
        return self.origin.suppress(PolicyReason.OPTED_OUT, "address")


class AddressFreshness(Rule):
    """An address is used only for a time after its last confirmation: a number may be reassigned to another person.

    A confirmation is stated by the request, or is a message that the borrower sent from the address. The pack says
    whether an address without any is denied.
    """

    __slots__ = ("channels", "unknown_denies", "valid_for")

    def __init__(self, origin: Origin, section: Mapping[str, Any]) -> None:
        super().__init__(origin)
        self.channels = frozenset(section["channels"])
        self.valid_for = timedelta(days=section["value_days"])
        self.unknown_denies: bool = section["unknown"] == "deny"

    def applies_to(self, category: str, channel: str) -> bool:
        return channel in self.channels

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        latest = self._latest(context)
        if latest is None and not self.unknown_denies:
            return self.origin.allow("never confirmed")
        if latest is not None and t < latest + self.valid_for:
            return self.allowed
        return self.origin.suppress(PolicyReason.ADDRESS_STALE, "never confirmed" if latest is None else "")

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        latest = self._latest(context)
        return latest + self.valid_for if latest is not None and t < latest + self.valid_for else None

    @staticmethod
    def _latest(context: EvaluationContext) -> datetime | None:
        known = context.facts.addresses.get(context.address_digest)
        said = context.notification.borrower.confirmed.get(context.channel)
        wrote = known.confirmed_at if known is not None else None
        return max((each for each in (said, wrote) if each is not None), default=None)


SECTIONS: Schema = {
    "suppression": WORDS,  # opt_out is described in wishes.py
    "freshness": marked({"value_days": POSITIVE, "channels": NAMES, "unknown": {"enum": ["allow", "deny"]}}),
}


def rules(source: PackSection) -> list[Rule]:
    """These rules of one pack file."""
    sections = source.sections
    made: list[Rule] = []
    if "suppression" in sections:
        made.append(AddressSuppressed(source.origin("suppression", sections["suppression"])))
    if "opt_out" in sections:
        made.append(AddressOptedOut(source.origin("opt_out_address", sections["opt_out"])))
    if "freshness" in sections:
        made.append(AddressFreshness(source.origin("freshness", sections["freshness"]), sections["freshness"]))
    return made
