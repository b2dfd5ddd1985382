"""The notice period before a legal step: how long a borrower must have had the last notice. No rule about contacts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.schema import POSITIVE, Schema, marked


class NoticePeriod(Rule):
    """The figure of one pack. It concerns no message, and so is never evaluated."""

    __slots__ = ("period",)

    def __init__(self, origin: Origin, period: timedelta) -> None:
        super().__init__(origin)
        self.period = period

    def applies_to(self, category: str, channel: str) -> bool:
        return False

    def evaluate(self, context: EvaluationContext, t: Any) -> None:
        return None


def notice_period(rules: Iterable[Rule]) -> timedelta:
    """The longest notice period of the rules in force; none where no pack has one."""
    return max((each.period for each in rules if isinstance(each, NoticePeriod)), default=timedelta(0))


SECTIONS: Schema = {"legal_notice": marked({"value_days": {**POSITIVE, "maximum": 366}})}


def rules(source: PackSection) -> list[Rule]:
    """The notice period of one pack file."""
    section = source.sections.get("legal_notice")
    if section is None:
        return []
    return [NoticePeriod(source.origin("legal_notice", section), timedelta(days=section["value_days"]))]
