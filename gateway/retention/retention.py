"""Removes records whose retention period has ended. ops/data-care.md has the reasons.

Owns which rows belong together and the order of steps: read, archive (on disk), then seal and remove in one
transaction. A death in between leaves at most a copy in the archive of what is in the ledger still. Batches, not
partitions: what is on legal hold stays among what goes, and idempotency keys are unique over all months.
What is erased from records that stay is erasing.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, delete, exists, func, insert, or_, select, update

from gateway.core.clock import Clock
from gateway.core.notifications import id_at
from gateway.core.security.digests import digests_of
from gateway.core.states import END_STATES
from gateway.retention import archives
from gateway.retention.archives import ArchiveBatch, ArchiveFile
from gateway.retention.cases import count_old, heads_changed, old_cases, remove_rows
from gateway.retention.erasing import BATCH, Eraser, RemovalCounts, RetentionPeriods, due_for_erasure
from gateway.retention.legal_holds import held, held_person
from gateway.storage.among import among
from gateway.storage.database import Database
from gateway.storage.events import borrower_subject
from gateway.storage.facts import matching
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import addresses, borrowers, cases, inbound_messages, inbox, replies
from gateway.storage.tables.conversations import conversations, verifications
from gateway.storage.tables.path import (
    attempts,
    dedup_claims,
    deliveries,
    events,
    messages,
    notifications,
    receipts,
    request_bodies,
)
from gateway.storage.tables.retention import leaving
from gateway.storage.verdicts import references, texts_of

_HEAD = "notifications"  # the table that a record of a notification begins with

T = TypeVar("T")
Remove = Callable[[Connection, ArchiveBatch], None]


class Retention:
    """Removes records after their retention period. Safe beside running processes, to interrupt and to repeat."""

    def __init__(self, database: Database, keep: RetentionPeriods, clock: Clock, contact_horizon: timedelta) -> None:
        """``contact_horizon``: how far back the policy packs count contacts (``Packs.contact_horizon``).

        Raises ValueError where records would be removed that a cap still counts: the contact would be made again.
        """
        if timedelta(0) < keep.records <= contact_horizon:
            raise ValueError(
                f"records must be kept for more than the {contact_horizon / timedelta(days=1):g} days for which the"
                f" policy packs' caps count contacts, not {keep.records / timedelta(days=1):g}"
            )
        self._database = database
        self._keep = keep
        self._clock = clock

    async def prune(self, folder: Path | None, *, most: int, stop: asyncio.Event) -> RemovalCounts:
        """Remove up to ``most`` notifications with all that belongs to them, and erase what is due of the others.

        What goes is written to ``folder`` first; None keeps no copy. Raises Unavailable, OSError.
        """
        now, removed = self._clock(), RemovalCounts()
        if self._keep.records:
            file = ArchiveFile(folder, now)
            await self._prune_records(file, now, most, stop, removed)
            await self._prune_cases(file, now, stop, removed)
        await Eraser(self._database, self._keep, now).run(stop, removed)
        return removed

    async def due(self) -> RemovalCounts:
        """What ``prune`` would remove now, counted."""
        now = self._clock()

        def count(connection: Connection) -> RemovalCounts:
            found = due_for_erasure(connection, self._keep, now)
            if self._keep.records:
                old = select(func.count()).where(_is_old(now - self._keep.records))
                found.records = connection.execute(old).scalar_one()
                found.records += count_old(connection, now - self._keep.records)
            return found

        return await self._database.read(count)

    async def _prune_records(
        self, file: ArchiveFile, now: datetime, most: int, stop: asyncio.Event, removed: RemovalCounts
    ) -> None:
        cutoff = now - self._keep.records
        batch = await self._read_old(cutoff, "", most)
        while batch.subjects and not stop.is_set():
            left = most - removed.records - len(batch.subjects)
            # The next batch is read while this one is written to the disk and removed.
            gone, following = await asyncio.gather(
                self._archive_and_remove(file, batch, now, removed, _remove),
                self._read_old(cutoff, batch.subjects[-1], left),
                return_exceptions=True,  # so that neither goes on alone
            )
            removed.records += _result(gone)
            people = sorted({(row["tenant"], row["borrower_id"]) for each in batch.records for row in each[_HEAD]})
            forgotten = await self._database.read(partial(_idle_borrowers, keys=people, cutoff=cutoff))
            if forgotten.subjects:
                removed.borrowers += await self._archive_and_remove(file, forgotten, now, removed, _remove_chains)
            batch = _result(following)

    async def _read_old(self, cutoff: datetime, after: str, most: int) -> ArchiveBatch:
        """The next batch of old notifications, of at most ``most``."""
        if most <= 0:
            return ArchiveBatch((), ())
        limit = min(BATCH, most)
        return await self._database.read(lambda each: _batch(each, _old(each, cutoff, after, limit)))

    async def _prune_cases(self, file: ArchiveFile, now: datetime, stop: asyncio.Event, removed: RemovalCounts) -> None:
        """Remove cases of which nothing was heard for the period, with their journeys; they are counted as records."""
        cutoff = now - self._keep.records
        while not stop.is_set():
            batch = await self._database.read(partial(old_cases, cutoff=cutoff, limit=BATCH))
            if not batch.subjects:
                return
            gone = await self._archive_and_remove(file, batch, now, removed, _remove_cases)
            if not gone:
                return  # fed meanwhile: the next run finds what is left
            removed.records += gone

    async def _archive_and_remove(
        self, file: ArchiveFile, batch: ArchiveBatch, now: datetime, removed: RemovalCounts, remove: Remove
    ) -> int:
        """Archive on disk, then remove from the ledger; answers how many were removed, 0 where one has changed."""
        kept = await asyncio.to_thread(file.append, batch)

        def write(connection: Connection) -> int:
            if not _unchanged(connection, batch):
                return 0
            archives.record(connection, kept, now)
            remove(connection, batch)
            return len(batch.subjects)

        gone = await self._database.write(write)
        if gone:
            removed.events += batch.events
            removed.archived = kept["file"]
        return gone


def _result(found: T | BaseException) -> T:
    if isinstance(found, BaseException):
        raise found
    return found


# ── records: a notification with all that belongs to it ─────────────────────────────────────────────────────────────


def _is_old(cutoff: datetime) -> Any:
    """Ended and untouched for so long, with no later activity about the same debt, and not on hold."""
    later = notifications.alias("later")
    same_case = exists().where(
        later.c.tenant == notifications.c.tenant,
        later.c.case_id == notifications.c.case_id,
        later.c.id >= id_at("ntf", cutoff),
    )
    return and_(
        notifications.c.id < id_at("ntf", cutoff),
        notifications.c.state.in_(sorted(END_STATES)),
        notifications.c.updated_at < cutoff,
        ~same_case,
        ~held(notifications.c.tenant, notifications.c.borrower_id, notifications.c.case_id),
    )


def _old(connection: Connection, cutoff: datetime, after: str, limit: int) -> list[Mapping[str, Any]]:
    query = select(*WHOLE_NOTIFICATION).where(_is_old(cutoff), notifications.c.id > after)
    return [dict(row) for row in connection.execute(query.order_by(notifications.c.id).limit(limit)).mappings()]


def _batch(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> ArchiveBatch:
    """These notifications with their deliveries, attempts, words, receipts, feed messages and events."""
    ids = [row["id"] for row in rows]
    steps = _rows(connection, deliveries, among(deliveries.c.notification_id, ids))
    owner = {step["id"]: step["notification_id"] for step in steps}
    by_table = {
        "deliveries": steps,
        **{
            table.name: _rows(connection, table, among(table.c.delivery_id, owner))
            for table in (attempts, messages, receipts, inbox)
        },
    }
    records: dict[str, dict[str, list[Mapping[str, Any]]]] = {
        row["id"]: {"notifications": [row], **{name: [] for name in by_table}} for row in rows
    }
    for name, found in by_table.items():
        for each in found:
            records[each["notification_id"] if name == "deliveries" else owner[each["delivery_id"]]][name].append(each)
    chains = archives.events_of(connection, ids)
    texts = texts_of(connection, references(event["detail"] for chain in chains.values() for event in chain))
    for subject, chain in chains.items():
        records[subject]["events"] = list(chain)
        # With what they refer to: an archive is read without the ledger.
        wanted = sorted(references(event["detail"] for event in chain) & texts.keys())
        records[subject]["verdicts"] = [{"digest": each, "text": texts[each]} for each in wanted]
    return ArchiveBatch(ids, list(records.values()))


def _rows(connection: Connection, table: Any, condition: Any) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).where(condition)).mappings()]


def _unchanged(connection: Connection, batch: ArchiveBatch) -> bool:
    """Whether every chain still has the head that was read, and nothing is on hold since; the rows stay locked."""
    _lock_claims(connection, batch)
    read = {each[_HEAD][0]["id"]: each[_HEAD][0]["event_hash"] for each in batch.records if _HEAD in each}
    free = ~held(notifications.c.tenant, notifications.c.borrower_id, notifications.c.case_id)
    query = select(notifications.c.id, notifications.c.event_hash).where(among(notifications.c.id, read), free)
    now = {row.id: row.event_hash for row in connection.execute(query.order_by(notifications.c.id).with_for_update())}
    people = [each["borrowers"][0] for each in batch.records if "borrowers" in each]
    mine = matching(borrowers.c.tenant, borrowers.c.id, [(row["tenant"], row["id"]) for row in people])
    rows = connection.execute(
        select(borrowers).where(mine).order_by(borrowers.c.tenant, borrowers.c.id).with_for_update()
    )
    heads = {(row.tenant, row.id): row.event_hash for row in rows}
    if heads_changed(connection, batch):
        return False
    return now == read and heads == {(row["tenant"], row["id"]): row["event_hash"] for row in people}


def _claims(batch: ArchiveBatch) -> Any:
    """The condition for the dedup claims of the removed notifications."""
    keys = [(row["tenant"], row["dedup_key"]) for record in batch.records for row in record.get(_HEAD, ())]
    return and_(
        matching(dedup_claims.c.tenant, dedup_claims.c.dedup_key, keys),
        among(dedup_claims.c.notification_id, batch.subjects),
    )


def _lock_claims(connection: Connection, batch: ArchiveBatch) -> None:
    """Claims come before notifications in the order of locks (gateway/storage/unit_of_work.py)."""
    claims = select(dedup_claims.c.dedup_key).where(_claims(batch))
    connection.execute(claims.order_by(dedup_claims.c.tenant, dedup_claims.c.dedup_key).with_for_update()).all()


def _remove(connection: Connection, batch: ArchiveBatch) -> None:
    steps = [row for record in batch.records for row in record["deliveries"]]
    ids, delivery_ids = list(batch.subjects), [row["id"] for row in steps]
    for table in (attempts, messages, receipts, inbox):
        connection.execute(delete(table).where(among(table.c.delivery_id, delivery_ids)))
    connection.execute(delete(deliveries).where(among(deliveries.c.notification_id, ids)))
    heads = [record["notifications"][0] for record in batch.records]
    connection.execute(delete(dedup_claims).where(_claims(batch)))
    _remove_events(connection, ids)
    connection.execute(delete(request_bodies).where(among(request_bodies.c.notification_id, ids)))
    connection.execute(delete(notifications).where(among(notifications.c.id, ids)))
    _remove_closed_cases(connection, [(row["tenant"], row["case_id"]) for row in heads])
    _remove_addresses(connection, [(row["tenant"], row["address_digest"]) for row in steps])


def _remove_cases(connection: Connection, batch: ArchiveBatch) -> None:
    _remove_events(connection, batch.subjects)
    remove_rows(connection, batch)


def _remove_events(connection: Connection, subjects: Sequence[str]) -> None:
    connection.execute(insert(leaving), [{"subject": subject} for subject in subjects])
    connection.execute(delete(events).where(among(events.c.subject, subjects)))
    connection.execute(delete(leaving))


def _remove_closed_cases(connection: Connection, keys: Sequence[tuple[str, str]]) -> None:
    """Remove closed cases that no notification refers to."""
    spoken_of = exists().where(notifications.c.tenant == cases.c.tenant, notifications.c.case_id == cases.c.id)
    connection.execute(delete(cases).where(matching(cases.c.tenant, cases.c.id, keys), ~spoken_of))


def _remove_addresses(connection: Connection, keys: Sequence[tuple[str, str]]) -> None:
    """Remove addresses that no delivery refers to. One that is suppressed or opted out stays, as a digest."""
    digests = digests_of(connection)
    names = {(tenant, each) for tenant, digest in set(keys) for each in digests.versions(digest)}
    named = select(deliveries.c.tenant, deliveries.c.address_digest)
    still = named.where(matching(deliveries.c.tenant, deliveries.c.address_digest, names)).distinct()
    used = {(tenant, each) for tenant, digest in connection.execute(still) for each in digests.versions(digest)}
    mine = matching(addresses.c.tenant, addresses.c.digest, names - used)
    written = matching(inbound_messages.c.tenant, inbound_messages.c.digest, names - used)
    connection.execute(delete(inbound_messages).where(written))
    free = and_(
        addresses.c.suppressed == "", or_(addresses.c.opted_out_at.is_(None), addresses.c.opted_in_at.is_not(None))
    )
    connection.execute(delete(addresses).where(mine, free))


# ── borrowers, once nothing of theirs is left ───────────────────────────────────────────────────────────────────────


def _idle_borrowers(connection: Connection, *, keys: Sequence[tuple[str, str]], cutoff: datetime) -> ArchiveBatch:
    theirs = and_(notifications.c.tenant == borrowers.c.tenant, notifications.c.borrower_id == borrowers.c.id)
    written = and_(replies.c.tenant == borrowers.c.tenant, replies.c.borrower_id == borrowers.c.id)
    query = select(borrowers).where(
        matching(borrowers.c.tenant, borrowers.c.id, keys),
        borrowers.c.holds == "[]",
        borrowers.c.event_hash != "",
        borrowers.c.opt_outs == "[]",  # a no is remembered for as long as the lender might write again
        ~exists().where(theirs),
        ~exists().where(written, replies.c.received_at >= cutoff),
        ~held_person(borrowers.c.tenant, borrowers.c.id),
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    subjects = {borrower_subject(row["tenant"], row["id"]): row for row in rows}
    chains = archives.events_of(connection, list(subjects))
    records: list[Mapping[str, Sequence[Mapping[str, Any]]]] = []
    names = []
    for subject, row in subjects.items():
        if chains[subject] and chains[subject][-1]["at"] >= cutoff:
            continue
        said = {
            table.name: _rows(
                connection, table, and_(table.c.tenant == row["tenant"], table.c.borrower_id == row["id"])
            )
            for table in (replies, conversations)
        }
        names.append(subject)
        records.append({"borrowers": [row], **said, "events": chains[subject]})
    return ArchiveBatch(names, records)


def _remove_chains(connection: Connection, batch: ArchiveBatch) -> None:
    """The row itself stays, an id and a version: a request that is being accepted this instant may rely on it."""
    keys = [(row["tenant"], row["id"]) for record in batch.records for row in record["borrowers"]]
    _remove_events(connection, batch.subjects)
    ids = select(conversations.c.id).where(matching(conversations.c.tenant, conversations.c.borrower_id, keys))
    connection.execute(delete(verifications).where(verifications.c.conversation_id.in_(ids)))
    for table in (replies, conversations):
        connection.execute(delete(table).where(matching(table.c.tenant, table.c.borrower_id, keys)))
    connection.execute(
        update(borrowers).where(matching(borrowers.c.tenant, borrowers.c.id, keys)).values(event_hash="")
    )
