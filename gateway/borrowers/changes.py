"""Changes of a borrower's row: under its lock, with an event in the borrower's chain and a new version.

A hand-over that was decided on an older version does not start, and waiting deliveries are evaluated again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update

from gateway.core.clock import Clock
from gateway.core.deliveries import Transition
from gateway.core.reasons import PolicyReason
from gateway.core.routes import RouteRules
from gateway.core.states import PENDING_STATES, State
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event, borrower_subject
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.path import deliveries
from gateway.storage.unit_of_work import UnitOfWork

# In an event's detail: the columns of the borrower's row as the change left them.
AFTER = "after"

# How often a change polls for messages in flight that had started before it; seconds, our choice.
_IN_FLIGHT_POLL_SECONDS = 0.02

# Review reasons that a change of the borrower may have resolved.
_ANSWERED = (PolicyReason.HOLD, PolicyReason.OPTED_OUT)

# From the borrower's row to its new values; None: there is nothing to change.
Change = Callable[[Any], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """What is recorded of a change."""

    kind: str
    actor: str
    reason: str = ""
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What else a change of a borrower does, to the notification that owns ``delivery_id``: under the same locks."""

    delivery_id: str
    apply: Callable[[UnitOfWork], None]


def change_borrower(
    connection: Connection,
    rules: RouteRules,
    key: tuple[str, str],
    what: ChangeRecord,
    change: Change,
    now: datetime,
    follow_up: FollowUp | None = None,
    *,
    decides: bool = True,
) -> bool:
    """Change the row of the borrower ``key`` (tenant, id), which is made where it is missing.

    ``follow_up`` is left out where nothing changes. ``decides``: whether a decision can depend on what changes; what
    waits for the borrower is decided anew then.
    """
    tenant, borrower_id = key
    same = and_(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    connection.execute(insert_new(connection, borrowers), [{"tenant": tenant, "id": borrower_id}])
    row = connection.execute(select(borrowers).where(same).with_for_update()).one()
    values = change(row)
    if values is None:
        return False
    chain = Chain()
    subject = borrower_subject(tenant, borrower_id)
    # With what holds from now on, so that what was known at any past instant can be read from the events alone.
    detail = {**(what.detail or {}), AFTER: values}
    event = Event(tenant, subject, borrower_id, now, what.kind, what.actor, reason=what.reason, detail=detail)
    head = chain.append(row.event_hash, event)
    connection.execute(update(borrowers).where(same).values(version=row.version + 1, event_hash=head, **values))
    chain.write(connection)
    if decides:
        _evaluate_again(connection, rules, of_borrower(tenant, borrower_id), now, follow_up)
    return True


def _evaluate_again(
    connection: Connection, rules: RouteRules, mine: Any, now: datetime, follow_up: FollowUp | None
) -> None:
    """Have what waits for the borrower decided anew: it may be permitted now, or be suppressed for good.

    All of it is one unit of work: locks taken in two goes would be out of order.
    """
    deferred = and_(deliveries.c.state == State.DEFERRED, deliveries.c.lease_until.is_(None))
    asked = and_(deliveries.c.state == State.REVIEW, deliveries.c.reason.in_(_ANSWERED))
    found = connection.execute(select(deliveries.c.id, deliveries.c.state).where(mine, or_(deferred, asked))).all()
    ids = {row.id for row in found} | ({follow_up.delivery_id} if follow_up is not None else set())
    if not ids:
        return
    page = UnitOfWork.of_deliveries(connection, ids, rules)
    for row in found:
        if row.state == State.REVIEW and page.deliveries[row.id].state is State.REVIEW:
            page.apply(Transition(row.id, "looked_at_again", now, to=State.ACCEPTED, due_at=now))
    if follow_up is not None:
        follow_up.apply(page)
    page.write()
    these = [row.id for row in found if row.state == State.DEFERRED]
    if these:
        connection.execute(update(deliveries).where(deliveries.c.id.in_(these), deferred).values(due_at=now))


def cancel_pending(page: UnitOfWork, ids: Iterable[str], what: ChangeRecord, now: datetime) -> list[str]:
    """Cancel those of the page's deliveries that were not handed over yet; their ids. The caller writes the page."""
    cancelled = []
    for each in ids:
        if page.deliveries[each].state in PENDING_STATES:
            reason, detail = what.reason, what.detail or {}
            end = Transition(each, what.kind, now, to=State.CANCELLED, reason=reason, actor=what.actor, detail=detail)
            if page.apply(end):
                cancelled.append(each)
    return cancelled


async def wait_for_in_flight(database: Database, which: Any, clock: Clock) -> None:
    """Wait until no delivery of ``which`` that had started before a change is still being sent.

    From the change's commit on no further one can start. The wait is bounded by the provider's time-out,
    and by the lease of a worker that died.
    """

    def in_flight(connection: Connection) -> bool:
        started = and_(deliveries.c.state == State.SENDING, deliveries.c.lease_until > clock())
        return connection.execute(select(deliveries.c.id).where(which, started).limit(1)).first() is not None

    while await database.read(in_flight):  # noqa: ASYNC110 – the change happens in another process
        await asyncio.sleep(_IN_FLIGHT_POLL_SECONDS)


def of_borrower(tenant: str, borrower_id: str) -> Any:
    """The condition for all deliveries of a borrower."""
    return and_(deliveries.c.tenant == tenant, deliveries.c.borrower_id == borrower_id)
