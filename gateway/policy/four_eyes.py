"""Acts that a second person decides: what a pack marks, a first person proposes. No rule about contacts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import Schema, marked


class SharedAct(StrEnum):
    """What a pack may mark. The kind of it is the reason of the review, or the kind of the hold."""

    APPROVE_REVIEW = "approve_review"
    LIFT_HOLD = "lift_hold"


class SecondPerson(Rule):
    """The acts that one pack marks. It concerns no message, and so is never evaluated."""

    __slots__ = ("acts", "kinds")

    def __init__(self, origin: Origin, acts: frozenset[str], kinds: frozenset[str]) -> None:
        """``kinds`` none: of every kind."""
        super().__init__(origin)
        self.acts = acts
        self.kinds = kinds

    def applies_to(self, category: str, channel: str) -> bool:
        return False

    def evaluate(self, context: EvaluationContext, t: Any) -> None:
        return None


def needs_second_person(rules: Iterable[Rule], act: SharedAct, kind: str) -> bool:
    """Whether any of the rules in force marks this act."""
    marked = (each for each in rules if isinstance(each, SecondPerson))
    return any(act in each.acts and (not each.kinds or kind in each.kinds) for each in marked)


SECTIONS: Schema = {
    "four_eyes": {
        "type": "array",
        "items": marked(
            {
                "value": {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"enum": [str(act) for act in SharedAct]},
                }
            },
            {
                "kinds": {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"type": "string", "pattern": "^[a-z_]+$"},
                }
            },
        ),
    }
}


def rules(source: PackSection) -> list[Rule]:
    """What one pack file marks."""
    return [
        SecondPerson(source.origin("four_eyes", each), frozenset(each["value"]), frozenset(each.get("kinds", ())))
        for each in source.sections.get("four_eyes", ())
    ]
