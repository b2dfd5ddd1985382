"""What the borrower said: no, to an address, a channel or everything; or yes, to a category that needs a yes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gateway.model import Category, OptOut, PolicyReason, RuleResult, VerdictKind
from gateway.policy.rule import Intent, Origin, Rule, Source


class OptOutRule(Rule):
    """Nothing is sent to where the borrower said stop. A provisional stop waits for a person to read the reply."""

    __slots__ = ()

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        mine = [each for each in intent.facts.opt_outs if _covers(each, intent)]
        if not mine:
            return self.origin.allows()
        if all(each.provisional for each in mine):
            return self.origin.says(VerdictKind.REVIEW, PolicyReason.OPTED_OUT, detail="provisional")
        return self.origin.suppresses(PolicyReason.OPTED_OUT)


def _covers(opt_out: OptOut, intent: Intent) -> bool:
    """Whether the stop is about this message. An address that nobody named may be the one that said stop."""
    return (
        (opt_out.category is None or opt_out.category is intent.notification.category)
        and (opt_out.channel is None or opt_out.channel == intent.channel)
        and (opt_out.address is None or not intent.address_digest or opt_out.address == intent.address_digest)
    )


class ConsentRule(Rule):
    """Categories that may be sent only to those who asked for them."""

    __slots__ = ("required",)

    def __init__(self, origin: Origin, required: frozenset[Category]) -> None:
        super().__init__(origin)
        self.required = required

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        category = intent.notification.category
        if category not in self.required:
            return None
        if category in intent.facts.consents:
            return self.origin.allows()
        return self.origin.suppresses(PolicyReason.NO_CONSENT, category.value)


def compile_rules(source: Source) -> Iterator[Rule]:
    if (section := source.sections.get("opt_outs")) is not None:
        yield OptOutRule(source.origin("opt_out", section))
    if (section := source.sections.get("consent")) is not None:
        yield ConsentRule(source.origin("consent", section), frozenset(Category(each) for each in section["required"]))
