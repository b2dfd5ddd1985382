"""A case as its case system feeds it, and what follows from it: is it paid, promised, on a plan, closed?

A record is the set of what was fed, each part with its own time: a feed that comes late, twice or out of order ends in
the same record (``merged`` is commutative, associative and idempotent). Everything else is computed from it.
Must not know SQL, HTTP or definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import msgspec

from gateway.core.notifications import Borrower
from gateway.policy.zones import zone

Fact = str | int | float | bool

# Facts of a case that a definition may ask for. A closed list: personal traits (age, sex, education, family) are
# protected (15 USC 1691(a), ECOA) and have no business in the choice of a reminder.
SEGMENT_FACTS: Mapping[str, type] = {
    "stage": str,
    "months_overdue": int,
    "segment": str,
    "score_band": str,
    "credit_limit": float,
    "tenure_months": int,
    "has_autopay": bool,
    "hardship_asked": bool,
    "earlier_cures": int,
}
# Facts that are computed from the record; the same names may stand in conditions.
COMPUTED_FACTS = ("days_overdue", "balance", "minimum_due", "product", "jurisdiction", "broken_promises", "plan")

# After the promised day a payment still counts as kept for so long: bank transfers take a day. Our choice.
PROMISE_GRACE = timedelta(days=1)


class CaseEnd(StrEnum):
    """Why no journey goes on with a case, by the case alone."""

    PAID = "paid"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the case system says of a case as of an instant: it includes all payments until then."""

    as_of: datetime
    borrower: Borrower
    product: str
    currency: str
    balance: Decimal
    minimum_due: Decimal
    due_date: date
    facts: Mapping[str, Fact] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # further values for templates, such as pay_url


@dataclass(frozen=True, slots=True)
class Payment:
    id: str
    amount: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Promise:
    """The borrower promised to pay ``amount`` by ``day``. One that was taken back counts as never made."""

    id: str
    amount: Decimal
    day: date
    made_at: datetime
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RepaymentPlan:
    """Instalments that were agreed. Another one agreed later replaces it; ``ended_at``: no longer in place."""

    id: str
    instalment: Decimal
    instalments: int
    first_date: date
    agreed_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """Everything that was fed of one case. ``snapshot`` is the latest; parts may come before the first one."""

    id: str
    snapshot: Snapshot | None = None
    payments: Mapping[str, Payment] = field(default_factory=dict)
    promises: Mapping[str, Promise] = field(default_factory=dict)
    plans: Mapping[str, RepaymentPlan] = field(default_factory=dict)
    closing: Closing | None = None


P = TypeVar("P", Payment, Promise, RepaymentPlan)


def merged(a: CaseRecord, b: CaseRecord) -> CaseRecord:
    """Both records' parts. The order does not matter: of two versions of one part the same one wins always."""
    closings = [each for each in (a.closing, b.closing) if each is not None]
    snapshots = [each for each in (a.snapshot, b.snapshot) if each is not None]
    return CaseRecord(
        a.id,
        max(snapshots, key=lambda each: (each.as_of, _canonical(each)), default=None),
        _union(a.payments, b.payments),
        _union(a.promises, b.promises),
        _union(a.plans, b.plans),
        min(closings, key=lambda each: (each.at, each.reason), default=None),
    )


def _union(a: Mapping[str, P], b: Mapping[str, P]) -> dict[str, P]:
    both = dict(a)
    for key, each in b.items():
        both[key] = each if key not in both else max(both[key], each, key=_order)
    return dict(sorted(both.items()))


def _order(part: P) -> tuple[bool, datetime, bytes]:
    """Of two versions of a part the later one wins, and the one that has ended or was taken back."""
    if isinstance(part, RepaymentPlan):
        return part.ended_at is not None, part.ended_at or part.agreed_at, _canonical(part)
    if isinstance(part, Promise):
        return part.withdrawn_at is not None, part.withdrawn_at or part.made_at, _canonical(part)
    return False, part.at, _canonical(part)


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


# ── what follows from a record ──────────────────────────────────────────────────────────────────────────────────────


def zone_of(record: CaseRecord) -> tzinfo:
    """The zone in which the case's days are counted: the borrower's first; UTC where it is not known."""
    zones = record.snapshot.borrower.time_zones if record.snapshot else ()
    return (zone(zones[0]) if zones else None) or UTC


def day_begins(day: date, local: tzinfo) -> datetime:
    """The first instant of a local day, in UTC."""
    return datetime.combine(day, time(), local).astimezone(UTC)


def paid_since(record: CaseRecord, since: datetime) -> Decimal:
    """What was paid after an instant."""
    return sum((each.amount for each in record.payments.values() if each.at > since), Decimal(0))


def minimum_due(record: CaseRecord) -> Decimal:
    """What is still due now: as of the snapshot, less what was paid since."""
    snapshot = record.snapshot
    return Decimal(0) if snapshot is None else snapshot.minimum_due - paid_since(record, snapshot.as_of)


def ended_by(record: CaseRecord) -> CaseEnd | None:
    """Whether the case itself is over: closed for good, or with nothing due any more."""
    if record.closing is not None:
        return CaseEnd.PAID if record.closing.reason == "paid" else CaseEnd.CLOSED
    if record.snapshot is not None and minimum_due(record) <= 0:
        return CaseEnd.PAID
    return None


def days_overdue(record: CaseRecord, now: datetime) -> int:
    """Days since the due date on the borrower's calendar; negative before it."""
    assert record.snapshot is not None
    return (now.astimezone(zone_of(record)).date() - record.snapshot.due_date).days


class PromiseState(StrEnum):
    OPEN = "open"
    KEPT = "kept"
    BROKEN = "broken"


def promise_ends(record: CaseRecord, promise: Promise) -> datetime:
    """When an open promise is broken: its day and the grace are over."""
    return day_begins(promise.day + timedelta(days=1), zone_of(record)) + PROMISE_GRACE


def promise_state(record: CaseRecord, promise: Promise, now: datetime) -> PromiseState:
    """Kept, where as much was paid in time; broken, where the time is over."""
    ends = promise_ends(record, promise)
    paid = sum(
        (each.amount for each in record.payments.values() if promise.made_at <= each.at < ends and each.at <= now),
        Decimal(0),
    )
    if paid >= promise.amount:
        return PromiseState.KEPT
    return PromiseState.OPEN if now < ends else PromiseState.BROKEN


def _standing_promises(record: CaseRecord) -> list[Promise]:
    return [each for each in record.promises.values() if each.withdrawn_at is None]


def open_promise(record: CaseRecord, now: datetime) -> Promise | None:
    """The promise that holds now: of several the one with the latest day."""
    found = [
        each
        for each in _standing_promises(record)
        if each.made_at <= now and promise_state(record, each, now) is PromiseState.OPEN
    ]
    return max(found, key=lambda each: (each.day, each.id), default=None)


def broken_promises(record: CaseRecord, now: datetime) -> int:
    """How many promises were not kept."""
    return sum(promise_state(record, each, now) is PromiseState.BROKEN for each in _standing_promises(record))


def promise_broken_since(record: CaseRecord, since: datetime, now: datetime) -> bool:
    """Whether the promise with the latest day was not kept, and its time was over after ``since``."""
    latest = max(_standing_promises(record), key=lambda each: (each.day, each.id), default=None)
    if latest is None or promise_ends(record, latest) <= since:
        return False
    return promise_state(record, latest, now) is PromiseState.BROKEN


def standing_plan(record: CaseRecord) -> RepaymentPlan | None:
    """The plan that is in place: the latest agreed one, unless it has ended."""
    latest = max(record.plans.values(), key=lambda each: (each.agreed_at, each.id), default=None)
    return latest if latest is not None and latest.ended_at is None else None


def facts_of(record: CaseRecord, now: datetime) -> dict[str, Fact]:
    """The facts that conditions may ask for, by name."""
    snapshot = record.snapshot
    assert snapshot is not None
    return {
        **snapshot.facts,
        "days_overdue": days_overdue(record, now),
        "balance": float(snapshot.balance - paid_since(record, snapshot.as_of)),
        "minimum_due": float(minimum_due(record)),
        "product": snapshot.product,
        "jurisdiction": snapshot.borrower.jurisdiction,
        "broken_promises": broken_promises(record, now),
        "plan": standing_plan(record) is not None,
    }
