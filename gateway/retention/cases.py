"""Removing the records of cases: what was fed of them and their ended journeys, each with its chain of events.

A case goes once nothing was fed of it for the period, no journey of it is open, and no notification of it is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, or_, select

from gateway.retention import archives
from gateway.retention.archives import ArchiveBatch
from gateway.retention.legal_holds import held
from gateway.storage.events import case_subject
from gateway.storage.facts import matching
from gateway.storage.tables.borrowers import cases
from gateway.storage.tables.journeys import case_records, journeys
from gateway.storage.tables.path import notifications

_HEADS = {"case_records": case_records, "journeys": journeys}


def _are_old(cutoff: datetime) -> Any:
    theirs = journeys.alias("theirs")
    its = and_(theirs.c.tenant == case_records.c.tenant, theirs.c.case_id == case_records.c.id)
    fresh = exists().where(its, or_(theirs.c.exited_at.is_(None), theirs.c.exited_at >= cutoff))
    spoken_of = exists().where(
        notifications.c.tenant == case_records.c.tenant, notifications.c.case_id == case_records.c.id
    )
    on_hold = held(case_records.c.tenant, case_records.c.borrower_id, case_records.c.id)
    return and_(case_records.c.updated_at < cutoff, ~fresh, ~spoken_of, ~on_hold)


def count_old(connection: Connection, cutoff: datetime) -> int:
    """How many cases and journeys ``old_cases`` would give."""
    its = and_(journeys.c.tenant == case_records.c.tenant, journeys.c.case_id == case_records.c.id)
    alone = select(func.count()).select_from(case_records).where(_are_old(cutoff))
    with_them = select(func.count()).select_from(case_records.join(journeys, its)).where(_are_old(cutoff))
    return int(connection.execute(alone).scalar_one()) + int(connection.execute(with_them).scalar_one())


def old_cases(connection: Connection, cutoff: datetime, limit: int) -> ArchiveBatch:
    """A batch of cases to remove, each with its journeys as subjects of their own."""
    query = select(case_records).where(_are_old(cutoff))
    rows = [dict(row) for row in connection.execute(query.order_by(case_records.c.id).limit(limit)).mappings()]
    records: dict[str, dict[str, Sequence[Mapping[str, Any]]]] = {
        case_subject(row["tenant"], row["id"]): {"case_records": [row]} for row in rows
    }
    keys = [(row["tenant"], row["id"]) for row in rows]
    mine = select(journeys).where(matching(journeys.c.tenant, journeys.c.case_id, keys))
    for found in connection.execute(mine).mappings():
        records[found["id"]] = {"journeys": [dict(found)]}
    for subject, chain in archives.events_of(connection, list(records)).items():
        records[subject]["events"] = chain
    return ArchiveBatch(list(records), list(records.values()))


def heads_changed(connection: Connection, batch: ArchiveBatch) -> bool:
    """Whether a case or journey of the batch has another head than was read; the rows stay locked."""
    for name, table in _HEADS.items():
        rows = [each[name][0] for each in batch.records if name in each]
        keys = [(row["tenant"], row["id"]) for row in rows]
        query = select(table.c.tenant, table.c.id, table.c.event_hash)
        query = query.where(matching(table.c.tenant, table.c.id, keys)).order_by(table.c.tenant, table.c.id)
        now = {(row.tenant, row.id): row.event_hash for row in connection.execute(query.with_for_update())}
        if now != {(row["tenant"], row["id"]): row["event_hash"] for row in rows}:
            return True
    return False


def remove_rows(connection: Connection, batch: ArchiveBatch) -> None:
    """Remove the rows; their events are the caller's."""
    for name, table in _HEADS.items():
        keys = [(each[name][0]["tenant"], each[name][0]["id"]) for each in batch.records if name in each]
        connection.execute(delete(table).where(matching(table.c.tenant, table.c.id, keys)))
        if table is case_records:
            connection.execute(delete(cases).where(matching(cases.c.tenant, cases.c.id, keys)))
