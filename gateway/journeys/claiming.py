"""A journey with all that ``advance`` may look at: read for a batch of rows, in a few queries for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from gateway.core.codec import holds_from, opt_outs_from
from gateway.core.states import State
from gateway.journeys.case_store import decode_record
from gateway.journeys.cases import CaseRecord
from gateway.journeys.definition import JourneyDefinition, parse
from gateway.journeys.journey import Journey, JourneyFacts, SentStep
from gateway.journeys.requests import request_key
from gateway.storage.facts import matching
from gateway.storage.journey_tables import case_records, journey_versions
from gateway.storage.schema import borrowers, deliveries, instant_of, replies
from gateway.storage.statements import StatementTemplate, execute_pipelined

decode_journey = msgspec.json.Decoder(Journey).decode

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


@dataclass(slots=True)
class _Known:
    """What is known of a batch's cases, borrowers and notifications."""

    records: dict[tuple[str, str], CaseRecord] = field(default_factory=dict)
    people: dict[tuple[str, str], Any] = field(default_factory=dict)
    sent: dict[tuple[str, str], SentStep] = field(default_factory=dict)  # by tenant and idempotency key


def claimed_journeys(connection: Connection, rows: Sequence[Any]) -> list[ClaimedJourney]:
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
