"""Queries for the API, the command line and the demo: one per table for each answer, shaped as the API answers it.

Reads only. Instants are RFC 3339 texts in the answers; addresses appear as keyed digests.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from gateway.core.codec import (
    channel_consents_from,
    chosen_from,
    holds_from,
    instant,
    notification_from,
    opt_outs_from,
)
from gateway.core.facts import ChosenPreferences
from gateway.core.notifications import Notification, id_at
from gateway.core.states import State
from gateway.storage.address_reads import opted_out_addresses, suppressions
from gateway.storage.database import Database
from gateway.storage.events import local_time
from gateway.storage.messages import messages_of
from gateway.storage.rows import WHOLE_NOTIFICATION, attention_of, standing_in
from gateway.storage.tables.borrowers import borrowers, replies
from gateway.storage.tables.path import attempts, deliveries, events, notifications
from gateway.storage.verdicts import whole_details

_RECENT = 50  # our choice: a page of a borrower's record; the timeline has them all
# The provider has the message, or had it: ends of an attempt whose outcome was unknown.
_WAS_SENT = (State.SENT, State.DELIVERED, State.UNDELIVERED)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which notifications to list. Instants are compared with the time of acceptance; ``until`` is exclusive."""

    borrower_id: str | None = None
    case_id: str | None = None
    state: str | None = None
    template: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    id_prefix: str | None = None

    def conditions(self) -> list[Any]:
        columns = notifications.c
        equal = {name: getattr(self, name) for name in ("borrower_id", "case_id", "template")}
        found = [columns[name] == value for name, value in equal.items() if value is not None]
        if self.state is not None:
            found.append(standing_in(notifications, State(self.state)))
        # Ids begin with their time, so that the index by id begins at the end of the period, and not at the newest.
        if self.since is not None:
            found += [columns.accepted_at >= self.since, columns.id >= id_at("ntf", self.since)]
        if self.until is not None:
            found += [columns.accepted_at < self.until, columns.id < id_at("ntf", self.until) + "g"]
        if self.id_prefix is not None:  # a range, which the index on (tenant, ..., id) or the primary key serves
            found += [columns.id >= self.id_prefix, columns.id < self.id_prefix + "g"]
        return found


class Reads:
    """Queries for the API, the command line and the demo. All raise Unavailable when the ledger can't be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def notification(self, tenant: str, notification_id: str) -> dict[str, Any] | None:
        """Everything about one notification; None where the tenant has no such one."""
        return await self._database.read(lambda connection: _notification(connection, tenant, notification_id))

    async def messages(self, tenant: str, notification_id: str) -> list[dict[str, Any]] | None:
        """The words of each attempt of a notification; None where the tenant has no such one."""
        return await self._database.read(lambda connection: messages_of(connection, tenant, notification_id))

    async def notifications(
        self, tenant: str, which: Filter, limit: int, before: str | None = None
    ) -> list[dict[str, Any]]:
        """Newest first, those with ids below ``before``."""
        query = select(notifications).where(_of(tenant, which), *which.conditions())
        if before is not None:
            query = query.where(notifications.c.id < before)
        query = query.order_by(notifications.c.id.desc()).limit(limit)
        return await self._database.read(lambda connection: [_summary(row) for row in connection.execute(query)])

    async def timeline(self, tenant: str, borrower_id: str, limit: int, after: int = 0) -> list[dict[str, Any]]:
        """A borrower's events in order, from after event ``after``: messages, holds, opt-outs."""
        query = (
            select(events, deliveries.c.channel)
            .join(deliveries, deliveries.c.id == events.c.delivery_id, isouter=True)
            .where(events.c.tenant == tenant, events.c.borrower_id == borrower_id, events.c.seq > after)
            .order_by(events.c.seq)
            .limit(limit)
        )

        def read(connection: Connection) -> list[dict[str, Any]]:
            rows = connection.execute(query).all()
            return [
                {
                    "seq": row.seq,
                    "notification_id": row.subject if row.subject.startswith("ntf_") else None,
                    "channel": row.channel,
                    **event,
                }
                for row, event in zip(rows, _events(connection, rows), strict=True)
            ]

        return await self._database.read(read)

    async def borrower(self, tenant: str, borrower_id: str) -> dict[str, Any] | None:
        """A borrower's holds, opt-outs, consents, replies and recent contacts; None for an unknown one."""
        return await self._database.read(lambda connection: _borrower(connection, tenant, borrower_id))

    async def suppressions(self, tenant: str, limit: int, after: tuple[str, str] = ("", "")) -> list[dict[str, Any]]:
        """Addresses that are used for nobody, in order of (channel, digest), from after that one."""
        return await self._database.read(lambda connection: suppressions(connection, tenant, limit, after))

    async def latest(self, tenant: str, borrower_id: str) -> Notification | None:
        """The last request for a borrower: its zones, addresses and case are the latest known."""
        query = (
            select(*WHOLE_NOTIFICATION)
            .where(notifications.c.tenant == tenant, notifications.c.borrower_id == borrower_id)
            .order_by(notifications.c.id.desc())
            .limit(1)
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else notification_from(row)

    async def summary(self, tenant: str) -> dict[str, Any]:
        """Counts over all of a tenant's notifications, for the demo's table."""
        return await self._database.read(lambda connection: _counts(connection, tenant))


def _of(tenant: str, which: Filter) -> ColumnElement[bool]:
    """The tenant's, in the order of an index.

    Where the filter has none of its own, that is the primary key's: SQLite would sort all that the tenant ever had.
    """
    named = which.borrower_id or which.case_id
    if named or (which.state and attention_of(notifications, State(which.state))):
        return notifications.c.tenant == tenant
    return notifications.c.tenant.concat("") == tenant


def _summary(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "reason": row.reason,
        "defer_until": instant(row.defer_until),
        "duplicate_of": row.duplicate_of,
        "template": row.template,
        "template_version": row.template_version,
        "borrower_id": row.borrower_id,
        "case_id": row.case_id,
        "stage": row.stage,
        "category": row.category,
        "accepted_at": instant(row.accepted_at),
        "expires_at": instant(row.expires_at),
        "updated_at": instant(row.updated_at),
    }


def _notification(connection: Connection, tenant: str, notification_id: str) -> dict[str, Any] | None:
    mine = and_(notifications.c.id == notification_id, notifications.c.tenant == tenant)
    row = connection.execute(select(*WHOLE_NOTIFICATION).where(mine)).first()
    if row is None:
        return None
    tried = defaultdict(list)
    for attempt in connection.execute(
        select(attempts)
        .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
        .where(deliveries.c.notification_id == notification_id)
        .order_by(attempts.c.delivery_id, attempts.c.number)
    ):
        tried[attempt.delivery_id].append(_attempt(attempt))
    steps = connection.execute(
        select(deliveries).where(deliveries.c.notification_id == notification_id).order_by(deliveries.c.step)
    )
    history = connection.execute(select(events).where(events.c.subject == notification_id).order_by(events.c.seq))
    happened = _events(connection, history.all())
    case = notification_from(row).case
    return {
        **_summary(row),
        "case": {"id": case.id, "product": case.product, "due_date": case.due_date.isoformat(), "stage": case.stage},
        "verdict": _last_verdict(happened),
        "deliveries": [_delivery(step, tried[step.id]) for step in steps],
        "events": happened,
    }


def _last_verdict(happened: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The latest decision, at accept or at hand-off, with every rule behind it."""
    verdicts = [event["detail"]["verdict"] for event in happened if event["detail"].get("verdict")]
    return verdicts[-1] if verdicts else None


def _delivery(row: Any, tried: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row.id,
        "channel": row.channel,
        "step": row.step,
        "state": row.state,
        "reason": row.reason,
        "attempt": row.attempt,
        "provider": row.provider,
        "provider_message_id": row.provider_message_id,
        "due_at": instant(row.due_at),
        "sent_at": instant(row.sent_at),
        "read_at": instant(row.read_at),
        "attempts": tried,
    }


def _attempt(row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "provider": row.provider,
        "started_at": instant(row.started_at),
        "finished_at": instant(row.finished_at),
        "outcome": row.outcome,
        "reason": row.reason,
        "code": row.code,
        "provider_message_id": row.provider_message_id,
    }


def _events(connection: Connection, rows: Sequence[Any]) -> list[dict[str, Any]]:
    details = whole_details(connection, (row.detail for row in rows))
    return [_event(row, detail) for row, detail in zip(rows, details, strict=True)]


def _event(row: Any, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": instant(row.at),
        "local_at": local_time(row.at, row.local_at),
        "kind": row.kind,
        "state": row.state,
        "reason": row.reason,
        "actor": row.actor,
        "delivery_id": row.delivery_id,
        "detail": detail,
    }


def _borrower(connection: Connection, tenant: str, borrower_id: str) -> dict[str, Any] | None:
    row = connection.execute(
        select(borrowers).where(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    ).first()
    contacts = connection.execute(
        select(deliveries)
        .where(deliveries.c.tenant == tenant, deliveries.c.borrower_id == borrower_id)
        .where(deliveries.c.contacted_at.is_not(None))
        .order_by(deliveries.c.contacted_at.desc())
        .limit(_RECENT)
    ).all()
    if row is None and not contacts and not _has_notifications(connection, tenant, borrower_id):
        return None
    return {
        "id": borrower_id,
        "holds": [] if row is None else _holds(row.holds),
        "opt_outs": [] if row is None else _opt_outs(row.opt_outs),
        "opted_out_addresses": opted_out_addresses(connection, tenant, borrower_id),
        "consents": [] if row is None else row.consents.split(),
        "channel_consents": [] if row is None else _channel_consents(row.channel_consents),
        "proposals": [] if row is None else json.loads(row.proposals),
        "chosen": _chosen(ChosenPreferences() if row is None else chosen_from(row.chosen)),
        "replies": [
            {"id": each.id, "at": instant(each.received_at), "channel": each.channel, "intent": each.intent}
            | {"text": each.text}
            for each in connection.execute(
                select(replies)
                .where(replies.c.tenant == tenant, replies.c.borrower_id == borrower_id)
                .order_by(replies.c.id.desc())
                .limit(_RECENT)
            )
        ],
        "recent_contacts": [
            {
                "at": instant(contact.contacted_at),
                "channel": contact.channel,
                "case_id": contact.case_id,
                "state": contact.state,
                "notification_id": contact.notification_id,
                "delivery_id": contact.id,
            }
            for contact in contacts
        ],
    }


def _has_notifications(connection: Connection, tenant: str, borrower_id: str) -> bool:
    mine = and_(notifications.c.tenant == tenant, notifications.c.borrower_id == borrower_id)
    return connection.execute(select(notifications.c.id).where(mine).limit(1)).first() is not None


def _channel_consents(text: str) -> list[dict[str, str]]:
    return [{"channel": channel, "category": category} for channel, category in sorted(channel_consents_from(text))]


def _holds(text: str) -> list[dict[str, Any]]:
    return [
        {"kind": hold.kind, "start": instant(hold.start), "end": instant(hold.end), "case_id": hold.case_id}
        for hold in holds_from(text)
    ]


def _chosen(chosen: ChosenPreferences) -> dict[str, Any]:
    return {"windows": [list(each) for each in chosen.windows], "language": chosen.language}


def _opt_outs(text: str) -> list[dict[str, Any]]:
    return [
        {
            "id": stored.id,
            "at": instant(stored.opt_out.at),
            "channel": stored.opt_out.channel,
            "address_digest": stored.opt_out.address,
            "category": stored.opt_out.category,
            "provisional": stored.opt_out.provisional,
            "source": stored.source,
            "evidence": stored.evidence,
        }
        for stored in opt_outs_from(text)
    ]


def _counts(connection: Connection, tenant: str) -> dict[str, Any]:
    states: dict[str, int] = defaultdict(int)
    reasons: dict[str, int] = defaultdict(int)
    columns = notifications.c
    query = select(columns.state, columns.reason, func.count()).where(columns.tenant == tenant)
    for state, reason, count in connection.execute(query.group_by(columns.state, columns.reason)):
        states[state] += count
        if reason:
            reasons[reason] += count
    by_channel: dict[str, dict[str, int]] = defaultdict(dict)
    query = select(deliveries.c.channel, deliveries.c.state, func.count()).where(deliveries.c.tenant == tenant)
    for channel, state, count in connection.execute(query.group_by(deliveries.c.channel, deliveries.c.state)):
        by_channel[channel][state] = count
    turned_out = and_(
        attempts.c.outcome.in_(["unknown", "started"]),
        attempts.c.number == deliveries.c.attempt,
        deliveries.c.state.in_(_WAS_SENT),
    )
    sent = connection.execute(
        select(deliveries.c.channel, func.count().label("number"))
        .select_from(attempts.join(deliveries, deliveries.c.id == attempts.c.delivery_id))
        .where(deliveries.c.tenant == tenant, or_(attempts.c.outcome == "accepted", turned_out))
        .group_by(deliveries.c.channel)
        .order_by(deliveries.c.channel)
    )
    return {
        "notifications": sum(states.values()),
        "states": dict(sorted(states.items())),
        "reasons": dict(sorted(reasons.items())),
        "deliveries": {channel: dict(sorted(counts.items())) for channel, counts in sorted(by_channel.items())},
        "sent": {row.channel: row.number for row in sent},
    }
