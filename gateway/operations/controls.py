"""Kill switches and pins in the ledger: set, ended, and checked at every hand-over.

Hand-overs begin under a lock that many share and that setting or ending a switch takes alone. So a pause is in force
for every hand-over that begins after its answer, and what a pause holds up is never forgotten by its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.controls import Switch, SwitchKind, SwitchScope
from gateway.core.notifications import new_id
from gateway.core.states import PENDING_STATES
from gateway.storage.controls import IN_FORCE, SWITCH_COLUMNS, SWITCH_LOCK, switch_of, switches_from
from gateway.storage.database import Database
from gateway.storage.tables.operations import switches
from gateway.storage.tables.path import deliveries

_FRESH_SECONDS = 1.0  # how old the switches may be that a choice among providers is made by; our choice
_RECENT = 200  # our choice: a page for people


class Controls:
    """Sets, ends and lists the switches of operators."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: Sequence[Switch] = ()
        self._known_at = float("-inf")

    async def in_force(self, now: datetime) -> Sequence[Switch]:
        """The switches of now, at most a second old. Raises Unavailable."""
        if time.monotonic() - self._known_at > _FRESH_SECONDS:
            answer = await self._database.query(lambda connection: IN_FORCE.of(connection, now=now))
            self._known = switches_from([answer])
            self._known_at = time.monotonic()
        return [each for each in self._known if each.until is None or each.until > now]

    async def listed(self, tenant: str, *, platform: bool = False, ended: bool) -> list[dict[str, Any]]:
        """The switches that apply to a tenant, the newest first; with ``ended`` the past ones as well.

        With ``platform`` also those that the platform's administrators set for one other tenant. ``tenant`` "" has none
        of a tenant's own.
        """
        concerns = or_(switches.c.scope != SwitchScope.TENANT, switches.c.value == tenant)
        of_platform = switches.c.tenant == "" if platform else and_(switches.c.tenant == "", concerns)
        query = select(switches).where(or_(switches.c.tenant == tenant, of_platform))
        if not ended:
            query = query.where(switches.c.ended_at.is_(None))
            query = query.where(or_(switches.c.until.is_(None), switches.c.until > self._clock()))
        query = query.order_by(switches.c.id.desc()).limit(_RECENT)
        return await self._database.read(lambda connection: [_view(row) for row in connection.execute(query)])

    async def set(
        self,
        kind: SwitchKind,
        scope: SwitchScope,
        value: str,
        tenant: str,
        reason: str,
        actor: str,
        until: datetime | None,
    ) -> dict[str, Any]:
        """Set a switch. It is in force for every hand-over that starts after this has returned.

        ``tenant`` is whose switch it is; "" for the platform's, which hold for every tenant, or with the scope tenant
        for the one that ``value`` names.
        """
        now = self._clock()
        row = {
            "id": new_id("swi", now),
            "kind": kind,
            "scope": scope,
            "value": value,
            "tenant": tenant,
            "reason": reason,
            "actor": actor,
            "since": now,
            "until": until,
        }

        def write(connection: Connection) -> dict[str, Any]:
            _lock_exclusively(connection)
            connection.execute(insert(switches), [row])
            return _view(connection.execute(select(switches).where(switches.c.id == row["id"])).one())

        answer = await self._database.write(write)
        self._known_at = float("-inf")
        return answer

    async def found(self, switch_id: str) -> Switch | None:
        """The switch of this id, None where it does not exist or has ended."""
        query = select(switches).where(switches.c.id == switch_id, switches.c.ended_at.is_(None))
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else switch_of(*(row._mapping[name] for name in SWITCH_COLUMNS))

    async def end(self, switch_id: str, actor: str) -> int | None:
        """End a switch; answers how many deliveries it released. None: there is no such switch."""
        now = self._clock()

        def write(connection: Connection) -> int | None:
            _lock_exclusively(connection)
            this = (switches.c.id == switch_id, switches.c.ended_at.is_(None))
            ended = connection.execute(update(switches).where(*this).values(ended_at=now, ended_by=actor))
            if not ended.rowcount:
                return None
            held = and_(deliveries.c.paused == switch_id, deliveries.c.state.in_(sorted(PENDING_STATES)))
            # Locked by id first: an UPDATE alone locks rows in the order in which it comes across them.
            by_id = select(deliveries.c.id).where(held).order_by(deliveries.c.id).with_for_update().subquery()
            connection.execute(select(func.count()).select_from(by_id)).all()
            released = update(deliveries).where(held)
            return int(connection.execute(released.values(due_at=now, paused="")).rowcount)

        released = await self._database.write(write)
        self._known_at = float("-inf")
        return released


def _lock_exclusively(connection: Connection) -> None:
    """Wait for hand-overs that are starting, and block others. SQLite has a single writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(SWITCH_LOCK)))


def _view(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "scope": row.scope,
        "value": row.value,
        "everywhere": row.tenant == "" and row.scope != SwitchScope.TENANT,
        "reason": row.reason,
        "actor": row.actor,
        "since": instant(row.since),
        "until": instant(row.until),
        "ended_at": instant(row.ended_at),
        "ended_by": row.ended_by,
    }
