"""Journeys in the ledger: waking, claiming with their facts, and writing what was decided.

A claim is a lease, as of deliveries. What was decided is written by compare and set on the row's revision, which every
wake-up moves on: a decision on facts that have changed since is void, and made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, func, or_, select, update

from gateway.core.codec import encode, holds_from, opt_outs_from
from gateway.core.states import State
from gateway.journeys.case_store import decode_record, is_open
from gateway.journeys.cases import CaseRecord
from gateway.journeys.definition import JourneyDefinition, parse
from gateway.journeys.entering import enter_due, enter_named, wake_by_events
from gateway.journeys.history import JourneyEvent
from gateway.journeys.journey import Journey, JourneyFacts, SentStep
from gateway.journeys.requests import request_key
from gateway.storage.bulk import updating
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event
from gateway.storage.facts import matching
from gateway.storage.journey_tables import case_records, journey_versions, journeys
from gateway.storage.schema import borrowers, deliveries, instant_of, replies
from gateway.storage.statements import StatementTemplate, execute_pipelined
from gateway.storage.tail import Tail

decode_journey = msgspec.json.Decoder(Journey).decode

LEASE = timedelta(seconds=60)  # of a claimed journey; our choice: some hundred times as long as a batch takes
_DUE = StatementTemplate(
    lambda sql: (
        f"SELECT id FROM journeys WHERE due_at <= {sql.value('now')}"
        f" AND (lease_until IS NULL OR lease_until <= {sql.value('now')}) ORDER BY due_at LIMIT {sql.value('most')}"
    )
)
_KEYED = StatementTemplate(
    lambda sql: (
        "SELECT id, idempotency_key, tenant, state, reason, accepted_at FROM notifications"
        f" WHERE {sql.matching(('tenant', 'idempotency_key'), 'keys')}"
    )
)


@dataclass(frozen=True, slots=True)
class ClaimedJourney:
    """A journey that this worker has leased, with all that ``advance`` may look at."""

    tenant: str
    borrower_id: str
    zone: str
    revision: int
    version: str
    definition: JourneyDefinition
    journey: Journey
    facts: JourneyFacts
    notifications: Mapping[str, str]  # ids by the step's key


@dataclass(frozen=True, slots=True)
class JourneyChange:
    """What was decided for a claimed journey: to be written if its revision is still the same."""

    claimed: ClaimedJourney
    after: Journey
    events: tuple[JourneyEvent, ...] = ()
    actor: str = "gateway"
    enters: tuple[str, ...] = ()  # names of definitions
    version: str = ""  # another version to be pinned to


@dataclass(slots=True)
class _Known:
    """What is known of a batch's cases, borrowers and notifications."""

    records: dict[tuple[str, str], CaseRecord] = field(default_factory=dict)
    people: dict[tuple[str, str], Any] = field(default_factory=dict)
    sent: dict[tuple[str, str], SentStep] = field(default_factory=dict)  # by tenant and idempotency key


class JourneyStore:
    """The journeys of all tenants. Safe with any number of workers on one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tail = Tail()
        self._looked_at = -1  # the number up to which this process has seen that no event is left

    async def wake(self, now: datetime) -> bool:
        """Have journeys decided anew of whose borrowers something happened since the last call; whether more waits."""
        safe = await self._database.read(self._tail.safe)
        if safe == self._looked_at:
            return False
        more = await self._database.write(lambda connection: wake_by_events(connection, safe, now))
        if not more:
            self._looked_at = safe
        return more

    async def enter(self, now: datetime) -> int:
        """Have the cases that meet a live definition's conditions enter it; how many cases were looked at."""
        due = and_(case_records.c.check_at.is_not(None), case_records.c.check_at <= now)
        query = select(case_records.c.id).where(due).limit(1)
        if await self._database.read(lambda connection: connection.execute(query).first()) is None:
            return 0
        return await self._database.write(lambda connection: enter_due(connection, now))

    async def due(self, now: datetime, most: int) -> list[str]:
        """Journeys that are due and not leased, oldest first."""
        return [
            row[0] for row in await self._database.query(lambda connection: _DUE.of(connection, now=now, most=most))
        ]

    async def claim(self, ids: Sequence[str], now: datetime) -> list[ClaimedJourney]:
        """Lease those of these journeys that are due and free, with their facts; the others are left out."""
        free = or_(journeys.c.lease_until.is_(None), journeys.c.lease_until <= now)

        def write(connection: Connection) -> list[ClaimedJourney]:
            mine = select(journeys).where(journeys.c.id.in_(ids), journeys.c.due_at <= now, free)
            rows = connection.execute(mine.order_by(journeys.c.id).with_for_update(skip_locked=True)).all()
            these = update(journeys).where(journeys.c.id.in_([row.id for row in rows]))
            if rows:
                connection.execute(these.values(lease_until=now + LEASE))
            return _claimed(connection, rows)

        return await self._database.write(write)

    async def look(self, tenant: str, journey_id: str) -> ClaimedJourney | None:
        """One journey with its facts, not leased: for a person's decision; None where there is no such one."""
        query = select(journeys).where(journeys.c.tenant == tenant, journeys.c.id == journey_id)

        def read(connection: Connection) -> ClaimedJourney | None:
            found = _claimed(connection, connection.execute(query).all())
            return found[0] if found else None

        return await self._database.read(read)

    async def open_of(self, tenant: str, name: str, version: str, after: str, most: int) -> list[ClaimedJourney]:
        """Open journeys of one version, by id from after ``after``; not leased."""
        query = select(journeys).where(
            journeys.c.tenant == tenant, journeys.c.definition == name, journeys.c.version == version
        )
        query = query.where(is_open(), journeys.c.id > after).order_by(journeys.c.id).limit(most)
        return await self._database.read(lambda connection: _claimed(connection, connection.execute(query).all()))

    async def write(self, decided: Sequence[JourneyChange], now: datetime) -> list[bool]:
        """Write what was decided; False for each journey of which something has changed meanwhile."""
        return await self._database.write(lambda connection: _write(connection, decided, now))


# ── claiming ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _claimed(connection: Connection, rows: Sequence[Any]) -> list[ClaimedJourney]:
    if not rows:
        return []
    bodies = {row.id: decode_journey(row.body) for row in rows}
    definitions = _definitions(connection, {(row.tenant, row.definition, row.version) for row in rows})
    known = _known(connection, rows, definitions)
    found = []
    for row in rows:
        source, stopped = definitions[(row.tenant, row.definition, row.version)]
        definition, journey = parse(source), bodies[row.id]
        record = known.records.get((row.tenant, row.case_id), CaseRecord(row.case_id))
        keys = _keys(definition, record)
        sent = {key: known.sent[at] for key in keys if (at := (row.tenant, request_key(row.id, key))) in known.sent}
        person = known.people.get((row.tenant, row.borrower_id))
        outs = opt_outs_from(person.opt_outs) if person is not None else []
        facts = JourneyFacts(
            record,
            tuple(holds_from(person.holds)) if person is not None else (),
            sent,
            any(each.opt_out.channel is None and each.opt_out.category is None for each in outs),
            stopped,
        )
        zones = record.snapshot.borrower.time_zones if record.snapshot is not None else ()
        ids = {key: each.notification_id for key, each in sent.items()}
        zone = zones[0] if zones else ""
        found.append(
            ClaimedJourney(
                row.tenant, row.borrower_id, zone, row.revision, row.version, definition, journey, facts, ids
            )
        )
    return found


def _definitions(
    connection: Connection, keys: set[tuple[str, str, str]]
) -> dict[tuple[str, str, str], tuple[str, bool]]:
    """Text of these versions (tenant, name, version), and whether they were stopped."""
    columns = journey_versions.c
    query = select(columns.tenant, columns.name, columns.version, columns.source, columns.stopped_at)
    found: dict[tuple[str, str, str], tuple[str, bool]] = {}
    for tenant in sorted({each[0] for each in keys}):
        shas = sorted({each[2] for each in keys if each[0] == tenant})
        for row in connection.execute(query.where(columns.tenant == tenant, columns.version.in_(shas))):
            key = (row.tenant, row.name, row.version)
            found[key] = (row.source, row.stopped_at is not None or found.get(key, ("", False))[1])
    return found


def _keys(definition: JourneyDefinition, record: CaseRecord) -> list[str]:
    """The keys under which a journey may have sent something."""
    return [*(each.id for each in definition.steps if each.template), *(f"promise-{key}" for key in record.promises)]


def _known(connection: Connection, rows: Sequence[Any], definitions: Mapping[Any, tuple[str, bool]]) -> _Known:
    known = _Known()
    cases = sorted({(row.tenant, row.case_id) for row in rows})
    query = select(case_records).where(matching(case_records.c.tenant, case_records.c.id, cases))
    known.records = {(row.tenant, row.id): decode_record(row.body) for row in connection.execute(query)}
    people = sorted({(row.tenant, row.borrower_id) for row in rows})
    query = select(borrowers).where(matching(borrowers.c.tenant, borrowers.c.id, people))
    known.people = {(row.tenant, row.id): row for row in connection.execute(query)}
    keys = []
    for row in rows:
        definition = parse(definitions[(row.tenant, row.definition, row.version)][0])
        record = known.records.get((row.tenant, row.case_id), CaseRecord(row.case_id))
        keys += [(row.tenant, request_key(row.id, key)) for key in _keys(definition, record)]
    known.sent = _sent(connection, keys, people)
    return known


def _sent(
    connection: Connection, keys: Sequence[tuple[str, str]], people: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], SentStep]:
    """What the path knows of these requests, by tenant and idempotency key."""
    [found] = execute_pipelined(connection, [_KEYED.of(connection, keys=sorted(keys))])
    ids = [row[0] for row in found]
    if not ids:
        return {}
    columns = (deliveries.c.id, deliveries.c.notification_id, deliveries.c.state, deliveries.c.read_at)
    parts = connection.execute(select(*columns).where(deliveries.c.notification_id.in_(ids))).all()
    said = select(replies.c.delivery_id).where(matching(replies.c.tenant, replies.c.borrower_id, people))
    answered = set(connection.execute(said).scalars())
    delivered = {row.notification_id for row in parts if row.state == State.DELIVERED or row.read_at is not None}
    read = {row.notification_id for row in parts if row.read_at is not None}
    replied = {row.notification_id for row in parts if row.id in answered}
    return {
        (tenant, key): SentStep(
            identifier,
            instant_of(at),
            State(state),
            reason,
            identifier in delivered,
            identifier in read,
            identifier in replied,
        )
        for identifier, key, tenant, state, reason, at in found
    }


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write(connection: Connection, decided: Sequence[JourneyChange], now: datetime) -> list[bool]:
    ids = sorted(each.after.id for each in decided)
    query = select(journeys.c.id, journeys.c.revision, journeys.c.event_hash, journeys.c.version)
    locked = connection.execute(query.where(journeys.c.id.in_(ids)).order_by(journeys.c.id).with_for_update())
    rows = {row.id: row for row in locked}
    chain, values, done = Chain(), [], []
    for each in decided:
        row = rows.get(each.after.id)
        current = row is not None and row.revision == each.claimed.revision
        done.append(current)
        if row is not None and current:
            values.append(_values(chain, each, row, now))
    writes = updating(connection, journeys, ("id",), values)
    execute_pipelined(connection, [*writes, *chain.statements(connection)])
    for each, current in zip(decided, done, strict=True):
        if current:
            for name in each.enters:
                enter_named(connection, each.claimed.tenant, each.claimed.facts.case, name, now)
    return done


def _values(chain: Chain, each: JourneyChange, row: Any, now: datetime) -> dict[str, Any]:
    claimed, after = each.claimed, each.after
    head = row.event_hash
    about = {"case_id": after.case_id, "journey_id": after.id, "definition": claimed.definition.name}
    for event in each.events:
        head = chain.append(
            head,
            Event(
                tenant=claimed.tenant,
                subject=after.id,
                borrower_id=claimed.borrower_id,
                at=now,
                kind=event.kind,
                actor=each.actor,
                reason=event.reason[:40],
                state=after.state,
                zone=claimed.zone,
                detail={**about, **event.detail},
            ),
        )
    return {
        "id": after.id,
        "version": each.version or row.version,
        "state": after.state,
        "reason": after.reason[:40],
        "step": after.steps[-1].step if after.steps else "",
        "exited_at": now if after.ended else None,
        "due_at": after.due_at,
        "lease_until": None,
        "revision": row.revision + 1,
        "body": encode(after),
        "event_hash": head,
    }


def count_by_step(connection: Connection, tenant: str, definition: str) -> list[tuple[str, str, str, int]]:
    """How many open journeys stand where: (version, state, last step, number)."""
    columns = (journeys.c.version, journeys.c.state, journeys.c.step)
    mine = and_(journeys.c.tenant == tenant, journeys.c.definition == definition, is_open())
    query = select(*columns, func.count()).where(mine).group_by(*columns)
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
