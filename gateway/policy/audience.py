"""Who may be told of a debt: the borrower, and such others as the pack names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gateway.model import PolicyReason, RuleResult
from gateway.policy.rule import Intent, Origin, Rule, Source


class AudienceRule(Rule):
    """Nobody outside the pack's list is contacted about somebody's debt."""

    __slots__ = ("allowed",)

    def __init__(self, origin: Origin, allowed: frozenset[str]) -> None:
        super().__init__(origin)
        self.allowed = allowed

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        audience = intent.notification.borrower.audience
        if audience in self.allowed:
            return self.origin.allows()
        return self.origin.suppresses(PolicyReason.THIRD_PARTY, f"allowed are {', '.join(sorted(self.allowed))}")


def compile_rules(source: Source) -> Iterator[Rule]:
    if (section := source.sections.get("audience")) is not None:
        yield AudienceRule(source.origin("audience", section), frozenset(section["allowed"]))
