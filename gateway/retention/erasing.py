"""Erases contents of records that stay: names, addresses and texts, the feed, unmatched receipts, unverified reports.

Owns the classes of data with their ages. No chain of events is touched: events hold no contents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, delete, exists, func, select, update

from gateway.core.notifications import id_at
from gateway.core.states import END_STATES
from gateway.retention.legal_holds import held, held_person
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.messages import erase_words
from gateway.storage.rows import NOTIFICATION_BODY
from gateway.storage.tables.borrowers import inbox, replies, unverified_reports
from gateway.storage.tables.journeys import case_records, journeys
from gateway.storage.tables.path import notifications, receipts, request_bodies
from gateway.storage.tables.retention import retention_progress

_NO_ADDRESSES = '"addresses":{}'  # in a case's record, once it is erased
BATCH = 500  # rows in one transaction; our choice: some tenths of a second, so that nobody waits for long


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """How long each class of data is kept; zero: for ever. The settings have the sources (GATEWAY_KEEP_…)."""

    records: timedelta
    contents: timedelta
    feed: timedelta
    orphans: timedelta


@dataclass(slots=True)
class RemovalCounts:
    """How much a run removed, or would remove. ``archived`` is the file that the records were written to."""

    records: int = 0
    borrowers: int = 0
    events: int = 0
    contents: int = 0
    replies: int = 0
    reports: int = 0
    feed: int = 0
    orphans: int = 0
    archived: str = ""


class Eraser:
    """One run. Each batch is a transaction, and repeating one is harmless."""

    def __init__(self, database: Database, keep: RetentionPeriods, now: datetime) -> None:
        self._database = database
        self._keep = keep
        self._now = now

    async def run(self, stop: asyncio.Event, removed: RemovalCounts) -> None:
        """Erase what is due, and count it in ``removed``."""
        if self._keep.contents:
            removed.contents += await self._contents(stop)
            removed.contents += await self._while(stop, _cases, self._now - self._keep.contents)
            removed.replies += await self._while(stop, _replies, self._now - self._keep.contents)
        if keep := self._keep.contents or self._keep.records:
            removed.reports += await self._while(stop, _reports, self._now - keep)
        if self._keep.feed:
            removed.feed += await self._while(stop, _feed, self._now - self._keep.feed)
        if self._keep.orphans:
            removed.orphans += await self._while(stop, _orphans, self._now - self._keep.orphans)

    async def _while(self, stop: asyncio.Event, erase: Callable[[Connection, datetime], int], cutoff: datetime) -> int:
        total = 0
        while not stop.is_set():
            done = await self._database.write(lambda connection: erase(connection, cutoff))
            total += done
            if not done:
                break
        return total

    async def _contents(self, stop: asyncio.Event) -> int:
        """In order of age. The next run begins after those before which none is left."""
        cutoff, total, none_left = self._now - self._keep.contents, 0, True
        after = await self._database.read(lambda connection: _through(connection, "contents"))
        while not stop.is_set():

            def write(connection: Connection, after: str = after, none_left: bool = none_left) -> tuple[str, int, bool]:
                return _contents(connection, cutoff, after, none_left)

            last, done, none_left = await self._database.write(write)
            total += done
            if not last:
                break
            after = last
        return total


def due_for_erasure(connection: Connection, keep: RetentionPeriods, now: datetime) -> RemovalCounts:
    """How much is due, counted."""
    found = RemovalCounts()
    if keep.contents:
        after = _through(connection, "contents")
        due = select(func.count()).where(
            notifications.c.id > after, *_old_contents(now - keep.contents), _at_rest(now - keep.contents)
        )
        cases = select(func.count()).select_from(case_records).where(_old_cases(now - keep.contents))
        found.contents = connection.execute(due).scalar_one() + connection.execute(cases).scalar_one()
        said = select(func.count()).where(
            _old_replies(now - keep.contents), replies.c.id > _through(connection, "replies")
        )
        found.replies = connection.execute(said).scalar_one()
    if period := keep.contents or keep.records:
        found.reports = connection.execute(select(func.count()).where(_old_reports(now - period))).scalar_one()
    if keep.feed:
        found.feed = connection.execute(select(func.count()).where(_old_feed(now - keep.feed))).scalar_one()
    if keep.orphans:
        found.orphans = connection.execute(select(func.count()).where(_old_orphans(now - keep.orphans))).scalar_one()
    return found


def _old_contents(cutoff: datetime) -> tuple[Any, ...]:
    on_hold = held(notifications.c.tenant, notifications.c.borrower_id, notifications.c.case_id)
    return notifications.c.id < id_at("ntf", cutoff), ~on_hold


def _at_rest(cutoff: datetime) -> Any:
    return and_(notifications.c.state.in_(sorted(END_STATES)), notifications.c.updated_at < cutoff)


def _contents(connection: Connection, cutoff: datetime, after: str, none_left: bool) -> tuple[str, int, bool]:
    """A batch from after ``after``: its last id ("": none), how many were erased, and whether none is left so far."""
    in_row = (notifications.c.body != "").label("in_row")
    columns = notifications.c.id, NOTIFICATION_BODY, in_row, _at_rest(cutoff).label("at_rest")
    query = select(*columns).where(notifications.c.id > after, *_old_contents(cutoff))
    rows = connection.execute(query.order_by(notifications.c.id).limit(BATCH).with_for_update(of=notifications)).all()
    done = 0
    for row in rows:
        none_left = none_left and bool(row.at_rest)
        erased = without_contents(row.body)
        if row.at_rest and erased != row.body:
            done += 1
            where = notifications.c.id if row.in_row else request_bodies.c.notification_id
            connection.execute(update(where.table).where(where == row.id).values(body=erased))
            erase_words(connection, row.id)
        if none_left:
            after = row.id
    if rows and none_left:
        _went_through(connection, "contents", after)
    return (rows[-1].id if rows else ""), done, none_left


def without_contents(body: str) -> str:
    """A request's body with nothing in it that says who the borrower is or what they were told."""
    said = msgspec.json.decode(body)
    borrower = {**said["borrower"], "name": "", "addresses": {}, "windows": [], "confirmed": {}}
    return msgspec.json.encode({**said, "borrower": borrower, "variables": {}, "metadata": {}}).decode()


def _old_cases(cutoff: datetime) -> Any:
    """Cases that nothing was fed of for so long, with no journey under way, and not erased yet."""
    under_way = exists().where(
        journeys.c.tenant == case_records.c.tenant,
        journeys.c.case_id == case_records.c.id,
        journeys.c.state != "exited",
    )
    on_hold = held(case_records.c.tenant, case_records.c.borrower_id, case_records.c.id)
    erased = case_records.c.body.like(f"%{_NO_ADDRESSES}%")
    fed = case_records.c.borrower_id != ""
    return and_(case_records.c.updated_at < cutoff, fed, ~erased, ~under_way, ~on_hold)


def _cases(connection: Connection, cutoff: datetime) -> int:
    query = select(case_records.c.tenant, case_records.c.id, case_records.c.body).where(_old_cases(cutoff))
    rows = connection.execute(query.order_by(case_records.c.id).limit(BATCH).with_for_update()).all()
    for row in rows:
        this = and_(case_records.c.tenant == row.tenant, case_records.c.id == row.id)
        connection.execute(update(case_records).where(this).values(body=_case_without_contents(row.body)))
    return len(rows)


def _case_without_contents(body: str) -> str:
    """A case's record with nothing in it that says who the borrower is."""
    said = msgspec.json.decode(body)
    snapshot = said["snapshot"]
    nobody = {**snapshot["borrower"], "name": "", "addresses": {}, "windows": [], "confirmed": {}}
    cleared = {**snapshot, "borrower": nobody, "variables": {}}
    return msgspec.json.encode({**said, "snapshot": cleared}).decode()


def _old_replies(cutoff: datetime) -> Any:
    on_hold = held_person(replies.c.tenant, replies.c.borrower_id)
    return and_(replies.c.id < id_at("rep", cutoff), replies.c.text != "", ~on_hold)


def _replies(connection: Connection, cutoff: datetime) -> int:
    """Erase the texts of old replies. Their intents stay."""
    old = select(replies.c.id).where(_old_replies(cutoff), replies.c.id > _through(connection, "replies"))
    ids = list(connection.execute(old.order_by(replies.c.id).limit(BATCH)).scalars())
    if ids:
        connection.execute(update(replies).where(replies.c.id.in_(ids)).values(text=""))
        _went_through(connection, "replies", ids[-1])
    return len(ids)


def _old_reports(cutoff: datetime) -> Any:
    """Unverified reports that a person has decided; what waits is kept, whatever its age."""
    on_hold = held_person(unverified_reports.c.tenant, unverified_reports.c.borrower_id)
    return and_(unverified_reports.c.resolved_at < cutoff, ~on_hold)


def _reports(connection: Connection, cutoff: datetime) -> int:
    old = select(unverified_reports.c.id).where(_old_reports(cutoff)).limit(BATCH)
    gone = delete(unverified_reports).where(unverified_reports.c.id.in_(old.scalar_subquery()))
    return int(connection.execute(gone).rowcount)


def _old_feed(cutoff: datetime) -> Any:
    return and_(inbox.c.delivery_id < id_at("dlv", cutoff), ~held_person(inbox.c.tenant, inbox.c.borrower_id))


def _feed(connection: Connection, cutoff: datetime) -> int:
    old = select(inbox.c.seq).where(_old_feed(cutoff)).limit(BATCH)
    return int(connection.execute(delete(inbox).where(inbox.c.seq.in_(old.scalar_subquery()))).rowcount)


def _old_orphans(cutoff: datetime) -> Any:
    return and_(receipts.c.delivery_id == "", receipts.c.received_at < cutoff)


def _orphans(connection: Connection, cutoff: datetime) -> int:
    old = select(receipts.c.digest).where(_old_orphans(cutoff)).limit(BATCH)
    return int(connection.execute(delete(receipts).where(receipts.c.digest.in_(old.scalar_subquery()))).rowcount)


def _through(connection: Connection, name: str) -> str:
    query = select(retention_progress.c.through).where(retention_progress.c.name == name)
    return str(connection.execute(query).scalar() or "")


def _went_through(connection: Connection, name: str, through: str) -> None:
    connection.execute(insert_new(connection, retention_progress), [{"name": name, "through": through}])
    mine = update(retention_progress).where(retention_progress.c.name == name)
    connection.execute(mine.values(through=through))
