"""The administrators' log: who used an administrative right, on what, and when. Append-only and hash-chained.

Owns its chains of events, one for each tenant and one ("") for what concerns no single tenant. An act is recorded
before it is done, so that no process death leaves an act without its entry; one that is then refused or fails has a
second entry that says so. Entries have ids and words of closed lists only. Knows nothing of HTTP and of terminals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Connection, select, update

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.events import ADMIN_ACT, Chain, Event, admin_subject
from gateway.storage.schema import admin_logs, events

_log = structlog.get_logger("admin")


class ActOutcome(StrEnum):
    """What an entry says of its act."""

    BEGUN = "begun"  # permitted, and about to be done; done, unless a later entry of the same request says otherwise
    REFUSED = "refused"  # not done: the right is missing, or the request is not valid
    FAILED = "failed"  # an outage or an error of ours: done or not, see the domain's own events


@dataclass(frozen=True, slots=True)
class AdminAct:
    """One use of an administrative right.

    ``operation`` is a method with a route's pattern, or a command; ``target`` names what it is done to, by ids.
    ``request_id`` connects the entries of one request, and them with its log lines.
    """

    tenant: str
    actor: str
    operation: str
    target: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    outcome: ActOutcome = ActOutcome.BEGUN
    reason: str = ""

    def ended(self, outcome: ActOutcome, reason: str) -> AdminAct:
        """The same act with how it ended; ``reason`` is a word of a closed list, at most 40 characters."""
        return replace(self, outcome=outcome, reason=reason)


class AdminLog:
    """Writes and reads the administrators' log."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def record(self, act: AdminAct, *, log_line: bool = True) -> None:
        """Append an entry, committed when this returns, and a log line ``admin_act``. Raises Unavailable.

        ``log_line`` False: the ledger alone, for commands, whose standard output is their answer.
        """
        event = Event(
            act.tenant,
            admin_subject(act.tenant),
            "",
            self._clock(),
            ADMIN_ACT,
            act.actor,
            reason=act.reason,
            # The outcome is no state of a message: what counts those by the column of that name must not count it.
            detail={
                "operation": act.operation,
                "target": dict(act.target),
                "outcome": act.outcome,
                "request_id": act.request_id,
            },
        )
        own = admin_logs.c.tenant == act.tenant

        def write(connection: Connection) -> None:
            connection.execute(insert_new(connection, admin_logs), [{"tenant": act.tenant}])
            # The row's lock puts the entries of all processes in one order.
            head = connection.execute(select(admin_logs.c.event_hash).where(own).with_for_update()).scalar_one()
            chain = Chain()
            connection.execute(update(admin_logs).where(own).values(event_hash=chain.append(head, event)))
            chain.write(connection)

        await self._database.write(write)
        if not log_line:
            return
        _log.info(
            "admin_act",
            tenant=act.tenant,
            actor=act.actor,
            operation=act.operation,
            outcome=act.outcome,
            reason=act.reason,
            request_id=act.request_id,
        )

    async def listed(self, tenant: str | None, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Entries of a tenant, or of all (None), the latest first, at most ``limit``; ``before`` is a ``seq``."""
        query = select(events).where(events.c.kind == ADMIN_ACT)
        if tenant is None:
            # A range of the index by subject, which works under every collation as "starts with" would not.
            subjects = select(admin_logs.c.tenant)
            names = await self._database.read(lambda connection: list(connection.execute(subjects).scalars()))
            query = query.where(events.c.subject.in_([admin_subject(each) for each in names]))
        else:
            query = query.where(events.c.subject == admin_subject(tenant))
        if before is not None:
            query = query.where(events.c.seq < before)
        query = query.order_by(events.c.seq.desc()).limit(limit)
        return await self._database.read(lambda connection: [_view(row) for row in connection.execute(query)])


def _view(row: Any) -> dict[str, Any]:
    detail = json.loads(row.detail)
    return {
        "seq": row.seq,
        "at": instant(row.at),
        "tenant": row.tenant,
        "actor": row.actor,
        "operation": detail["operation"],
        "target": detail["target"],
        "outcome": detail["outcome"],
        "reason": row.reason,
        "request_id": detail["request_id"],
        "hash": row.hash,
    }
