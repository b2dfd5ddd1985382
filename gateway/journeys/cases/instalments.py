"""Steps that come with every instalment of a plan: the definition as it is for the plan that stands. Pure."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from datetime import date
from itertools import groupby

import msgspec

from gateway.journeys.cases.record import CaseRecord, RepaymentPlan, paid_since, standing_plan
from gateway.journeys.definitions.model import JourneyDefinition, StepRules

MOST_INSTALMENTS = 120  # that are reminded of: ten years; our choice
_MONTHS = 12
_OF_INSTALMENT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class InstalmentStep(StepRules, frozen=True, kw_only=True):
    """A step for one instalment: ``number`` from 1, due on ``due``. Its id has that date, so that it is done once."""

    number: int
    due: date


def for_plan(definition: JourneyDefinition, record: CaseRecord) -> JourneyDefinition:
    """The definition with every step of ``each`` instalment repeated, one instalment after the other.

    Without a plan there is none of these steps.
    """
    if not any(each.each for each in definition.steps):
        return definition
    plan = standing_plan(record)
    steps: list[StepRules] = []
    for repeated, block in groupby(definition.steps, key=lambda step: step.each is not None):
        if not repeated:
            steps += block
        elif plan is not None:
            rules = sorted(block, key=lambda step: step.day or 0)
            steps += [_of(rule, number, due) for number, due in due_dates(plan) for rule in rules]
    return msgspec.structs.replace(definition, steps=tuple(steps))


def _of(step: StepRules, number: int, due: date) -> InstalmentStep:
    fields = {name: getattr(step, name) for name in step.__struct_fields__}
    return InstalmentStep(**{**fields, "id": f"{step.id}-{due.isoformat()}"}, number=number, due=due)


def due_dates(plan: RepaymentPlan) -> Iterator[tuple[int, date]]:
    """Number and date of each instalment: monthly on the first one's day, or on the last day of a shorter month."""
    first = plan.first_date
    for number in range(1, min(plan.instalments, MOST_INSTALMENTS) + 1):
        months = first.month - 1 + number - 1
        year, month = first.year + months // _MONTHS, months % _MONTHS + 1
        yield number, date(year, month, min(first.day, monthrange(year, month)[1]))


def is_paid(step: InstalmentStep, record: CaseRecord) -> bool:
    """Whether as much was paid since the plan was agreed as is due with this instalment."""
    plan = standing_plan(record)
    return plan is not None and paid_since(record, plan.agreed_at) >= plan.instalment * step.number


def rule_id(step_id: str) -> str:
    """The id of the rule that a step came from: for a step of an instalment without the date."""
    return _OF_INSTALMENT.sub("", step_id)
