"""Conditions of a definition on a case's facts: bounds by name, all of which must hold. No expression parser."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from math import ceil

from gateway.journeys.cases.record import CaseRecord, Fact, day_begins, facts_of, zone_of
from gateway.journeys.definitions.model import Bound, Conditions

DAYS = "days_overdue"
HAPPENED = "happened"


def hold(conditions: Conditions, facts: Mapping[str, Fact], happened: Collection[str] = ()) -> bool:
    """Whether all conditions hold. A fact that is not known meets none; ``happened`` is true of each word in it."""
    return all(
        _any_happened(wanted, happened) if name == HAPPENED else name in facts and _meets(facts[name], wanted)
        for name, wanted in conditions.items()
    )


def _any_happened(wanted: Bound | Fact, happened: Collection[str]) -> bool:
    if not isinstance(wanted, Bound):
        return wanted in happened
    if wanted.one_of is not None and not any(each in happened for each in wanted.one_of):
        return False
    return wanted.equals is None or wanted.equals in happened


def _meets(fact: Fact, wanted: Bound | Fact) -> bool:
    if not isinstance(wanted, Bound):
        return _same(fact, wanted)
    if wanted.at_least is not None and not (_is_number(fact) and float(fact) >= wanted.at_least):
        return False
    if wanted.at_most is not None and not (_is_number(fact) and float(fact) <= wanted.at_most):
        return False
    if wanted.equals is not None and not _same(fact, wanted.equals):
        return False
    return wanted.one_of is None or any(_same(fact, each) for each in wanted.one_of)


def _is_number(fact: Fact) -> bool:
    return isinstance(fact, int | float) and not isinstance(fact, bool)


def _same(fact: Fact, wanted: Fact) -> bool:
    return isinstance(fact, bool) == isinstance(wanted, bool) and fact == wanted


def enters_at(conditions: Conditions, record: CaseRecord, now: datetime) -> datetime | None:
    """When a case meets the conditions by the passing of days alone: ``now``, later, or never (None)."""
    if record.snapshot is None:
        return None
    facts = facts_of(record, now)
    if hold(conditions, facts):
        return now
    wanted = conditions.get(DAYS)
    days = _first_day(wanted) if wanted is not None else None
    if days is None or days <= int(facts[DAYS]) or not hold(conditions, {**facts, DAYS: days}):
        return None
    return day_begins(record.snapshot.due_date + timedelta(days=days), zone_of(record))


def _first_day(wanted: Bound | Fact) -> int | None:
    """The first number of days that may meet this."""
    bound = wanted
    if isinstance(wanted, Bound):
        bound = wanted.at_least if wanted.at_least is not None else wanted.equals  # type: ignore[assignment]
    return ceil(bound) if isinstance(bound, int | float) and not isinstance(bound, bool) else None
