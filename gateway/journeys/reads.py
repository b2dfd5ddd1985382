"""Queries about journeys for the API, the command line and the pages: lists, one's course, counts, the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, select

from gateway.core.codec import instant
from gateway.core.states import TemplateState
from gateway.journeys.actions import step_key
from gateway.journeys.arms import in_holdout
from gateway.journeys.cases.store import is_open
from gateway.journeys.claiming import claimed_journeys, decode_journey
from gateway.journeys.definitions.model import JourneyDefinition, parse_pinned
from gateway.journeys.journey import JourneyState, SentStep
from gateway.journeys.report import ReportRow
from gateway.journeys.requests import CLIENT, journey_of
from gateway.journeys.store import count_by_step
from gateway.storage.database import Database
from gateway.storage.events import local_time
from gateway.storage.tables.journeys import FOR_PERSONS, journey_versions, journeys
from gateway.storage.tables.path import deliveries, events, notifications

_MOST_OPEN = 50  # of one borrower's; our choice: a household has a handful
_MOST_EVENTS = 500  # of one journey's course; our choice: a hundred steps leave some three hundred


@dataclass(frozen=True, slots=True)
class JourneyBacklog:
    """How the journeys of all tenants stand.

    ``due`` and not advanced; in ``review`` by reason; at ``gates``; ``unreadable`` live definitions.
    """

    due: int
    oldest_due_seconds: float
    review: Mapping[str, int]
    gates: int
    unreadable: int


class JourneyReads:
    """Queries about one tenant's journeys. All raise Unavailable when the ledger can't be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(
        self, tenant: str, *, case_id: str = "", definition: str = "", state: str = "", limit: int, before: str = ""
    ) -> list[dict[str, Any]]:
        """Newest first, those with ids below ``before``."""
        query = select(journeys).where(journeys.c.tenant == tenant)
        for name, value in (("case_id", case_id), ("definition", definition), ("state", state)):
            if value:
                query = query.where(journeys.c[name] == value)
        if before:
            query = query.where(journeys.c.id < before)
        query = query.order_by(journeys.c.id.desc()).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_summary(row) for row in rows]

    async def find(self, tenant: str, journey_id: str) -> dict[str, Any] | None:
        """One journey with its course; None where the tenant has no such one."""
        query = select(journeys).where(journeys.c.tenant == tenant, journeys.c.id == journey_id)
        course = select(events).where(events.c.subject == journey_id).order_by(events.c.seq).limit(_MOST_EVENTS)

        def read(connection: Connection) -> dict[str, Any] | None:
            row = connection.execute(query).first()
            if row is None:
                return None
            journey = decode_journey(row.body)
            gate = journey.gate
            known = claimed_journeys(connection, [row])
            sent = known[0].facts.sent if known else {}
            approvals = [{"actor": each.actor, "at": instant(each.at)} for each in gate.approvals] if gate else []
            return {
                **_summary(row),
                "shift_days": journey.shift,
                "held_by": journey.held_by or None,
                "gate": {"step": gate.step, "opened_at": instant(gate.opened_at), "approvals": approvals}
                if gate
                else None,
                "steps": [
                    {
                        "step": each.step,
                        "at": instant(each.at),
                        "result": each.result,
                        "reason": each.reason or None,
                        "message": _message(sent.get(step_key(each.step))),
                    }
                    for each in journey.steps
                ],
                "events": [_event(each) for each in connection.execute(course)],
            }

        return await self._database.read(read)

    async def open_of(self, tenant: str, borrower_id: str) -> list[dict[str, Any]]:
        """A borrower's journeys that have not ended, by case; at most fifty."""
        mine = and_(journeys.c.tenant == tenant, journeys.c.borrower_id == borrower_id, is_open())
        query = select(journeys).where(mine).order_by(journeys.c.case_id, journeys.c.id).limit(_MOST_OPEN)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_summary(row) for row in rows]

    async def backlog(self, now: datetime) -> JourneyBacklog:
        """For the metrics: reads what is due and what waits for persons, by their indexes."""
        due = select(func.count(), func.min(journeys.c.due_at)).where(journeys.c.due_at <= now)
        waiting = select(journeys.c.state, journeys.c.reason, func.count()).where(FOR_PERSONS)
        waiting = waiting.group_by(journeys.c.state, journeys.c.reason)
        published = journey_versions.c.state == TemplateState.PUBLISHED
        live = select(journey_versions.c.source, journey_versions.c.version).where(published)

        def read(connection: Connection) -> JourneyBacklog:
            number, oldest = connection.execute(due).one()
            rows = connection.execute(waiting).all()
            return JourneyBacklog(
                number,
                (now - oldest).total_seconds() if oldest is not None else 0.0,
                {row[1]: row[2] for row in rows if row[0] == JourneyState.REVIEW},
                sum(row[2] for row in rows if row[0] == JourneyState.GATE),
                sum(parse_pinned(row.source, row.version) is None for row in connection.execute(live)),
            )

        return await self._database.read(read)

    async def where(self, tenant: str, definition: str) -> list[dict[str, Any]]:
        """How many open journeys stand where."""
        rows = await self._database.read(lambda connection: count_by_step(connection, tenant, definition))
        return [{"version": row[0], "state": row[1], "step": row[2] or None, "number": row[3]} for row in rows]

    async def report_rows(self, tenant: str, definition: str, since: datetime | None) -> list[ReportRow]:
        """Every journey of a definition, as the report counts it."""
        mine = and_(journeys.c.tenant == tenant, journeys.c.definition == definition)
        query = select(journeys).where(mine)
        sources = await self.sources(tenant, definition)
        definitions = {version: parse_pinned(source, version) for version, (_, source) in sources.items()}
        if since is not None:
            query = query.where(journeys.c.entered_at >= since)

        def read(connection: Connection) -> list[ReportRow]:
            rows = connection.execute(query.order_by(journeys.c.id)).all()
            people = sorted({row.borrower_id for row in rows})
            said, made = _said_since(connection, tenant, people), _contacts_made(connection, tenant, people)
            return [_report_row(row, said, made[row.id], definitions.get(row.version)) for row in rows]

        return await self._database.read(read)

    async def sources(self, tenant: str, definition: str) -> dict[str, tuple[int, str]]:
        """Number and text of each version, by its digest."""
        columns = journey_versions.c
        query = select(columns.version, columns.number, columns.source)
        query = query.where(columns.tenant == tenant, columns.name == definition).order_by(columns.number)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {row.version: (row.number, row.source) for row in rows}


def _message(sent: SentStep | None) -> dict[str, Any] | None:
    """What became of a step's message by now: where it stands, and why it was not sent."""
    if sent is None:
        return None
    return {"notification_id": sent.notification_id, "state": sent.state, "reason": sent.reason or None}


def _report_row(
    row: Any, said: dict[str, list[tuple[datetime, str]]], contacts: int, definition: JourneyDefinition | None
) -> ReportRow:
    """``arm`` is that of the case, with "holdout" where it had to wait, so that an effect can be told."""
    held_out = definition is not None and in_holdout(definition, row.case_id)
    end = row.exited_at
    mine = [kind for at, kind in said.get(row.borrower_id, ()) if row.entered_at <= at and (end is None or at <= end)]
    return ReportRow(
        version=row.version,
        arm=" ".join([row.arm or "all", *(["holdout"] if held_out else [])]),
        exited=row.exited_at is not None,
        reason=row.reason if row.exited_at is not None else "",
        contacts=contacts,
        opted_out="opted_out" in mine,
        complained="complaint_open" in mine,
    )


def _contacts_made(connection: Connection, tenant: str, people: Sequence[str]) -> Counter[str]:
    """The contacts with these borrowers by journey: what reached them or may have, on whichever channel.

    Not the messages that were accepted: of these the rules may have stopped some, and some went on two channels.
    """
    found: Counter[str] = Counter()
    for at in range(0, len(people), 500):
        query = (
            select(notifications.c.idempotency_key, func.count())
            .join(deliveries, deliveries.c.notification_id == notifications.c.id)
            .where(
                deliveries.c.tenant == tenant,
                deliveries.c.borrower_id.in_(people[at : at + 500]),
                deliveries.c.contacted_at.is_not(None),
                notifications.c.client == CLIENT,
            )
            .group_by(notifications.c.idempotency_key)
        )
        for key, number in connection.execute(query):
            found[journey_of(key)] += number
    return found


def _said_since(connection: Connection, tenant: str, people: Sequence[str]) -> dict[str, list[tuple[datetime, str]]]:
    """Opt-outs and complaints of these borrowers, by borrower."""
    found: dict[str, list[tuple[datetime, str]]] = {}
    for at in range(0, len(people), 500):
        query = select(events.c.borrower_id, events.c.at, events.c.kind, events.c.reason).where(
            events.c.tenant == tenant,
            events.c.borrower_id.in_(people[at : at + 500]),
            events.c.kind.in_(("opted_out", "hold_set")),
        )
        for row in connection.execute(query):
            kind = row.kind if row.kind == "opted_out" else row.reason
            found.setdefault(row.borrower_id, []).append((row.at, kind))
    return found


def _summary(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "case_id": row.case_id,
        "borrower_id": row.borrower_id,
        "definition": row.definition,
        "version": row.version,
        "arm": row.arm or None,
        "state": row.state,
        "reason": row.reason or None,
        "step": row.step or None,
        "entered_at": instant(row.entered_at),
        "exited_at": instant(row.exited_at),
        "due_at": instant(row.due_at),
    }


def _event(row: Any) -> dict[str, Any]:
    return {
        "at": instant(row.at),
        "local_at": local_time(row.at, row.local_at),
        "kind": row.kind,
        "reason": row.reason or None,
        "actor": row.actor,
        "detail": json.loads(row.detail),
    }
