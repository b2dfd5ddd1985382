"""The audit of the ledger: continuous, from a cursor, or of a range of the past.

Owns the cursor and the findings. The cursor moves by compare-and-set in the transaction that stores the findings, so
concurrent processes audit nothing twice and a crash leaves nothing out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, func, or_, select, update

from gateway.core.errors import Unavailable
from gateway.core.reasons import Violation
from gateway.core.security.digests import digests_of
from gateway.evidence.audit.figures import Figures
from gateway.evidence.audit.replay import Replay, RuleBreach, Sent
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.facts import Key, matching
from gateway.storage.rows import NOTIFICATION_BODY
from gateway.storage.tables.borrowers import addresses, cases
from gateway.storage.tables.path import attempts, deliveries, events, notifications
from gateway.storage.tables.retention import audit_findings, audit_progress
from gateway.storage.tail import Tail

_RANGE_EVENTS = 5_000  # events looked at in one round: half a second at most on SQLite; our choice
_BORROWERS = 200  # replayed at once; our choice
# The first audit, or one after a long pause, begins at most so many events back. ``gateway ledger audit`` reads all.
_MAX_BACKLOG_EVENTS = 200_000
# Repeats of one message are looked for so far back, whatever the caps' periods: providers give up within 72 hours, and
# persons approve within days. Our choice.
_REPEATS = timedelta(days=31)
_COMPLETE_SECONDS = 30.0  # our choice: a transaction of ours is cut off after ten (gateway/storage/database.py)
_LOOK_AGAIN_SECONDS = 0.05  # our choice
_METRIC_WINDOW = timedelta(days=1)  # for how long a finding is in the metric, and its alert fires; our choice

_AUDITED_KINDS = ("attempt_started", "receipt", "ignored")


@dataclass(frozen=True, slots=True)
class AuditedRange:
    """The result for one range of events; ``until`` is its last sequence number."""

    until: int
    contacts: int
    findings: tuple[RuleBreach, ...]


class Auditor:
    """Audits what was sent. Raises Unavailable when the ledger can't be read. Not for two tasks at once."""

    def __init__(self, database: Database, figures: Figures) -> None:
        self._database = database
        self._figures = figures
        self._tail = Tail()

    async def catch_up(self, now: datetime) -> int:
        """Audit the events since the last call, in any process; answers how many contacts were audited here."""
        complete, after = await self._database.read(partial(_progress, tail=self._tail))
        after = max(after, complete - _MAX_BACKLOG_EVENTS)
        contacts = 0
        while after < complete:
            judged = await self._audit_range(after, min(complete, after + _RANGE_EVENTS))
            if not await self._database.write(partial(_store, after=after, judged=judged, now=now)):
                break  # another process has advanced the cursor
            after, contacts = judged.until, contacts + judged.contacts
        return contacts

    async def lately(self, now: datetime, tenant: str | None = None) -> Mapping[Violation, int]:
        """How many contacts of each kind of breach were found in the last day; kinds without any are left out.

        Of one tenant, or (None) of all.
        """
        query = (
            select(audit_findings.c.kind, func.count())
            .where(audit_findings.c.found_at > now - _METRIC_WINDOW)
            .group_by(audit_findings.c.kind)
        )
        if tenant is not None:
            query = query.where(audit_findings.c.tenant == tenant)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {Violation(kind): number for kind, number in rows}

    async def between(self, since: datetime, until: datetime) -> AsyncIterator[AuditedRange]:
        """Audit the contacts of ``[since, until)`` again, by the packs' versions of that time. Nothing is stored."""
        span = select(func.min(events.c.seq), func.max(events.c.seq)).where(events.c.at >= since, events.c.at < until)
        first, last = await self._database.read(lambda connection: connection.execute(span).one())
        after = (first or 1) - 1
        if last is not None:
            await self._wait_until_complete(last)
        while after < (last or 0):
            judged = await self._audit_range(after, min(last, after + _RANGE_EVENTS))
            after = judged.until
            yield judged

    async def _wait_until_complete(self, last: int) -> None:
        """Wait until no event can appear any more up to ``last``: every transaction that may write one has ended."""
        tail, given_up = Tail(), time.monotonic() + _COMPLETE_SECONDS
        while await self._database.read(tail.safe) < last:
            if time.monotonic() > given_up:
                raise Unavailable("ledger: a transaction stays open, so its events can't be judged yet")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _audit_range(self, after: int, until: int) -> AuditedRange:
        return await self._database.read(lambda connection: _audit_range(connection, self._figures, after, until))


def _progress(connection: Connection, tail: Tail) -> tuple[int, int]:
    return tail.safe(connection), connection.execute(select(audit_progress.c.seq)).scalar() or 0


def _store(connection: Connection, after: int, judged: AuditedRange, now: datetime) -> bool:
    """Advance the cursor and store the findings; False where another process has advanced it."""
    connection.execute(insert_new(connection, audit_progress), [{"id": 1, "seq": 0}])
    # A cursor farther back than ``after`` was skipped over: _MAX_BACKLOG_EVENTS.
    mine = and_(audit_progress.c.id == 1, audit_progress.c.seq <= after)
    moved = connection.execute(update(audit_progress).where(mine).values(seq=judged.until, at=now)).rowcount
    if moved and judged.findings:
        rows = [{**asdict(each), "found_at": now} for each in judged.findings]
        connection.execute(insert_new(connection, audit_findings), rows)
    return bool(moved)


def _audit_range(connection: Connection, figures: Figures, after: int, until: int) -> AuditedRange:
    in_range = and_(events.c.seq > after, events.c.seq <= until, events.c.kind.in_(_AUDITED_KINDS))
    people = connection.execute(select(events.c.tenant, events.c.borrower_id).where(in_range).distinct()).all()
    keys = sorted((row.tenant, row.borrower_id) for row in people)
    contacts, findings = 0, list[RuleBreach]()
    for start in range(0, len(keys), _BORROWERS):
        for replay, mine in _replays(connection, figures, keys[start : start + _BORROWERS], after, until):
            findings += replay.run(mine, after)
            contacts += replay.judged
    unique = {(each.event, each.kind): each for each in findings}  # two packs may forbid the same
    return AuditedRange(until, contacts, tuple(unique.values()))


def _replays(
    connection: Connection, figures: Figures, keys: Sequence[Key], after: int, until: int
) -> Iterator[tuple[Replay, list[Any]]]:
    """Each borrower's replay, with the events for it."""
    since = connection.execute(select(func.min(events.c.at)).where(events.c.seq > after, events.c.seq <= until))
    # Changes of borrowers hold for ever; contacts matter only for as long as a cap counts or a repeat is looked for.
    horizon = max(figures.contact_horizon(), _REPEATS)
    of_interest = or_(events.c.subject.startswith("borrower:"), events.c.at > since.scalar_one() - horizon)
    query = select(events).where(matching(events.c.tenant, events.c.borrower_id, keys), events.c.seq <= until)
    mine: dict[Key, list[Any]] = {key: [] for key in keys}
    for row in connection.execute(query.where(of_interest).order_by(events.c.seq)):
        mine[(row.tenant, row.borrower_id)].append(row)
    ids = {row.delivery_id for rows in mine.values() for row in rows if row.kind == "attempt_started"}
    sent = _sent(connection, ids)
    known = matching(cases.c.tenant, cases.c.id, {(tenant, each.case_id) for tenant, each in sent.values()})
    closed = connection.execute(select(cases).where(known, cases.c.closed_at.is_not(None))).all() if sent else ()
    for (tenant, _), rows in mine.items():
        borrowers_sent = {row.delivery_id: sent[row.delivery_id][1] for row in rows if row.delivery_id in sent}
        closed_at = {row.id: row.closed_at for row in closed if row.tenant == tenant}
        yield Replay(figures, borrowers_sent, closed_at, digests_of(connection).current), rows


def _sent(connection: Connection, ids: set[str]) -> dict[str, tuple[str, Sent]]:
    """The deliveries of these ids, each with its tenant."""
    finished: dict[str, dict[int, datetime]] = {}
    wanted = and_(attempts.c.delivery_id.in_(ids), attempts.c.finished_at.is_not(None))
    for row in connection.execute(select(attempts).where(wanted)):
        finished.setdefault(row.delivery_id, {})[row.number] = row.finished_at
    columns = (notifications.c.category, notifications.c.dedup_key, NOTIFICATION_BODY)
    query = select(deliveries, *columns).join(notifications, notifications.c.id == deliveries.c.notification_id)
    rows = connection.execute(query.where(deliveries.c.id.in_(ids))).all()
    current, opted_out = digests_of(connection).current, _opted_out(connection, rows)
    return {
        row.id: (
            row.tenant,
            Sent(
                row.notification_id,
                row.channel,
                row.case_id,
                current(row.address_digest),
                row.approved,
                row.category,
                row.dedup_key,
                msgspec.json.decode(row.body),
                finished.get(row.id, {}),
                *opted_out.get((row.tenant, current(row.address_digest)), (None, None)),
            ),
        )
        for row in rows
    }


def _opted_out(
    connection: Connection, rows: Sequence[Row[Any]]
) -> dict[tuple[str, str], tuple[datetime, datetime | None]]:
    """The latest opt-out of these deliveries' addresses, and its end, by tenant and digest."""
    digests = digests_of(connection)
    names = digests.named((row.tenant, row.channel, row.address_digest) for row in rows)
    query = select(addresses).where(matching(addresses.c.tenant, addresses.c.digest, set(names)))
    # Channels of one identity may have a row each, and so may versions of a digest: the latest is read last.
    found = connection.execute(query.where(addresses.c.opted_out_at.is_not(None)).order_by(addresses.c.opted_out_at))
    return {(row.tenant, digests.current(row.digest)): (row.opted_out_at, row.opted_in_at) for row in found}
