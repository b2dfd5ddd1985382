"""Past decisions of a period, each with the facts that were known at its instant.

Holds, opt-outs and consents are read from the borrowers' events, contacts and closed cases from their own instants.
A contact that was later disproved is left out, as it is for a decision made today.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from gateway.borrowers.changes import AFTER
from gateway.core.codec import channel_consents_from, chosen_from, holds_from, notification_from, opt_outs_from
from gateway.core.facts import AddressFacts, Contact, Facts
from gateway.core.notifications import Category, Notification
from gateway.core.security.digests import digests_of
from gateway.storage.database import Database
from gateway.storage.facts import Key, matching
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import addresses, cases
from gateway.storage.tables.path import deliveries, events, notifications

_BATCH = 500  # notifications read at once; our choice

_NOTHING_KNOWN: Mapping[str, Any] = {
    "holds": "[]",
    "opt_outs": "[]",
    "consents": "",
    "channel_consents": "",
    "chosen": "{}",
}


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A decision that was made at ``at``: when the request was accepted, or when it was handed over."""

    notification: Notification
    channel: str
    address_digest: str
    at: datetime
    when: str  # accept or handoff, as the metrics say
    facts: Facts
    approved: str = ""


class History:
    """Reads past decisions. Raises Unavailable when the ledger can't be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def decisions(
        self, since: datetime, until: datetime, contact_horizon: timedelta, tenant: str | None = None
    ) -> AsyncIterator[list[PastDecision]]:
        """Every decision about requests accepted in ``[since, until)``, in batches.

        ``contact_horizon``: how far before a decision contacts count (``Packs.contact_horizon``).
        """
        chosen = [notifications.c.accepted_at >= since, notifications.c.accepted_at < until]
        if tenant is not None:
            chosen.append(notifications.c.tenant == tenant)
        after = ""
        while True:
            query = select(*WHOLE_NOTIFICATION).where(*chosen, notifications.c.id > after)
            page = query.order_by(notifications.c.id).limit(_BATCH)

            def read(connection: Connection, page: Any = page) -> tuple[str, list[PastDecision]]:
                rows = connection.execute(page).all()
                return (rows[-1].id if rows else ""), list(_decisions(connection, rows, contact_horizon))

            after, found = await self._database.read(read)
            if not after:
                return
            yield found


def _decisions(connection: Connection, rows: Sequence[Row[Any]], contact_horizon: timedelta) -> Iterable[PastDecision]:
    if not rows:
        return
    steps = connection.execute(
        select(deliveries)
        .where(deliveries.c.notification_id.in_([row.id for row in rows]))
        .order_by(deliveries.c.notification_id, deliveries.c.step)
    ).all()
    past = _KnownFacts(connection, rows, {(step.tenant, step.address_digest) for step in steps}, contact_horizon)
    by_id = {row.id: notification_from(row) for row in rows}
    for step in steps:
        notification = by_id[step.notification_id]
        moments = [(step.created_at, "accept", "")]
        if step.contacted_at is not None:
            moments.append((step.contacted_at, "handoff", step.approved))
        for at, when, approved in moments:
            facts = past.facts(notification, at)
            digest = digests_of(connection).current(step.address_digest)
            yield PastDecision(notification, step.channel, digest, at, when, facts, approved)


class _KnownFacts:
    """Changes, contacts, closed cases and addresses of some notifications' borrowers, each with its instant."""

    def __init__(
        self, connection: Connection, rows: Sequence[Row[Any]], digests: Iterable[Key], contact_horizon: timedelta
    ) -> None:
        self._horizon = contact_horizon
        self._digests = digests_of(connection)
        people = [(row.tenant, row.borrower_id) for row in rows]
        first = min(row.accepted_at for row in rows)
        self._changes: dict[Key, list[tuple[datetime, Mapping[str, Any]]]] = {}
        for row in connection.execute(_changes_of(people)):
            changed = json.loads(row.detail).get(AFTER)
            if changed is not None:
                self._changes.setdefault((row.tenant, row.borrower_id), []).append((row.at, changed))
        self._contacts: dict[Key, list[Contact]] = {}
        for row in connection.execute(_contacts_of(people, first - contact_horizon)):
            used_digest = self._digests.current(row.address_digest)
            contact = Contact(row.contacted_at, row.channel, row.case_id, used_digest, row.notification_id)
            self._contacts.setdefault((row.tenant, row.borrower_id), []).append(contact)
        known = matching(cases.c.tenant, cases.c.id, [(row.tenant, row.case_id) for row in rows])
        self._closed = {
            (row.tenant, row.id): row.closed_at
            for row in connection.execute(select(cases).where(known))
            if row.closed_at is not None
        }
        names = {(tenant, each) for tenant, digest in digests for each in self._digests.versions(digest)}
        used = select(addresses).where(matching(addresses.c.tenant, addresses.c.digest, names))
        self._addresses = {(row.tenant, self._digests.current(row.digest)): row for row in connection.execute(used)}

    def facts(self, notification: Notification, at: datetime) -> Facts:
        """What was known of the borrower at ``at``, before anything that happened then."""
        key = (notification.tenant, notification.borrower.id)
        said = dict(_NOTHING_KNOWN)
        for when, changed in self._changes.get(key, ()):
            if when < at:
                said.update(changed)
        closed_at = self._closed.get((notification.tenant, notification.case.id))
        return Facts(
            contacts=tuple(each for each in self._contacts.get(key, ()) if at - self._horizon < each.at < at),
            holds=tuple(holds_from(said["holds"])),
            opt_outs=tuple(self._digests.opt_out(stored.opt_out) for stored in opt_outs_from(said["opt_outs"])),
            consents=frozenset(Category(each) for each in said["consents"].split()),
            channel_consents=channel_consents_from(said["channel_consents"]),
            case_closed=closed_at is not None and closed_at < at,
            addresses={
                digest: AddressFacts(
                    row.suppressed if row.suppressed_at is not None and row.suppressed_at < at else "",
                    row.confirmed_at if row.confirmed_at is not None and row.confirmed_at < at else None,
                    _opted_out_at(row, at),
                )
                for (tenant, digest), row in self._addresses.items()
                if tenant == notification.tenant
            },
            chosen=chosen_from(said["chosen"]),
        )


def _opted_out_at(row: Row[Any], at: datetime) -> datetime | None:
    """Since when the address was opted out at that instant, by its latest opt-out: no earlier one is kept."""
    if row.opted_out_at is None or row.opted_out_at >= at or (row.opted_in_at is not None and row.opted_in_at < at):
        return None
    since: datetime = row.opted_out_at
    return since


def _changes_of(people: Sequence[Key]) -> Any:
    return (
        select(events.c.tenant, events.c.borrower_id, events.c.at, events.c.detail)
        .where(matching(events.c.tenant, events.c.borrower_id, people), events.c.subject.startswith("borrower:"))
        .order_by(events.c.seq)
    )


def _contacts_of(people: Sequence[Key], since: datetime) -> Any:
    return (
        select(deliveries)
        .where(matching(deliveries.c.tenant, deliveries.c.borrower_id, people), deliveries.c.contacted_at > since)
        .order_by(deliveries.c.contacted_at)
    )
