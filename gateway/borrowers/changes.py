"""How a borrower's row changes: under its lock, with an event of the borrower's own chain and a new version.

A hand-off that was decided on an older version does not start. What waits for the borrower is looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select, update

from gateway.core.clock import Clock
from gateway.core.deliveries import Transition
from gateway.core.reasons import PolicyReason
from gateway.core.routes import RouteRules
from gateway.core.states import State
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event, borrower_subject
from gateway.storage.schema import borrowers, deliveries
from gateway.storage.unit_of_work import UnitOfWork

# In an event's detail: the columns of the borrower's row as the change left them.
AFTER = "after"

# How often a change looks whether messages that had started before it are through.
_DRAIN_POLL_SECONDS = 0.02

# What a person was asked about these changes with the borrower: a change may have answered it.
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


def change_borrower(
    connection: Connection, rules: RouteRules, key: tuple[str, str], what: ChangeRecord, change: Change, now: datetime
) -> bool:
    """Change the row of the borrower ``key`` (tenant, id), which is made where it is missing."""
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
    _look_again(connection, rules, tenant, borrower_id, now)
    return True


def _look_again(connection: Connection, rules: RouteRules, tenant: str, borrower_id: str, now: datetime) -> None:
    """What was deferred is decided anew now: it may have become free, or be suppressed for good."""
    mine = and_(deliveries.c.tenant == tenant, deliveries.c.borrower_id == borrower_id)
    connection.execute(
        update(deliveries)
        .where(mine, deliveries.c.state == State.DEFERRED, deliveries.c.lease_until.is_(None))
        .values(due_at=now)
    )
    asked = connection.execute(
        select(deliveries.c.id).where(mine, deliveries.c.state == State.REVIEW, deliveries.c.reason.in_(_ANSWERED))
    ).scalars()
    ids = list(asked)
    if ids:
        page = UnitOfWork.of_deliveries(connection, ids, rules)
        for each in ids:
            page.apply(Transition(each, "looked_at_again", now, to=State.ACCEPTED, due_at=now))
        page.write()


async def drained(database: Database, which: Any, clock: Clock) -> None:
    """Wait until the messages of ``which`` deliveries that had started before a change are with their provider.

    From the change's commit on no further one can start. The wait is bounded by the provider's time-out,
    and by the lease of a worker that died.
    """

    def in_flight(connection: Connection) -> bool:
        started = and_(deliveries.c.state == State.SENDING, deliveries.c.lease_until > clock())
        return connection.execute(select(deliveries.c.id).where(which, started).limit(1)).first() is not None

    while await database.read(in_flight):  # noqa: ASYNC110 – the change happens in another process
        await asyncio.sleep(_DRAIN_POLL_SECONDS)


def of_borrower(tenant: str, borrower_id: str) -> Any:
    """The condition for all deliveries of a borrower."""
    return and_(deliveries.c.tenant == tenant, deliveries.c.borrower_id == borrower_id)
