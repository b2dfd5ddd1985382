"""Holds: a dispute, a moratorium, a death. Nobody is contacted while one is in force.

Owns what each kind of hold does. A hold that starts later counts from its start, and one that ends stops counting
at that very instant: nothing has to be resumed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from gateway.model import Category, Hold, HoldKind, PolicyReason, RuleResult, VerdictKind
from gateway.policy.rule import Intent, Origin, Rule, Source


class HoldRule(Rule):
    """One kind of hold. ``effect``: wait (for its end), refuse (end or no end), review (a person decides)."""

    __slots__ = ("effect", "exempt", "kind")

    def __init__(self, origin: Origin, kind: HoldKind, effect: str, exempt: frozenset[Category]) -> None:
        super().__init__(origin)
        self.kind = kind
        self.effect = effect
        self.exempt = exempt

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        mine = self._mine(intent)
        if not mine:
            return None
        active = [hold for hold in mine if hold.start <= t and (hold.end is None or t < hold.end)]
        if not active:
            return self.origin.allows(self.kind.value)
        if self.effect == "refuse":
            return self.origin.suppresses(PolicyReason.HOLD, self.kind.value)
        until = self._until(active)
        if self.effect == "review":
            return self.origin.says(VerdictKind.REVIEW, PolicyReason.HOLD, until, self.kind.value)
        if until is None:
            # Nobody knows how long; a reminder that waits for months is about another debt by then. The case system
            # is told, and asks again when the hold is lifted.
            return self.origin.suppresses(PolicyReason.HOLD, self.kind.value)
        return self.origin.defers(PolicyReason.HOLD, until, self.kind.value)

    def ends(self, intent: Intent, t: datetime) -> datetime | None:
        return min((hold.start for hold in self._mine(intent) if hold.start > t), default=None)

    def _mine(self, intent: Intent) -> list[Hold]:
        if intent.notification.category in self.exempt:
            return []
        case = intent.notification.case.id
        return [
            hold for hold in intent.facts.holds if hold.kind is self.kind and (hold.case_id is None or hold.case_id == case)
        ]

    @staticmethod
    def _until(active: list[Hold]) -> datetime | None:
        ends = [hold.end for hold in active if hold.end is not None]
        return max(ends) if len(ends) == len(active) else None


class HoldRules(Rule):
    """All kinds of hold of one pack, looked at only where the borrower has any: most have none."""

    __slots__ = ("kinds",)

    def __init__(self, origin: Origin, kinds: Mapping[HoldKind, HoldRule]) -> None:
        super().__init__(origin)
        self.kinds = kinds

    def judge(self, intent: Intent, t: datetime) -> RuleResult | None:
        if not intent.facts.holds:
            return self.origin.allows()
        said = [
            result
            for kind in dict.fromkeys(hold.kind for hold in intent.facts.holds)
            if (rule := self.kinds.get(kind)) is not None and (result := rule.judge(intent, t)) is not None
        ]
        # Of several holds that all wait, the last to end decides.
        return max(said, key=_severity) if said else self.origin.allows()

    def ends(self, intent: Intent, t: datetime) -> datetime | None:
        if not intent.facts.holds:
            return None
        starts = [end for rule in self.kinds.values() if (end := rule.ends(intent, t)) is not None]
        return min(starts, default=None)


_STRICTNESS = list(VerdictKind)


def _severity(result: RuleResult) -> tuple[int, float]:
    return _STRICTNESS.index(result.verdict), result.until.timestamp() if result.until is not None else float("inf")


def compile_rules(source: Source) -> Iterator[Rule]:
    if "holds" not in source.sections:
        return
    section: Mapping[str, Any] = source.sections["holds"]
    kinds = {
        HoldKind(name): HoldRule(
            source.origin(f"hold.{name}", entry),
            HoldKind(name),
            entry["effect"],
            frozenset(Category(each) for each in entry.get("exempt_categories", ())),
        )
        for name, entry in section["kinds"].items()
    }
    yield HoldRules(source.origin("hold", section), kinds)
