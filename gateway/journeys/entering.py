"""Entering and waking: which cases begin a journey, and which journeys something happened to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update

from gateway.core.codec import encode
from gateway.core.notifications import new_id
from gateway.core.states import END_STATES, State
from gateway.journeys.advance import enter
from gateway.journeys.cases.record import CaseRecord, ended_by, standing_plan
from gateway.journeys.cases.store import decode_record, is_open
from gateway.journeys.claiming import decoded
from gateway.journeys.definitions.conditions import enters_at
from gateway.journeys.definitions.model import JourneyDefinition
from gateway.journeys.definitions.store import LiveDefinition, live_definitions
from gateway.journeys.journey import JourneyState
from gateway.storage.accept import insert_new
from gateway.storage.bulk import updating
from gateway.storage.events import Chain, Event
from gateway.storage.facts import matching
from gateway.storage.statements import execute_pipelined
from gateway.storage.tables.journeys import case_records, journey_progress, journeys
from gateway.storage.tables.path import events

_ENTRIES = 500  # cases looked at in one transaction; our choice
_AGAIN = timedelta(hours=1)  # until what can't be read is tried again; our choice
_EVENTS = 5_000  # looked at in one round, as many as deliveries
# Events after which a journey may go another way: replies, holds and opt-outs, receipts, and ends of deliveries.
_WAKING = ("receipt", "replied", "hold_set", "hold_lifted", "opted_out", "opt_out_lifted")
_WAKING_STATES = sorted({State.SENT, *END_STATES})


def wake_by_events(connection: Connection, safe: int, now: datetime) -> bool:
    """Have journeys decided anew of whose borrowers something happened up to event ``safe``; whether more waits."""
    locked = select(journey_progress.c.seq).where(journey_progress.c.id == 1).with_for_update()
    seq: int | None = connection.execute(locked).scalar()
    if seq is None:
        connection.execute(insert_new(connection, journey_progress), [{"id": 1, "seq": safe}])
        return False
    if seq >= safe:
        return False
    until = min(safe, seq + _EVENTS)
    between = and_(events.c.seq > seq, events.c.seq <= until)
    touched = (
        select(events.c.tenant, events.c.borrower_id)
        .where(between, or_(events.c.kind.in_(_WAKING), events.c.state.in_(_WAKING_STATES)))
        .distinct()
    )
    keys = [(row.tenant, row.borrower_id) for row in connection.execute(touched)]
    if keys:
        mine = and_(matching(journeys.c.tenant, journeys.c.borrower_id, keys), is_open())
        locked_rows = select(journeys.c.id).where(mine, _not_due(now)).order_by(journeys.c.id).with_for_update()
        ids = list(connection.execute(locked_rows).scalars())
        if ids:
            woken = update(journeys).where(journeys.c.id.in_(ids))
            connection.execute(woken.values(due_at=now, lease_until=None, revision=journeys.c.revision + 1))
    connection.execute(update(journey_progress).values(seq=until))
    return until < safe


def _not_due(now: datetime) -> Any:
    """Not due already, or being decided on what was known before."""
    return or_(journeys.c.due_at.is_(None), journeys.c.due_at > now, journeys.c.lease_until.is_not(None))


def enter_due(connection: Connection, now: datetime) -> int:
    """Have a batch of cases enter what they meet, and note when each is looked at again; how many journeys that made.

    What can't be read now (a definition, or a case that a newer process wrote) holds up no other, and is tried again.
    """
    due = and_(case_records.c.check_at.is_not(None), case_records.c.check_at <= now)
    query = select(case_records).where(due).order_by(case_records.c.check_at, case_records.c.id).limit(_ENTRIES)
    rows = connection.execute(query.with_for_update(skip_locked=True)).all()
    live = live_definitions(connection, sorted({row.tenant for row in rows}))
    keys = [(row.tenant, row.id) for row in rows if row.tenant in live]
    been = _periods(connection, keys)
    checked, entered = [], 0
    for row in rows:
        record = decoded(decode_record, row.body)
        if record is None:
            again: datetime | None = now + _AGAIN
        else:
            made, again = _enter(connection, row, record, live.get(row.tenant, ()), been, now)
            entered += made
        checked.append({"tenant": row.tenant, "id": row.id, "check_at": again})
    execute_pipelined(connection, updating(connection, case_records, ("tenant", "id"), checked))
    return entered


def _enter(
    connection: Connection,
    row: Any,
    record: CaseRecord,
    live: Sequence[LiveDefinition],
    been: Set[tuple[str, str, str, str]],
    now: datetime,
) -> tuple[int, datetime | None]:
    """Have one case enter what it meets: how many journeys that made, and when to look at the case again."""
    entered, following = 0, list[datetime]()
    for each in live if ended_by(record) is None else ():
        if each.definition is None:
            following.append(now + _AGAIN)
            continue
        at = enters_at(each.definition.enter.when, record, now)
        if at is None or (row.tenant, row.id, each.name, _period(each.definition, record)) in been:
            continue
        if at > now:
            following.append(at)
        else:
            entered += _insert(connection, row, record, each, each.definition, now)
    return entered, min(following, default=None)


def _periods(connection: Connection, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str, str, str]]:
    """What the cases have entered before: tenant, case, definition and period."""
    columns = (journeys.c.tenant, journeys.c.case_id, journeys.c.definition, journeys.c.period)
    query = select(*columns).where(matching(journeys.c.tenant, journeys.c.case_id, keys))
    return {tuple(row) for row in connection.execute(query)} if keys else set()


def _period(definition: JourneyDefinition, record: CaseRecord) -> str:
    """What a case enters a definition once for: a due date, a plan, or ("") the case itself."""
    match definition.enter.once_per:
        case "due_date" if record.snapshot is not None:
            return record.snapshot.due_date.isoformat()
        case "plan" if (plan := standing_plan(record)) is not None:
            return hashlib.sha256(plan.id.encode()).hexdigest()[:40]  # the column's width
    return ""


def _insert(
    connection: Connection,
    row: Any,
    record: CaseRecord,
    live: LiveDefinition,
    definition: JourneyDefinition,
    now: datetime,
) -> bool:
    """A new journey with the first event of its chain; none where one of the same definition is open."""
    assert record.snapshot is not None
    journey = enter(definition, new_id("jny", now), record.id, now)
    borrower = record.snapshot.borrower
    chain = Chain()
    detail = {"case_id": record.id, "journey_id": journey.id, "definition": live.name, "arm": journey.arm}
    event = Event(
        tenant=row.tenant,
        subject=journey.id,
        borrower_id=borrower.id,
        at=now,
        kind="journey.entered",
        actor="gateway",
        zone=borrower.time_zones[0] if borrower.time_zones else "",
        detail={**detail, "version": live.version, "holdout": journey.state is JourneyState.HOLDOUT},
    )
    values = {
        "id": journey.id,
        "tenant": row.tenant,
        "case_id": record.id,
        "borrower_id": borrower.id,
        "definition": live.name,
        "version": live.version,
        "arm": journey.arm,
        "state": journey.state,
        "period": _period(definition, record),
        "entered_at": now,
        "due_at": now,
        "body": encode(journey),
        "event_hash": chain.append("", event),
    }
    done = connection.execute(insert_new(connection, journeys).values(**values).returning(journeys.c.id))
    if done.first() is None:
        return False
    chain.write(connection)
    return True


def enter_named(connection: Connection, tenant: str, record: CaseRecord, name: str, now: datetime) -> bool:
    """Have the case enter another definition; not where it isn't live, or a journey of it is open."""
    live = next((each for each in live_definitions(connection, [tenant]).get(tenant, ()) if each.name == name), None)
    if live is None or live.definition is None or record.snapshot is None:
        return False
    mine = select(case_records).where(case_records.c.tenant == tenant, case_records.c.id == record.id)
    return _insert(connection, connection.execute(mine).one(), record, live, live.definition, now)
