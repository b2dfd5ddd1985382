"""What a borrower does in a simulation, by the assumptions alone: with a message, and about what is due. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Literal

from gateway.core.facts import Contact, OptOut
from gateway.journeys.cases.record import (
    CaseRecord,
    Payment,
    Promise,
    RepaymentPlan,
    ended_by,
    minimum_due,
    open_promise,
    zone_of,
)
from gateway.journeys.simulation.assumptions import Assumptions

_DAY = timedelta(days=1)
_PROMISED_DAYS = 7  # until the promised day; our choice
_INSTALMENTS = 6


@dataclass(frozen=True, slots=True)
class Reaction:
    """What becomes of one message: whether it arrives, and what the borrower does ``after`` that."""

    delivered: bool
    read: bool = False
    replied: bool = False
    opts_out: bool = False
    then: Literal["", "pay", "plan", "promise"] = ""
    after: timedelta = timedelta(0)


@dataclass(slots=True)
class SimulatedPerson:
    """What all cases of one borrower share: the instants to come, and what the policy knows of the borrower."""

    contacts: list[Contact] = field(default_factory=list)
    opt_outs: list[OptOut] = field(default_factory=list)
    woken: list[Callable[[datetime], None]] = field(default_factory=list)  # the cases, by what happens to the borrower
    _queue: list[tuple[datetime, int, Callable[[datetime], None]]] = field(default_factory=list)
    _number: int = 0

    def at(self, when: datetime, act: Callable[[datetime], None]) -> None:
        """Have this done at an instant; what is of the same instant is done in the order in which it was given."""
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, act))

    def live_until(self, end: datetime) -> None:
        """Do everything that is to be done before ``end``."""
        while self._queue and self._queue[0][0] < end:
            now, _, act = heapq.heappop(self._queue)
            act(now)


class SimulatedBorrower:
    """The borrower of one case. Counts what was said, so that each part of the record has an id of its own."""

    def __init__(self, assumed: Assumptions, case_id: str) -> None:
        self._assumed = assumed
        self._case_id = case_id
        self._said = 0

    def reaction(self, key: str, channel: str, *, offers: bool) -> Reaction:
        """To the message of a step on a channel; ``offers``: it offers a plan."""
        assumed = self._assumed
        if not self._draw(assumed.delivered.get(channel, 1.0), key, channel, "delivered"):
            return Reaction(delivered=False)
        then: Literal["", "pay", "plan", "promise"] = ""
        if self._draw(assumed.paid, key, "paid"):
            then = "pay"
        elif offers and self._draw(assumed.plan_agreed, key, "plan"):
            then = "plan"
        elif self._draw(assumed.promised, key, "promised"):
            then = "promise"
        return Reaction(
            delivered=True,
            read=self._draw(assumed.read.get(channel, 0.0), key, "read"),
            replied=self._draw(assumed.replied, key, "replied"),
            opts_out=self._draw(assumed.opted_out, key, "opted out"),
            then=then,
            after=timedelta(hours=2 + 46 * assumed.place(self._case_id, key, "when")),
        )

    def payment(self, record: CaseRecord, now: datetime) -> CaseRecord | None:
        """All that is due is paid; None where nothing is."""
        due = minimum_due(record)
        if due <= 0:
            return None
        made = Payment(self._next_id("p"), due, now)
        return CaseRecord(record.id, payments={made.id: made})

    def promise(self, record: CaseRecord, now: datetime) -> tuple[CaseRecord, datetime | None] | None:
        """A promise to pay, and when it is kept; None where one is open or nothing is due."""
        if open_promise(record, now) is not None or ended_by(record) is not None:
            return None
        day = now.astimezone(zone_of(record)).date() + _PROMISED_DAYS * _DAY
        made = Promise(self._next_id("r"), minimum_due(record), day, now)
        kept = self._draw(self._assumed.promise_kept, made.id, "kept")
        at = datetime.combine(day, time(12), zone_of(record)) if kept else None
        return CaseRecord(record.id, promises={made.id: made}), at

    def plan(self, record: CaseRecord, now: datetime) -> CaseRecord | None:
        """A plan in equal parts; None where nothing is due."""
        if ended_by(record) is not None:
            return None
        first = now.astimezone(zone_of(record)).date() + 14 * _DAY
        part = (minimum_due(record) / _INSTALMENTS).quantize(Decimal("0.01"))
        made = RepaymentPlan(self._next_id("l"), part, _INSTALMENTS, first, now)
        return CaseRecord(record.id, plans={made.id: made})

    def _draw(self, chance: float, *words: str) -> bool:
        return self._assumed.draw(chance, self._case_id, *words)

    def _next_id(self, prefix: str) -> str:
        self._said += 1
        return f"{prefix}{self._said}"
