"""Verifies the hash chains of the ledger's events, and exports the events as JSON lines.

Owns the verification. gateway/storage/events.py has the computation of a link. Must not know terminals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from gateway.core.codec import instant
from gateway.retention import archives
from gateway.storage.database import Database
from gateway.storage.events import (
    admin_subject,
    borrower_subject,
    case_subject,
    journey_definition_subject,
    link,
    linked,
    template_subject,
)
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.identity import admin_logs
from gateway.storage.tables.journeys import case_records, journey_names, journeys
from gateway.storage.tables.path import events, notifications, verdicts
from gateway.storage.tables.templates import templates
from gateway.storage.verdicts import references, texts_of, whole_detail

_AT_ONCE = 1000  # rows fetched at a time, so that a large ledger needs no memory; our choice


@dataclass(slots=True)
class Findings:
    """The result of a verification. ``broken`` has the subjects with their errors, in the order of the ledger."""

    events: int = 0
    subjects: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)


async def verify(database: Database, folder: Path | None = None) -> Findings:
    """Verify every chain from its first event to the head in its subject's row.

    Also verifies the chain of archived events; with ``folder``, the contents of the archives, too.
    """
    return await database.read(lambda connection: _verify(connection, folder))


def _verify(connection: Connection, folder: Path | None) -> Findings:
    findings = Findings()
    last: dict[str, str] = {}
    damaged: set[str] = set()
    referred: set[str] = set()
    for row in _rows(connection):
        findings.events += 1
        subject = row["subject"]
        wrong = ""
        if row["previous_hash"] != last.get(subject, ""):
            wrong = f"event {row['seq']} does not follow the one before it: something was removed or put in"
        elif link(row) != row["hash"]:
            wrong = f"event {row['seq']} was changed, or what was before it"
        if wrong and subject not in damaged:
            damaged.add(subject)
            findings.broken.append((subject, wrong))
        last[subject] = row["hash"]
        referred |= references([row["detail"]])
    texts = {row.digest: row.text for row in connection.execute(select(verdicts))}
    findings.broken += [("verdicts", each) for each in archives.damaged_verdicts(referred, texts)]
    findings.subjects = len(last)
    for subject, head in _heads(connection):
        if subject not in damaged and last.get(subject, "") != head:
            findings.broken.append((subject, "its last events are missing"))
    findings.broken += archives.verify(connection, folder)
    return findings


def _heads(connection: Connection) -> Iterator[tuple[str, str]]:
    options = {"yield_per": _AT_ONCE}
    of_notifications = select(notifications.c.id, notifications.c.event_hash)
    for subject, head in connection.execution_options(**options).execute(of_notifications):
        yield subject, head
    of_borrowers = select(borrowers.c.tenant, borrowers.c.id, borrowers.c.event_hash)
    for tenant, borrower_id, head in connection.execution_options(**options).execute(of_borrowers):
        yield borrower_subject(tenant, borrower_id), head
    of_templates = select(templates.c.tenant, templates.c.id, templates.c.event_hash)
    for tenant, template, head in connection.execution_options(**options).execute(of_templates):
        yield template_subject(tenant, template), head
    of_cases = select(case_records.c.tenant, case_records.c.id, case_records.c.event_hash)
    for tenant, case_id, head in connection.execution_options(**options).execute(of_cases):
        yield case_subject(tenant, case_id), head
    for subject, head in connection.execution_options(**options).execute(select(journeys.c.id, journeys.c.event_hash)):
        yield subject, head
    of_names = select(journey_names.c.tenant, journey_names.c.name, journey_names.c.event_hash)
    for tenant, name, head in connection.execute(of_names):
        yield journey_definition_subject(tenant, name), head
    for tenant, head in connection.execute(select(admin_logs.c.tenant, admin_logs.c.event_hash)):
        yield admin_subject(tenant), head


def _rows(connection: Connection, tenant: str | None = None) -> Iterator[Mapping[str, Any]]:
    query = select(events).order_by(events.c.seq)
    if tenant is not None:
        query = query.where(events.c.tenant == tenant)
    result = connection.execution_options(yield_per=_AT_ONCE).execute(query)
    yield from linked(result.mappings())


async def export(database: Database, tenant: str | None, write: Callable[[str], Any]) -> int:
    """Write every event, or one tenant's, as a line of JSON, in order; returns their number.

    A verdict that is stored apart is put into its event's detail; ``sealed_detail`` is what the event's hash covers.
    """

    def read(connection: Connection) -> int:
        number, texts = 0, dict[str, str]()
        for row in _rows(connection, tenant):
            if unknown := references([row["detail"]]) - texts.keys():
                texts |= texts_of(connection, unknown)
            event = {**row, "at": instant(row["at"]), "detail": whole_detail(row["detail"], texts)}
            if event["detail"] != json.loads(row["detail"]):
                event["sealed_detail"] = row["detail"]
            write(json.dumps(event, ensure_ascii=False) + "\n")
            number += 1
        return number

    return await database.read(read)
