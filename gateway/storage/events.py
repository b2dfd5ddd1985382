"""The append-only event log: every event is chained by hash to the one before it of the same subject.

A subject is a notification, a journey, a borrower (``borrower:<tenant>/<id>``), a case (``case:…``), a tenant's
template (``template:…``) or journey definition (``journey:…``), or its administrators' log (``admin:<tenant>``).
Changing or removing an event breaks the chain from there on, and the chain's head is in the subject's own row.

A row does not repeat what follows from others (``linked``): the hash that it is linked to is in the event before it of
its subject, and the local time follows from the instant and the zone's offset. Details are packed
(gateway/storage/packing/event_details.py); an event's hash covers them in full.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from gateway.core.codec import encode
from gateway.storage.bulk import inserting
from gateway.storage.packing.event_details import PACKED_KINDS, pack
from gateway.storage.statements import Statement, execute_pipelined, is_backward_compatible
from gateway.storage.tables.path import events, verdicts
from gateway.storage.verdicts import VERDICT, fold, is_view

_HEX_DIGITS = 64  # of a hash that an earlier version wrote
_LOCAL_DIGITS = len("2026-11-24T18:00:00")  # of a local time before its offset

_WHOLE_HOURS = ":00"  # of an offset, which is stored without them: "+08"

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
        self._verdicts: dict[str, str] = {}  # that the events refer to: by digest, the text

    def append(self, head: str, event: Event) -> str:
        """Link ``event`` after ``head`` (a hash, "" for the first). Answers the new head."""
        detail = dict(event.detail or {})
        if is_view(detail.get(VERDICT)):
            detail[VERDICT], digest, text = fold(detail[VERDICT])
            self._verdicts[digest] = text
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
            "detail": encode(detail),
            "previous_hash": head,
        }
        row["hash"] = link(row)
        self._rows.append({**row, "previous_hash": "", "local_at": local[_LOCAL_DIGITS:].removesuffix(_WHOLE_HOURS)})
        return str(row["hash"])

    def write(self, connection: Connection) -> None:
        """Write what was appended."""
        execute_pipelined(connection, self.statements(connection))

    def statements(self, connection: Connection, others: Sequence[Chain] = ()) -> list[Statement]:
        """The statements that write what was appended here and to ``others``; [] where there is nothing."""
        chains = (self, *others)
        rows = [row for chain in chains for row in chain._rows]
        if not is_backward_compatible(connection):
            for row in rows:
                if row["kind"] in PACKED_KINDS:
                    pack(row)
        texts = {digest: text for chain in chains for digest, text in chain._verdicts.items()}
        for chain in chains:
            chain._rows, chain._verdicts = [], {}
        # In one order, so that two transactions that store the same ones wait for each other and never deadlock.
        new = [{"digest": digest, "text": texts[digest]} for digest in sorted(texts)]
        return [*inserting(connection, verdicts, new, new_only=True), *inserting(connection, events, rows)]


def local_time(at: datetime, stored: str) -> str:
    """An event's local time, from its instant and what its row has: the offset; or all of it, as earlier versions."""
    if not stored or len(stored) > _LOCAL_DIGITS:
        return stored
    offset = datetime.fromisoformat("2026-01-01T00:00:00" + stored).tzinfo
    return at.astimezone(offset).isoformat(timespec="seconds")


def linked(rows: Iterable[Mapping[Any, Any]]) -> Iterator[dict[str, Any]]:
    """Events as they are proved: with the hash of the one before, and the local time.

    ``rows`` are in order, from the first of each subject on.
    """
    last: dict[str, str] = {}
    for row in rows:
        previous = row["previous_hash"] or last.get(row["subject"], "")
        last[row["subject"]] = row["hash"]
        yield {**row, "previous_hash": previous, "local_at": local_time(row["at"], row["local_at"])}


def link(row: Mapping[str, Any]) -> str:
    """The hash of one event (to be stored, or as ``linked`` gives it) over its predecessor's hash and its own fields.

    As it is written in the row: SHA-256 in base64url without padding (RFC 4648, section 5), or in hexadecimal, as
    earlier versions wrote it.
    """
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
    found = hashlib.sha256(msgspec.json.encode(sealed))
    if len(row.get("hash", "")) == _HEX_DIGITS:
        return found.hexdigest()
    return urlsafe_b64encode(found.digest())[:-1].decode()
