"""Rules on opt-outs, consent, audience, the opt-out text and the providers' capability."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.core.facts import OptOut
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult, VerdictKind
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import CATEGORIES, NAMES, WORDS, Schema, marked


class OptedOut(Rule):
    """The borrower opted out of this address, this channel or all contact."""

    __slots__ = ()

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        mine = [each for each in context.facts.opt_outs if self._covers(each, context)]
        if not mine:
            return self.allowed
        if all(each.provisional for each in mine):
            return self.origin.result(VerdictKind.REVIEW, PolicyReason.OPTED_OUT, detail="provisional")
        return self.origin.suppress(PolicyReason.OPTED_OUT)

    @staticmethod
    def _covers(each: OptOut, context: EvaluationContext) -> bool:
        if each.category not in (None, context.notification.category):
            return False
        if each.address is not None and context.address_digest:
            return each.address == context.address_digest  # on whatever channel: channels of one identity share it
        # An address that is not known yet may be the one that was opted out.
        return each.channel in (None, context.channel)


class Consent(Rule):
    """Some categories need the borrower's consent."""

    __slots__ = ("categories",)

    def __init__(self, origin: Origin, categories: frozenset[str]) -> None:
        super().__init__(origin)
        self.categories = categories

    def applies_to(self, category: str, channel: str) -> bool:
        return category in self.categories

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        if context.notification.category in context.facts.consents:
            return self.allowed
        return self.origin.suppress(PolicyReason.NO_CONSENT)


class ChannelConsent(Rule):
    """Some categories need the borrower's consent to the channel; one to the category is not enough.

    ``needed`` has the categories by channel, as a pack wants it. What a channel declares is added by the engine.
    """

    __slots__ = ("needed",)

    def __init__(self, origin: Origin, needed: Mapping[str, frozenset[str]]) -> None:
        super().__init__(origin)
        self.needed = needed

    def applies_to(self, category: str, channel: str) -> bool:
        return category in self.needed.get(channel, ())

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        if (context.channel, context.notification.category) in context.facts.channel_consents:
            return self.allowed
        return self.origin.suppress(PolicyReason.NO_CONSENT, context.channel)


class Audience(Rule):
    """Who may be written to about a debt."""

    __slots__ = ("audiences",)

    def __init__(self, origin: Origin, audiences: frozenset[str]) -> None:
        super().__init__(origin)
        self.audiences = audiences

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        if context.notification.borrower.audience in self.audiences:
            return self.allowed
        return self.origin.suppress(PolicyReason.THIRD_PARTY, context.notification.borrower.audience)


class OptOutText(Rule):
    """Whether the message must, or must not, say how to opt out. Evaluated where the text is known."""

    __slots__ = ("categories", "channels", "marks", "required")

    def __init__(self, origin: Origin, section: Mapping[str, Any]) -> None:
        super().__init__(origin)
        self.required: bool = section["value"] == "required"
        self.categories = frozenset(section["categories"])
        self.channels = frozenset(section["channels"])
        self.marks = tuple(mark.casefold() for mark in section["marks"])

    def applies_to(self, category: str, channel: str) -> bool:
        return category in self.categories and channel in self.channels

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        if context.text is None:
            return None
        text = context.text.casefold()
        present = any(mark in text for mark in self.marks)
        if present is self.required:
            return self.allowed
        missing = PolicyReason.OPT_OUT_TEXT_MISSING
        return self.origin.suppress(missing if self.required else PolicyReason.OPT_OUT_TEXT_FORBIDDEN)


class ProviderCapability(Rule):
    """No provider of the channel may carry this category."""

    __slots__ = ()

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        if context.capability is None:
            return None
        if context.notification.category in context.capability:
            return self.allowed
        return self.origin.suppress(PolicyReason.PROVIDER_INCAPABLE)


SECTIONS: Schema = {
    "opt_out": WORDS,
    "consent": WORDS,
    "channel_consent": {
        "type": "array",
        "items": marked({"categories": {**CATEGORIES, "minItems": 1}, "channels": {**NAMES, "minItems": 1}}),
    },
    "audience": WORDS,
    "opt_out_text": {
        "type": "array",
        "items": marked(
            {
                "value": {"enum": ["required", "forbidden"]},
                "categories": CATEGORIES,
                "channels": NAMES,
                "marks": {**NAMES, "minItems": 1},
            }
        ),
    },
    "capability": WORDS,
}


def rules(source: PackSection) -> list[Rule]:
    """These rules of one pack file."""
    sections = source.sections
    made: list[Rule] = []
    if "opt_out" in sections:
        made.append(OptedOut(source.origin("opt_out", sections["opt_out"])))
    if "consent" in sections:
        section = sections["consent"]
        made.append(Consent(source.origin("consent", section), frozenset(section["value"])))
    made += [
        ChannelConsent(
            source.origin("channel_consent", section),
            dict.fromkeys(section["channels"], frozenset(section["categories"])),
        )
        for section in sections.get("channel_consent", ())
    ]
    if "audience" in sections:
        section = sections["audience"]
        made.append(Audience(source.origin("audience", section), frozenset(section["value"])))
    made += [
        OptOutText(source.origin(f"opt_out_text_{section['value']}", section), section)
        for section in sections.get("opt_out_text", ())
    ]
    if "capability" in sections:
        made.append(ProviderCapability(source.origin("capability", sections["capability"])))
    return made
