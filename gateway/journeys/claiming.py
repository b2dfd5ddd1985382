"""A journey with all that ``advance`` may look at: read for a batch of rows, in a few queries for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection, select

from gateway.core.codec import holds_from, opt_outs_from
from gateway.core.journey_events import JourneyReview, StepResult
from gateway.core.states import State, TemplateState
from gateway.journeys.actions import step_key
from gateway.journeys.cases.instalments import for_plan
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.cases.store import decode_record
from gateway.journeys.definitions.model import JourneyDefinition, parse_pinned, stand_in
from gateway.journeys.journey import Journey, JourneyFacts, SentStep
from gateway.journeys.requests import request_key
from gateway.storage.facts import matching
from gateway.storage.statements import StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import borrowers, replies
from gateway.storage.tables.columns import instant_of
from gateway.storage.tables.journeys import case_records, journey_versions
from gateway.storage.tables.path import deliveries

_log = structlog.get_logger("journeys")
decode_journey = msgspec.json.Decoder(Journey).decode

ONCE_LIVE = (TemplateState.PUBLISHED, TemplateState.SUPERSEDED, TemplateState.ROLLED_BACK)

_KEYED = StatementTemplate(
    lambda sql: (
        "SELECT id, idempotency_key, tenant, state, reason, accepted_at FROM notifications"
        f" WHERE {sql.matching(('tenant', 'idempotency_key'), 'keys')}"
    )
)


@dataclass(frozen=True, slots=True)
class ClaimedJourney:
    """A journey that this worker has leased, with all that ``advance`` may look at.

    ``fault`` says why its definition can't be used; ``definition`` has then a name and nothing else.
    """

    tenant: str
    borrower_id: str
    zone: str
    revision: int
    version: str
    definition: JourneyDefinition
    journey: Journey
    facts: JourneyFacts
    notifications: Mapping[str, str]  # ids by the step's key
    fault: JourneyReview | None = None


@dataclass(frozen=True, slots=True)
class _PinnedVersion:
    """A stored text of a definition. ``definition`` is None where it can't be used.

    The same text may have been stopped as one version, and brought to life again as another one (``again``).
    """

    definition: JourneyDefinition | None
    stopped_at: datetime | None = None
    again: bool = False

    def stops(self, journey: Journey) -> bool:
        """Whether an operator has stopped it: what enters afterwards, by the same text as another version, goes on."""
        return self.stopped_at is not None and not (self.again and journey.entered_at > self.stopped_at)


@dataclass(slots=True)
class _Known:
    """What is known of a batch's cases, borrowers and notifications."""

    records: dict[tuple[str, str], CaseRecord] = field(default_factory=dict)
    people: dict[tuple[str, str], Any] = field(default_factory=dict)
    sent: dict[tuple[str, str], SentStep] = field(default_factory=dict)  # by tenant and idempotency key


def claimed_journeys(connection: Connection, rows: Sequence[Any]) -> list[ClaimedJourney]:
    """These rows with their facts.

    A row whose own text, or whose case's, this process can't decode is left out, and logged: a newer process may have
    written it. It stays leased for a minute, and due.
    """
    journeys = {row.id: journey for row in rows if (journey := decoded(decode_journey, row.body, row.id)) is not None}
    versions = _versions(connection, {(row.tenant, row.definition, row.version) for row in rows})
    readable = [row for row in rows if row.id in journeys]
    known = _known(connection, readable) if readable else _Known()
    readable = [row for row in readable if (row.tenant, row.case_id) in known.records]
    keys = {
        row.id: _keys(
            versions.get((row.tenant, row.definition, row.version)),
            journeys[row.id],
            known.records[row.tenant, row.case_id],
        )
        for row in readable
    }
    known.sent = _sent(connection, readable, keys) if readable else {}
    return [
        _claimed(row, journeys[row.id], versions.get((row.tenant, row.definition, row.version)), keys[row.id], known)
        for row in readable
    ]


T = TypeVar("T", Journey, CaseRecord)


def decoded(decode: Callable[[str], T], text: str, journey_id: str = "") -> T | None:
    """A stored text; None, and logged, where this process can't decode it."""
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        _log.error("journey_unreadable", journey_id=journey_id, error=type(error).__name__)
        return None


def _claimed(
    row: Any, journey: Journey, version: _PinnedVersion | None, keys: Sequence[str], known: _Known
) -> ClaimedJourney:
    record, person = known.records[(row.tenant, row.case_id)], known.people.get((row.tenant, row.borrower_id))
    sent = {key: known.sent[at] for key in keys if (at := (row.tenant, request_key(row.id, key))) in known.sent}
    outs = opt_outs_from(person.opt_outs) if person is not None else []
    facts = JourneyFacts(
        record,
        tuple(holds_from(person.holds)) if person is not None else (),
        sent,
        any(each.opt_out.channel is None and each.opt_out.category is None for each in outs),
        version is not None and version.stops(journey),
    )
    zones = record.snapshot.borrower.time_zones if record.snapshot is not None else ()
    definition = version.definition if version is not None else None
    return ClaimedJourney(
        row.tenant,
        row.borrower_id,
        zones[0] if zones else "",
        row.revision,
        row.version,
        definition or stand_in(row.definition),
        journey,
        facts,
        {key: each.notification_id for key, each in sent.items()},
        JourneyReview.DEFINITION_UNREADABLE if definition is None else None,
    )


def _versions(connection: Connection, keys: set[tuple[str, str, str]]) -> dict[tuple[str, str, str], _PinnedVersion]:
    """These versions by tenant, name and digest of the text."""
    columns = journey_versions.c
    query = select(
        columns.tenant, columns.name, columns.version, columns.source, columns.stopped_at, columns.state
    ).order_by(columns.number)
    found: dict[tuple[str, str, str], _PinnedVersion] = {}
    for tenant in sorted({each[0] for each in keys}):
        shas = sorted({each[2] for each in keys if each[0] == tenant})
        for row in connection.execute(query.where(columns.tenant == tenant, columns.version.in_(shas))):
            key = (row.tenant, row.name, row.version)
            before = found.get(key, _PinnedVersion(None))
            found[key] = _PinnedVersion(
                parse_pinned(row.source, row.version),
                max((each for each in (before.stopped_at, row.stopped_at) if each is not None), default=None),
                before.again or (row.stopped_at is None and row.state in ONCE_LIVE),
            )
    return found


def _keys(version: _PinnedVersion | None, journey: Journey, record: CaseRecord) -> list[str]:
    """The keys of what may have been sent: steps of the definition, what a former version has done, and promises."""
    definition = version.definition if version is not None else None
    steps = for_plan(definition, record).steps if definition is not None else ()
    named = [step_key(each.id) for each in steps if each.template]
    done = [step_key(each.step) for each in journey.steps if each.result is StepResult.SENT]
    promised = [step_key("", promise=each) for each in record.promises]
    return list(dict.fromkeys([*named, *done, *promised]))


def _known(connection: Connection, rows: Sequence[Any]) -> _Known:
    known = _Known()
    cases = sorted({(row.tenant, row.case_id) for row in rows})
    query = select(case_records).where(matching(case_records.c.tenant, case_records.c.id, cases))
    known.records = {(tenant, key): CaseRecord(key) for tenant, key in cases}
    for row in connection.execute(query):
        record = decoded(decode_record, row.body)
        if record is None:
            del known.records[row.tenant, row.id]
        else:
            known.records[row.tenant, row.id] = record
    people = sorted({(row.tenant, row.borrower_id) for row in rows})
    query = select(borrowers).where(matching(borrowers.c.tenant, borrowers.c.id, people))
    known.people = {(row.tenant, row.id): row for row in connection.execute(query)}
    return known


def _sent(
    connection: Connection, rows: Sequence[Any], step_keys: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], SentStep]:
    """What the path knows of these journeys' requests, by tenant and idempotency key. ``step_keys``: by journey."""
    keys = [(row.tenant, request_key(row.id, key)) for row in rows for key in step_keys[row.id]]
    people = sorted({(row.tenant, row.borrower_id) for row in rows})
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
