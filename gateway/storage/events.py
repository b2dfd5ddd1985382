"""The append-only event log: every event is chained by hash to the one before it of the same subject.

A subject is a notification, a journey, a borrower (``borrower:<tenant>/<id>``), a case (``case:…``), a tenant's
template (``template:…``) or journey definition (``journey:…``), or its administrators' log (``admin:<tenant>``).
Changing or removing an event breaks the chain from there on, and the chain's head is in the subject's own row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from gateway.core.codec import encode
from gateway.storage.bulk import inserting
from gateway.storage.schema import events
from gateway.storage.statements import Statement, execute_pipelined

ADMIN_ACT = "admin_act"  # the kind of every entry of an administrators' log


def admin_subject(tenant: str) -> str:
    return f"admin:{tenant}"


def borrower_subject(tenant: str, borrower_id: str) -> str:
    return f"borrower:{tenant}/{borrower_id}"


def case_subject(tenant: str, case_id: str) -> str:
    return f"case:{tenant}/{case_id}"


def journey_definition_subject(tenant: str, name: str) -> str:
    return f"journey:{tenant}/{name}"


def template_subject(tenant: str, template: str) -> str:
    return f"template:{tenant}/{template}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a subject. ``zone`` is the borrower's first time zone, "" where unknown."""

    tenant: str
    subject: str
    borrower_id: str
    at: datetime
    kind: str
    actor: str
    delivery_id: str | None = None
    state: str = ""
    reason: str = ""
    zone: str = ""
    detail: Mapping[str, Any] | None = None


class Chain:
    """Collects events, links each to its subject's head, and writes all of them at once."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def append(self, head: str, event: Event) -> str:
        """Link ``event`` after ``head`` (a hash, "" for the first). Answers the new head."""
        local = event.at.astimezone(ZoneInfo(event.zone)).isoformat(timespec="seconds") if event.zone else ""
        row: dict[str, Any] = {
            "tenant": event.tenant,
            "subject": event.subject,
            "borrower_id": event.borrower_id,
            "delivery_id": event.delivery_id,
            "at": event.at,
            "local_at": local,
            "kind": event.kind,
            "state": event.state,
            "reason": event.reason,
            "actor": event.actor,
            "detail": encode(dict(event.detail or {})),
            "previous_hash": head,
        }
        row["hash"] = link(row)
        self._rows.append(row)
        return str(row["hash"])

    def write(self, connection: Connection) -> None:
        """Write what was appended."""
        execute_pipelined(connection, self.statements(connection))

    def statements(self, connection: Connection, others: Sequence[Chain] = ()) -> list[Statement]:
        """The statement that writes what was appended here and to ``others``; [] where there is nothing."""
        rows = [row for chain in (self, *others) for row in chain._rows]
        for chain in (self, *others):
            chain._rows = []
        return inserting(connection, events, rows)


def link(row: Mapping[str, Any]) -> str:
    """The hash of one event row (as inserted, or as read back) over its predecessor's hash and its own fields."""
    sealed = (
        row["previous_hash"],
        row["tenant"],
        row["subject"],
        row["delivery_id"] or "",
        int(row["at"].timestamp() * 1000),
        row["local_at"],
        row["kind"],
        row["state"],
        row["reason"],
        row["actor"],
        row["detail"],
    )
    return hashlib.sha256(msgspec.json.encode(sealed)).hexdigest()
