"""Journeys in the ledger: waking, claiming with their facts, and writing what was decided.

A claim is a lease, as of deliveries. What was decided is written by compare and set on the row's revision, which every
wake-up moves on: a decision on facts that have changed since is void, and made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from gateway.core.codec import encode
from gateway.journeys.cases.store import is_open
from gateway.journeys.claiming import ClaimedJourney, claimed_journeys
from gateway.journeys.entering import enter_due, enter_named, wake_by_events
from gateway.journeys.history import JourneyEvent
from gateway.journeys.journey import Journey
from gateway.storage.bulk import updating
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event
from gateway.storage.statements import StatementTemplate, execute_pipelined
from gateway.storage.tables.journeys import case_records, journeys
from gateway.storage.tail import Tail

LEASE = timedelta(seconds=60)  # of a claimed journey; our choice: some hundred times as long as a batch takes
_DUE = StatementTemplate(
    lambda sql: (
        f"SELECT id FROM journeys WHERE due_at <= {sql.value('now')}"
        f" AND (lease_until IS NULL OR lease_until <= {sql.value('now')}) ORDER BY due_at LIMIT {sql.value('most')}"
    )
)


@dataclass(frozen=True, slots=True)
class JourneyChange:
    """What was decided for a claimed journey: to be written if its revision is still the same."""

    claimed: ClaimedJourney
    after: Journey
    events: tuple[JourneyEvent, ...] = ()
    actor: str = "gateway"
    enters: tuple[str, ...] = ()  # names of definitions
    version: str = ""  # another version to be pinned to


class JourneyStore:
    """The journeys of all tenants. Safe with any number of workers on one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tail = Tail()
        self._looked_at = -1  # the number up to which this process has seen that no event is left

    async def wake(self, now: datetime) -> bool:
        """Have journeys decided anew of whose borrowers something happened since the last call; whether more waits."""
        safe = await self._database.read(self._tail.safe)
        if safe == self._looked_at:
            return False
        more = await self._database.write(lambda connection: wake_by_events(connection, safe, now))
        if not more:
            self._looked_at = safe
        return more

    async def enter(self, now: datetime) -> int | None:
        """Have a batch of cases enter the live definitions whose conditions they meet; how many journeys that made.

        None where no case was to be looked at.
        """
        due = and_(case_records.c.check_at.is_not(None), case_records.c.check_at <= now)
        query = select(case_records.c.id).where(due).limit(1)
        if await self._database.read(lambda connection: connection.execute(query).first()) is None:
            return None
        return await self._database.write(lambda connection: enter_due(connection, now))

    async def due(self, now: datetime, most: int) -> list[str]:
        """Journeys that are due and not leased, oldest first."""
        return [
            row[0] for row in await self._database.query(lambda connection: _DUE.of(connection, now=now, most=most))
        ]

    async def claim(self, ids: Sequence[str], now: datetime) -> list[ClaimedJourney]:
        """Lease those of these journeys that are due and free, with their facts; the others are left out."""
        free = or_(journeys.c.lease_until.is_(None), journeys.c.lease_until <= now)

        def write(connection: Connection) -> list[ClaimedJourney]:
            mine = select(journeys).where(journeys.c.id.in_(ids), journeys.c.due_at <= now, free)
            rows = connection.execute(mine.order_by(journeys.c.id).with_for_update(skip_locked=True)).all()
            these = update(journeys).where(journeys.c.id.in_([row.id for row in rows]))
            if rows:
                connection.execute(these.values(lease_until=now + LEASE))
            return claimed_journeys(connection, rows)

        return await self._database.write(write)

    async def look(self, tenant: str, journey_id: str) -> ClaimedJourney | None:
        """One journey with its facts, not leased: for a person's decision; None where there is no such one."""
        query = select(journeys).where(journeys.c.tenant == tenant, journeys.c.id == journey_id)

        def read(connection: Connection) -> ClaimedJourney | None:
            found = claimed_journeys(connection, connection.execute(query).all())
            return found[0] if found else None

        return await self._database.read(read)

    async def open_of_case(self, tenant: str, case_id: str) -> list[ClaimedJourney]:
        """The open journeys of a case with their facts, not leased."""
        query = select(journeys).where(journeys.c.tenant == tenant, journeys.c.case_id == case_id, is_open())
        return await self._database.read(
            lambda connection: claimed_journeys(connection, connection.execute(query.order_by(journeys.c.id)).all())
        )

    async def open_of(self, tenant: str, name: str, version: str, after: str, most: int) -> list[ClaimedJourney]:
        """Open journeys of one version, by id from after ``after``; not leased."""
        query = select(journeys).where(
            journeys.c.tenant == tenant, journeys.c.definition == name, journeys.c.version == version
        )
        query = query.where(is_open(), journeys.c.id > after).order_by(journeys.c.id).limit(most)
        return await self._database.read(
            lambda connection: claimed_journeys(connection, connection.execute(query).all())
        )

    async def write(self, decided: Sequence[JourneyChange], now: datetime) -> list[int | None]:
        """Write what was decided: for each how many journeys its case entered by it, or None for one that is void.

        Void is what was decided on facts that have changed meanwhile.
        """
        return await self._database.write(lambda connection: _write(connection, decided, now))


def _write(connection: Connection, decided: Sequence[JourneyChange], now: datetime) -> list[int | None]:
    ids = sorted(each.after.id for each in decided)
    query = select(journeys.c.id, journeys.c.revision, journeys.c.event_hash, journeys.c.version)
    locked = connection.execute(query.where(journeys.c.id.in_(ids)).order_by(journeys.c.id).with_for_update())
    rows = {row.id: row for row in locked}
    chain, values, done = Chain(), [], []
    for each in decided:
        row = rows.get(each.after.id)
        current = row is not None and row.revision == each.claimed.revision
        done.append(current)
        if row is not None and current:
            values.append(_values(chain, each, row, now))
    writes = updating(connection, journeys, ("id",), values)
    execute_pipelined(connection, [*writes, *chain.statements(connection)])
    return [
        sum(enter_named(connection, each.claimed.tenant, each.claimed.facts.case, name, now) for name in each.enters)
        if current
        else None
        for each, current in zip(decided, done, strict=True)
    ]


def _values(chain: Chain, each: JourneyChange, row: Any, now: datetime) -> dict[str, Any]:
    claimed, after = each.claimed, each.after
    head = row.event_hash
    about = {"case_id": after.case_id, "journey_id": after.id, "definition": claimed.definition.name}
    for event in each.events:
        head = chain.append(
            head,
            Event(
                tenant=claimed.tenant,
                subject=after.id,
                borrower_id=claimed.borrower_id,
                at=now,
                kind=event.kind,
                actor=each.actor,
                reason=event.reason[:40],
                state=after.state,
                zone=claimed.zone,
                detail={**about, **event.detail},
            ),
        )
    return {
        "id": after.id,
        "version": each.version or row.version,
        "state": after.state,
        "reason": after.reason[:40],
        "step": after.steps[-1].step if after.steps else "",
        "exited_at": now if after.ended else None,
        "due_at": after.due_at,
        "lease_until": None,
        "revision": row.revision + 1,
        "body": encode(after),
        "event_hash": head,
    }


def count_by_step(connection: Connection, tenant: str, definition: str) -> list[tuple[str, str, str, int]]:
    """How many open journeys stand where: (version, state, last step, number)."""
    columns = (journeys.c.version, journeys.c.state, journeys.c.step)
    mine = and_(journeys.c.tenant == tenant, journeys.c.definition == definition, is_open())
    query = select(*columns, func.count()).where(mine).group_by(*columns)
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
