"""Everything that the ledger can prove about one borrower: events with their chains, words, replies, approvals.

Reads one snapshot. The files are those that gateway/evidence/offline_verifier.py verifies. Must not know languages or
pages: gateway/web/desk/evidence.py makes the ZIP.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from gateway.core.codec import notification_from
from gateway.core.notifications import Notification
from gateway.evidence.offline_verifier import SEALED, dump
from gateway.storage.database import Database
from gateway.storage.events import borrower_subject, case_subject, linked, template_subject
from gateway.storage.messages import words_by_attempt
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import borrowers, replies
from gateway.storage.tables.identity import users
from gateway.storage.tables.journeys import case_records
from gateway.storage.tables.path import deliveries, events, notifications
from gateway.storage.tables.templates import template_editions, templates
from gateway.storage.verdicts import references, texts_of


@dataclass(frozen=True, slots=True)
class ApprovedVersion:
    """A tenant's version of a template: who submitted and who approved it. ``""`` for one that ships (no approval)."""

    template: str
    version: str
    submitted_by: str
    approved_by: str
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class WrittenReply:
    """A borrower's reply. ``text`` is "" where it has been erased."""

    id: str
    received_at: datetime
    channel: str
    intent: str
    text: str


@dataclass(frozen=True, slots=True)
class BorrowerFile:
    """``events`` in the order of the ledger, each with the fields of its row. ``words``: (delivery, attempt) → JSON.

    ``heads``: subject → hash of its last event. ``names``: actor → display name of a user.
    """

    tenant: str
    borrower_id: str
    notifications: Mapping[str, Notification]
    channels: Mapping[str, str]  # delivery → channel
    events: Sequence[Mapping[str, Any]]
    heads: Mapping[str, str]
    words: Mapping[tuple[str, int], str]
    replies: Sequence[WrittenReply]
    versions: Mapping[tuple[str, str], ApprovedVersion]
    names: Mapping[str, str]
    verdicts: Mapping[str, str]  # digest → text of a decision that events refer to

    @property
    def zone(self) -> str:
        """The borrower's first time zone by the latest request; "" where unknown."""
        zones = [each.borrower.time_zones for each in self.notifications.values() if each.borrower.time_zones]
        return zones[-1][0] if zones else ""

    @property
    def name(self) -> str:
        """The borrower's name by the latest request that still has it."""
        known = [each.borrower.name for each in self.notifications.values() if each.borrower.name]
        return known[-1] if known else ""

    def own_events(self) -> list[Mapping[str, Any]]:
        """The events without those of templates."""
        return [each for each in self.events if not each["subject"].startswith("template:")]

    def events_file(self) -> str:
        """The events as JSON lines: what their hashes are made of, and nothing besides."""
        return "".join(f"{dump(sealed_event(each))}\n" for each in self.events)

    def words_file(self) -> str:
        """The words of all attempts as JSON lines."""
        rows = [{"delivery_id": key[0], "attempt": key[1], "content": text} for key, text in self.words.items()]
        return "".join(f"{dump(each)}\n" for each in rows)

    def verdicts_file(self) -> str:
        """The decisions that events refer to, as JSON lines."""
        rows = [{"digest": digest, "text": text} for digest, text in sorted(self.verdicts.items())]
        return "".join(f"{dump(each)}\n" for each in rows)


async def read_borrower_file(database: Database, tenant: str, borrower_id: str) -> BorrowerFile | None:
    """The file of a borrower; None for an unknown one. Raises Unavailable."""
    return await database.read(lambda connection: _read(connection, tenant, borrower_id))


async def read_timeline_page(
    database: Database, tenant: str, borrower_id: str, limit: int, before: int | None = None
) -> tuple[BorrowerFile, int | None] | None:
    """The latest ``limit`` events of a borrower from below ``before`` on, with what they are about, and where the next
    page begins; None for an unknown borrower. Raises Unavailable.

    Reads a number of rows that depends on ``limit`` alone. Its heads are empty: a part of a chain proves nothing.
    """
    return await database.read(lambda connection: _read_page(connection, tenant, borrower_id, limit, before))


def sealed_event(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that an event's hash is made of, and the hash; the event as gateway/storage/events.py links it."""
    plain = {**row, "delivery_id": row["delivery_id"] or "", "at_ms": int(row["at"].timestamp() * 1000)}
    return {name: plain[name] for name in (*SEALED, "hash")}


def _read(connection: Connection, tenant: str, borrower_id: str) -> BorrowerFile | None:
    mine = and_(notifications.c.tenant == tenant, notifications.c.borrower_id == borrower_id)
    rows = connection.execute(select(*WHOLE_NOTIFICATION).where(mine).order_by(notifications.c.id)).all()
    own = and_(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    person = connection.execute(select(borrowers).where(own)).first()
    if not rows and (person is None or not person.event_hash):
        return None
    known = {row.id: notification_from(row) for row in rows}
    heads = {row.id: row.event_hash for row in rows}
    if person is not None and person.event_hash:
        heads[borrower_subject(tenant, borrower_id)] = person.event_hash
    heads |= _case_heads(connection, tenant, sorted({each.case.id for each in known.values()}))
    heads |= _template_heads(connection, tenant, sorted({each.template for each in known.values()}))
    steps = connection.execute(
        select(deliveries.c.id, deliveries.c.channel).where(deliveries.c.notification_id.in_(list(known)))
    ).all()
    query = select(events).where(events.c.subject.in_(list(heads))).order_by(events.c.seq)
    found = list(linked(connection.execute(query).mappings()))
    return BorrowerFile(
        tenant,
        borrower_id,
        known,
        {step.id: step.channel for step in steps},
        found,
        heads,
        words_by_attempt(connection, [step.id for step in steps]),
        _replies(connection, tenant, borrower_id),
        _versions(connection, tenant, known.values()),
        {f"user:{row.id}": row.name for row in connection.execute(select(users).where(users.c.tenant == tenant))},
        texts_of(connection, references(each["detail"] for each in found)),
    )


def _template_heads(connection: Connection, tenant: str, names: Sequence[str]) -> dict[str, str]:
    query = select(templates).where(templates.c.tenant == tenant, templates.c.id.in_(names))
    return {template_subject(tenant, row.id): row.event_hash for row in connection.execute(query) if row.event_hash}


def _read_page(
    connection: Connection, tenant: str, borrower_id: str, limit: int, before: int | None
) -> tuple[BorrowerFile, int | None] | None:
    mine = and_(events.c.tenant == tenant, events.c.borrower_id == borrower_id)
    query = select(events).where(mine if before is None else and_(mine, events.c.seq < before))
    rows = [dict(row) for row in connection.execute(query.order_by(events.c.seq.desc()).limit(limit + 1)).mappings()]
    found = rows[:limit][::-1]
    known = _notifications_of(connection, tenant, borrower_id, {each["subject"] for each in found})
    own = select(borrowers.c.id).where(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    if not found and not known and connection.execute(own).first() is None:
        return None
    ids = sorted({each["delivery_id"] for each in found if each["delivery_id"]})
    steps = connection.execute(select(deliveries.c.id, deliveries.c.channel).where(deliveries.c.id.in_(ids))).all()
    started = sorted({each["delivery_id"] for each in found if each["kind"] == "attempt_started"})
    people = sorted({each["actor"].partition(":")[2] for each in found if each["actor"].startswith("user:")})
    versions = _versions(connection, tenant, known.values())
    people += [name.partition(":")[2] for each in versions.values() for name in (each.submitted_by, each.approved_by)]
    named = select(users).where(users.c.tenant == tenant, users.c.id.in_(people))
    answers = [json.loads(each["detail"]).get("reply_id") for each in found if '"reply_id"' in each["detail"]]
    file = BorrowerFile(
        tenant,
        borrower_id,
        known,
        {step.id: step.channel for step in steps},
        found,
        {},
        words_by_attempt(connection, started),
        _replies(connection, tenant, borrower_id, [each for each in answers if each]),
        versions,
        {f"user:{row.id}": row.name for row in connection.execute(named)},
        texts_of(connection, references(each["detail"] for each in found)),
    )
    return file, rows[limit - 1]["seq"] if len(rows) > limit else None


def _notifications_of(
    connection: Connection, tenant: str, borrower_id: str, subjects: Collection[str]
) -> dict[str, Notification]:
    """Those of these subjects, and the latest: it has the borrower's name and time zone."""
    mine = and_(notifications.c.tenant == tenant, notifications.c.borrower_id == borrower_id)
    latest = select(notifications.c.id).where(mine).order_by(notifications.c.id.desc()).limit(1)
    ids = {*subjects, *connection.execute(latest).scalars()}
    query = select(*WHOLE_NOTIFICATION).where(mine, notifications.c.id.in_(sorted(ids))).order_by(notifications.c.id)
    return {row.id: notification_from(row) for row in connection.execute(query)}


def _case_heads(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, str]:
    query = select(case_records.c.id, case_records.c.event_hash).where(
        case_records.c.tenant == tenant, case_records.c.id.in_(ids), case_records.c.event_hash != ""
    )
    return {case_subject(tenant, row.id): row.event_hash for row in connection.execute(query)}


def _replies(
    connection: Connection, tenant: str, borrower_id: str, ids: Sequence[str] | None = None
) -> list[WrittenReply]:
    """The replies of these ids, or all."""
    query = select(replies).where(replies.c.tenant == tenant, replies.c.borrower_id == borrower_id)
    if ids is not None:
        query = query.where(replies.c.id.in_(ids))
    return [
        WrittenReply(row.id, row.received_at, row.channel, row.intent, row.text)
        for row in connection.execute(query.order_by(replies.c.id))
    ]


def _versions(connection: Connection, tenant: str, known: Any) -> dict[tuple[str, str], ApprovedVersion]:
    wanted = {(each.template, each.template_version) for each in known}
    query = select(template_editions).where(
        template_editions.c.tenant == tenant,
        template_editions.c.template.in_(sorted({template for template, _ in wanted})),
        template_editions.c.version != "",
    )
    return {
        (row.template, row.version): ApprovedVersion(
            row.template, row.version, row.submitted_by, row.approved_by, row.published_at
        )
        for row in connection.execute(query)
        if (row.template, row.version) in wanted
    }


def words_of(words: str) -> dict[str, Any]:
    """The parts of stored words: text, subject, html, template."""
    parts: dict[str, Any] = json.loads(words)
    return parts
