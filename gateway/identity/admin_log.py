"""The administrators' log: who used an administrative right, on what, and when. Append-only and hash-chained.

Owns its chains of events, one for each tenant and one ("") for what concerns no single tenant. An act is recorded
before it is done, so that no process death leaves an act without its entry; one that is then refused or fails has a
second entry that says so. Entries have ids and words of closed lists only. Acts of somebody without the right have a
limit for each actor, so that they can't fill the ledger. Knows nothing of HTTP and of terminals.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Connection, literal_column, select, update

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.events import ADMIN_ACT, Chain, Event, admin_subject
from gateway.storage.tables.identity import admin_logs
from gateway.storage.tables.path import events

_log = structlog.get_logger("admin")
# Denied acts of one actor that one process records: so many at once, and one more each _DENIAL_SECONDS. Our choice: who
# tries by mistake stays below it, and a day's entries of one actor stay below 1 MB (500 bytes each).
_MAX_DENIALS = 30
_DENIAL_SECONDS = 60.0
_MAX_ACTORS = 10_000  # remembered; an actor is a key or a user, so there are few


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


class DenialLimit:
    """Which denied acts of an actor get an entry: a token bucket for each actor, in the memory of this process.

    N processes record N times as many, and a restart fills the buckets.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._full_at: OrderedDict[str, float] = OrderedDict()  # by actor: when the bucket is full again
        self._passed_over: dict[str, int] = {}

    def take(self, actor: str) -> bool:
        """Whether this denied act is to be recorded; else it is counted."""
        now = self._elapsed()
        full_at = max(self._full_at.get(actor, now), now) + _DENIAL_SECONDS
        if full_at - now > _MAX_DENIALS * _DENIAL_SECONDS:
            self._passed_over[actor] = self._passed_over.get(actor, 0) + 1
            return False
        self._full_at[actor] = full_at
        self._full_at.move_to_end(actor)
        if len(self._full_at) > _MAX_ACTORS:
            forgotten, _ = self._full_at.popitem(last=False)
            self._passed_over.pop(forgotten, None)
        return True

    def passed_over(self, actor: str) -> int:
        """How many acts of the actor were not recorded since this was asked last."""
        return self._passed_over.pop(actor, 0)


class AdminLog:
    """Writes and reads the administrators' log."""

    def __init__(self, database: Database, clock: Clock, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._denials = DenialLimit(elapsed)

    async def record_denied(self, act: AdminAct, reason: str) -> None:
        """Record an act for which the actor lacks the right. Raises Unavailable.

        Who has no right must not fill a ledger that is never pruned: beyond a limit there is the log line alone, and
        the actor's next entry has the number of those before it as ``unrecorded``.
        """
        denied = act.ended(ActOutcome.REFUSED, reason)
        if self._denials.take(act.actor):
            await self.record(denied)
        else:
            _write_line(denied)

    async def record(self, act: AdminAct, *, log_line: bool = True) -> None:
        """Append an entry, committed when this returns, and a log line ``admin_act``. Raises Unavailable.

        ``log_line`` False: the ledger alone, for commands, whose standard output is their answer.
        """
        unrecorded = self._denials.passed_over(act.actor)
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
                **({"unrecorded": unrecorded} if unrecorded else {}),
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
        if log_line:
            _write_line(act)

    async def listed(self, tenant: str | None, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Entries of a tenant, or of all (None), the latest first, at most ``limit``; ``before`` is a ``seq``."""
        # A literal and not a parameter: only then do the planners use the partial index.
        query = select(events).where(events.c.kind == literal_column(f"'{ADMIN_ACT}'"))
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


def _write_line(act: AdminAct) -> None:
    _log.info(
        "admin_act",
        tenant=act.tenant,
        actor=act.actor,
        operation=act.operation,
        outcome=act.outcome,
        reason=act.reason,
        request_id=act.request_id,
    )


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
        "unrecorded": detail.get("unrecorded", 0),
        "hash": row.hash,
    }
