"""The audit of the ledger: continuous, from a cursor, or of a stretch of the past.

Owns what has been judged and what was found. One process at a time gets on with the continuous audit: the cursor moves
by compare-and-set in the transaction that stores the findings, so nothing is judged twice or left out, whoever dies.
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
from sqlalchemy import Connection, and_, func, or_, select, update

from gateway.core.model import Violation
from gateway.core.ports import Unavailable
from gateway.evidence.audit.figures import Figures
from gateway.evidence.audit.replay import Replay, RuleBreach, Sent
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.facts import Key, matching
from gateway.storage.schema import attempts, audit_findings, audit_progress, cases, deliveries, events, notifications
from gateway.storage.tail import Tail

_STRETCH = 5_000  # events looked at in one round: half a second at most on SQLite; our choice
_BORROWERS = 200  # replayed at once; our choice
# A ledger that was never audited, or not for long, is begun so far back; ``gateway ledger audit`` reaches all of it.
_FARTHEST = 200_000
# Repeats of one message are looked for so far back, whatever the caps' periods: providers give up within 72 hours, and
# persons approve within days. Our choice.
_REPEATS = timedelta(days=31)
_COMPLETE_SECONDS = 30.0  # our choice: a transaction of ours is cut off after ten (gateway/storage/database.py)
_LOOK_AGAIN_SECONDS = 0.05  # our choice
_SHOWN = timedelta(days=1)  # for how long a finding is in the metric, and its alert fires; our choice

_JUDGED = ("attempt_started", "receipt", "ignored")


@dataclass(frozen=True, slots=True)
class Judged:
    """One stretch of events, judged."""

    until: int
    contacts: int
    findings: tuple[RuleBreach, ...]


class Auditor:
    """Judges what went out. Raises Unavailable when the ledger can't be read. Not for two tasks at once."""

    def __init__(self, database: Database, figures: Figures) -> None:
        self._database = database
        self._figures = figures
        self._tail = Tail()

    async def catch_up(self, now: datetime) -> int:
        """Judge what has happened since the last time, here or elsewhere; how many contacts were judged here."""
        complete, after = await self._database.read(partial(_progress, tail=self._tail))
        after = max(after, complete - _FARTHEST)
        contacts = 0
        while after < complete:
            judged = await self._judge(after, min(complete, after + _STRETCH))
            if not await self._database.write(partial(_store, after=after, judged=judged, now=now)):
                break  # another process is at it
            after, contacts = judged.until, contacts + judged.contacts
        return contacts

    async def lately(self, now: datetime) -> Mapping[Violation, int]:
        """How many contacts were found in the last day to break each rule; rules that none broke are left out."""
        query = (
            select(audit_findings.c.kind, func.count())
            .where(audit_findings.c.found_at > now - _SHOWN)
            .group_by(audit_findings.c.kind)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {Violation(kind): number for kind, number in rows}

    async def between(self, since: datetime, until: datetime) -> AsyncIterator[Judged]:
        """Judge the contacts of ``[since, until)`` anew, by the packs' versions of then. Nothing is stored."""
        span = select(func.min(events.c.seq), func.max(events.c.seq)).where(events.c.at >= since, events.c.at < until)
        first, last = await self._database.read(lambda connection: connection.execute(span).one())
        after = (first or 1) - 1
        if last is not None:
            await self._wait_until_complete(last)
        while after < (last or 0):
            judged = await self._judge(after, min(last, after + _STRETCH))
            after = judged.until
            yield judged

    async def _wait_until_complete(self, last: int) -> None:
        """Wait until no event can appear any more up to ``last``: every transaction that may write one has ended."""
        tail, given_up = Tail(), time.monotonic() + _COMPLETE_SECONDS
        while await self._database.read(tail.safe) < last:
            if time.monotonic() > given_up:
                raise Unavailable("ledger: a transaction stays open, so its events can't be judged yet")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _judge(self, after: int, until: int) -> Judged:
        return await self._database.read(lambda connection: _judge(connection, self._figures, after, until))


def _progress(connection: Connection, tail: Tail) -> tuple[int, int]:
    return tail.safe(connection), connection.execute(select(audit_progress.c.seq)).scalar() or 0


def _store(connection: Connection, after: int, judged: Judged, now: datetime) -> bool:
    """Move the cursor on and keep what was found; False where somebody else has moved it."""
    connection.execute(insert_new(connection, audit_progress), [{"id": 1, "seq": 0}])
    # A cursor that is farther back than we began was never moved, or not for long: see _FARTHEST.
    mine = and_(audit_progress.c.id == 1, audit_progress.c.seq <= after)
    moved = connection.execute(update(audit_progress).where(mine).values(seq=judged.until, at=now)).rowcount
    if moved and judged.findings:
        rows = [{**asdict(each), "found_at": now} for each in judged.findings]
        connection.execute(insert_new(connection, audit_findings), rows)
    return bool(moved)


def _judge(connection: Connection, figures: Figures, after: int, until: int) -> Judged:
    stretch = and_(events.c.seq > after, events.c.seq <= until, events.c.kind.in_(_JUDGED))
    people = connection.execute(select(events.c.tenant, events.c.borrower_id).where(stretch).distinct()).all()
    keys = sorted((row.tenant, row.borrower_id) for row in people)
    contacts, findings = 0, list[RuleBreach]()
    for start in range(0, len(keys), _BORROWERS):
        for replay, mine in _replays(connection, figures, keys[start : start + _BORROWERS], after, until):
            findings += replay.run(mine, after)
            contacts += replay.judged
    unique = {(each.event, each.kind): each for each in findings}  # two packs may forbid the same
    return Judged(until, contacts, tuple(unique.values()))


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
        his = {row.delivery_id: sent[row.delivery_id][1] for row in rows if row.delivery_id in sent}
        yield Replay(figures, his, {row.id: row.closed_at for row in closed if row.tenant == tenant}), rows


def _sent(connection: Connection, ids: set[str]) -> dict[str, tuple[str, Sent]]:
    """The deliveries of these ids, each with its tenant."""
    finished: dict[str, dict[int, datetime]] = {}
    wanted = and_(attempts.c.delivery_id.in_(ids), attempts.c.finished_at.is_not(None))
    for row in connection.execute(select(attempts).where(wanted)):
        finished.setdefault(row.delivery_id, {})[row.number] = row.finished_at
    columns = (notifications.c.category, notifications.c.dedup_key, notifications.c.body)
    query = select(deliveries, *columns).join(notifications, notifications.c.id == deliveries.c.notification_id)
    return {
        row.id: (
            row.tenant,
            Sent(
                row.notification_id,
                row.channel,
                row.case_id,
                row.address_digest,
                row.approved,
                row.category,
                row.dedup_key,
                msgspec.json.decode(row.body),
                finished.get(row.id, {}),
            ),
        )
        for row in connection.execute(query.where(deliveries.c.id.in_(ids)))
    }
