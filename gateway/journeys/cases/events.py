"""What a change of a case's record means: the events to record, and the holds that follow. Pure.

A kind with a dot is a webhook's type (gateway/core/journey_events.py); the others are recorded only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.core.codec import instant
from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.journeys.cases.record import CaseEnd, CaseRecord, ended_by, open_promise, promise_ends, standing_plan


@dataclass(frozen=True, slots=True)
class CaseChange:
    """One event of a case's chain."""

    kind: str
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def changes(before: CaseRecord, after: CaseRecord) -> Iterator[CaseChange]:
    """What is new in ``after``, and what follows from it."""
    if after.snapshot != before.snapshot and after.snapshot is not None:
        kind = "case.opened" if before.snapshot is None else "case_updated"
        yield CaseChange(kind, detail={"as_of": instant(after.snapshot.as_of)})
    for payment in _new(before.payments, after.payments):
        yield CaseChange("case.payment", detail={"id": payment.id, "at": instant(payment.at)})
    for promise in _new(before.promises, after.promises):
        kind = "case.promised" if promise.withdrawn_at is None else "case.promise_withdrawn"
        yield CaseChange(kind, detail={"id": promise.id, "date": promise.day.isoformat()})
    for plan in _new(before.plans, after.plans):
        ended = plan.ended_at is not None
        yield CaseChange("case.plan_ended" if ended else "case.plan_agreed", detail={"id": plan.id})
    was, now = ended_by(before), ended_by(after)
    if before.closing != after.closing and after.closing is not None:
        yield CaseChange("case_closing", after.closing.reason, {"at": instant(after.closing.at)})
    if was == now:
        return
    if now is None:
        yield CaseChange("case.reopened")
    elif now is CaseEnd.PAID:
        yield CaseChange("case.paid", "paid")
    else:
        yield CaseChange("case.closed", after.closing.reason if after.closing is not None else "")


def _new(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Any]:
    return [each for key, each in after.items() if before.get(key) != each]


def managed_kinds(record: CaseRecord) -> frozenset[HoldKind]:
    """The kinds of hold that this record speaks of, so that those of this case are replaced by ``holds_of``."""
    kinds = {HoldKind.PROMISE_TO_PAY} if record.promises else set()
    return frozenset(kinds | ({HoldKind.PLAN_IN_PLACE} if record.plans else set()))


def holds_of(record: CaseRecord, now: datetime) -> list[Hold]:
    """The holds that follow from a promise and a plan: collections wait while they stand."""
    if ended_by(record) is not None:
        return []
    found = []
    promise, plan = open_promise(record, now), standing_plan(record)
    if promise is not None:
        found.append(Hold(HoldKind.PROMISE_TO_PAY, promise.made_at, promise_ends(record, promise), record.id))
    if plan is not None:
        found.append(Hold(HoldKind.PLAN_IN_PLACE, plan.agreed_at, None, record.id))
    return found
