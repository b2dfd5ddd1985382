"""Legal holds: records of these borrowers and cases are not removed, whatever their age, until the hold is released.

A hold is about keeping records. That a borrower must not be contacted is another kind of hold (people.py).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, or_, select, update

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.notifications import new_id
from gateway.storage.database import Database
from gateway.storage.tables.retention import legal_holds, retention_progress


def held(tenant: Any, borrower_id: Any, case_id: Any) -> ColumnElement[bool]:
    """The condition that a row with these columns is on hold."""
    return exists().where(
        legal_holds.c.tenant == tenant,
        legal_holds.c.released_at.is_(None),
        or_(legal_holds.c.borrower_id == "", legal_holds.c.borrower_id == borrower_id),
        or_(legal_holds.c.case_id == "", legal_holds.c.case_id == case_id),
    )


def held_person(tenant: Any, borrower_id: Any) -> ColumnElement[bool]:
    """The condition that a row about a borrower, of no case, is on hold: by any hold that may mean this borrower."""
    return exists().where(
        legal_holds.c.tenant == tenant,
        legal_holds.c.released_at.is_(None),
        or_(legal_holds.c.borrower_id == "", legal_holds.c.borrower_id == borrower_id),
    )


class LegalHolds:
    """Sets, releases and lists legal holds. Each change is in force when its method returns."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, tenant: str, borrower_id: str, case_id: str, reason: str, actor: str) -> str:
        """Hold a borrower, a case, or one case of a borrower; "" for both holds the whole tenant. Its id."""
        now = self._clock()
        row = {
            "id": new_id("lgh", now),
            "tenant": tenant,
            "borrower_id": borrower_id,
            "case_id": case_id,
            "reason": reason,
            "actor": actor,
            "since": now,
        }
        await self._database.write(lambda connection: connection.execute(insert(legal_holds), [row]))
        return str(row["id"])

    async def release(self, hold_id: str, actor: str) -> bool:
        """Release a hold: its records are removed at their time. False where there is no such hold in force."""
        now = self._clock()

        def write(connection: Connection) -> bool:
            mine = and_(legal_holds.c.id == hold_id, legal_holds.c.released_at.is_(None))
            released = connection.execute(update(legal_holds).where(mine).values(released_at=now, released_by=actor))
            if released.rowcount:
                # What was passed over because of it has to be looked at again.
                connection.execute(delete(retention_progress))
            return bool(released.rowcount)

        return await self._database.write(write)

    async def list(self, *, released: bool = False) -> list[dict[str, Any]]:
        """Those in force, or all, newest first."""
        query = select(legal_holds).order_by(legal_holds.c.id.desc())
        if not released:
            query = query.where(legal_holds.c.released_at.is_(None))

        def read(connection: Connection) -> list[dict[str, Any]]:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            return [{**row, "since": instant(row["since"]), "released_at": instant(row["released_at"])} for row in rows]

        return await self._database.read(read)
