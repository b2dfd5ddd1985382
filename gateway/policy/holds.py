"""Holds and closed cases: while they stand, the borrower is not contacted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind, PolicyReason
from gateway.core.verdicts import RuleResult, VerdictKind
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import CATEGORIES, POSITIVE, WORDS, Schema, marked


class HoldRule(Rule):
    """One kind of hold: its effect, and the categories that are exempt.

    ``defer``: until the hold ends, or, where it has no end, until it is evaluated again (lifting it evaluates at once).
    ``suppress``: the message is not sent. ``review``: a person decides.
    """

    __slots__ = ("effect", "exempt", "kind", "over", "recheck")

    def __init__(self, origin: Origin, kind: str, section: Mapping[str, Any]) -> None:
        super().__init__(origin)
        self.kind = kind
        self.effect: str = section["value"]
        self.exempt = frozenset(section.get("exempt_categories", ()))
        self.recheck = timedelta(days=section.get("recheck_days", 30))
        self.over = origin.allow(kind)

    def applies_to(self, category: str, channel: str) -> bool:
        return category not in self.exempt

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        holds = context.facts.holds
        if not holds or not any(hold.kind == self.kind for hold in holds):
            return None
        mine = [hold for hold in holds if self._covers(hold, context, t)]
        if not mine:
            return self.over
        if self.effect == "suppress":
            return self.origin.suppress(PolicyReason.HOLD, self.kind)
        if self.effect == "review":
            return self.origin.result(VerdictKind.REVIEW, PolicyReason.HOLD, detail=self.kind)
        ends = [hold.end for hold in mine if hold.end is not None]
        if len(ends) < len(mine):
            detail = f"{self.kind}, without an end: evaluated again then"
            return self.origin.defer(PolicyReason.HOLD, t + self.recheck, detail, open_ended=True)
        return self.origin.defer(PolicyReason.HOLD, max(ends), self.kind)

    def _covers(self, hold: Hold, context: EvaluationContext, t: datetime) -> bool:
        return (
            hold.kind == self.kind
            and hold.start <= t
            and (hold.end is None or t < hold.end)
            and hold.case_id in (None, context.notification.case.id)
        )

    def valid_until(self, context: EvaluationContext, t: datetime) -> datetime | None:
        """A hold that begins later ends the permission; the last end of the holds in effect ends the review."""
        standing = [hold for hold in context.facts.holds if self._covers(hold, context, t)]
        if standing:
            ends = [hold.end for hold in standing if hold.end is not None]
            return max(ends) if len(ends) == len(standing) else None
        starts = [
            hold.start
            for hold in context.facts.holds
            if hold.kind == self.kind and hold.start > t and hold.case_id in (None, context.notification.case.id)
        ]
        return min(starts, default=None)


class CaseClosed(Rule):
    """No reminder for a case that is paid or closed."""

    __slots__ = ()

    def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
        if context.facts.case_closed:
            return self.origin.suppress(PolicyReason.CASE_CLOSED)
        return self.allowed


SECTIONS: Schema = {
    "holds": {
        "type": "object",
        "propertyNames": {"enum": [str(kind) for kind in HoldKind]},
        "additionalProperties": marked(
            {"value": {"enum": ["defer", "suppress", "review"]}},
            {"exempt_categories": CATEGORIES, "recheck_days": POSITIVE},
        ),
    },
    "case_closed": WORDS,
}


def rules(source: PackSection) -> list[Rule]:
    """The holds of one pack file, and the closed case."""
    sections = source.sections
    made: list[Rule] = [
        HoldRule(source.origin(f"hold_{kind}", section), kind, section)
        for kind, section in sections.get("holds", {}).items()
    ]
    if "case_closed" in sections:
        made.append(CaseClosed(source.origin("case_closed", sections["case_closed"])))
    return made
