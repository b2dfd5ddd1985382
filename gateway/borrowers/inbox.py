"""Borrowers' in-app feeds: messages are added, listed, streamed and archived. A message in a feed counts as delivered.

Reading one is an engagement of its delivery and is recorded by BorrowerStore.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, literal, select, text, update

from gateway.core.batcher import Batcher
from gateway.core.clock import Clock
from gateway.storage.bulk import inserting
from gateway.storage.database import Database
from gateway.storage.statements import execute_pipelined
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.columns import Instant
from gateway.storage.tables.path import deliveries

_LOCK = 0x1B0C  # any number that no other advisory lock of this database uses


@dataclass(frozen=True, slots=True)
class InboxItem:
    """One message of a feed. ``id`` grows with time and is what a stream is resumed from."""

    id: int
    title: str
    text: str
    at: datetime
    read_at: datetime | None
    archived_at: datetime | None


class Inbox:
    """The feeds. ``publish(tenant, borrower_id)`` notifies the streams that wait for messages."""

    def __init__(self, database: Database, clock: Clock, publish: Callable[[str, str], Awaitable[None]]) -> None:
        self._database = database
        self._clock = clock
        self._publish = publish
        self._putting: Batcher[dict[str, Any], bool] = Batcher(self._put_all)

    async def put(self, tenant: str, borrower_id: str, delivery_id: str, title: str, text: str) -> bool:
        """Add a message, durably, once for each delivery; False where it is there already. Raises Unavailable."""
        row = {"tenant": tenant, "borrower_id": borrower_id, "delivery_id": delivery_id, "title": title, "text": text}
        [created] = await self._putting.submit([row])
        return created

    async def _put_all(self, rows: Sequence[dict[str, Any]]) -> list[bool]:
        now = self._clock()
        # The same delivery twice in one batch (a lease that ran out) is one message.
        first = {row["delivery_id"]: row for row in reversed(rows)}

        def write(connection: Connection) -> set[str]:
            if connection.dialect.name == "postgresql":
                # Sequence numbers are drawn before the commit: without a queue here, a stream could see number 8,
                # go on from there, and never see number 7, which was committed later.
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            new = [{**row, "at": now} for row in first.values()]
            [created] = execute_pipelined(
                connection, inserting(connection, inbox, new, new_only=True, returning="delivery_id")
            )
            return {key for (key,) in created}

        created = await self._database.write(write)
        for tenant, borrower_id in {
            (row["tenant"], row["borrower_id"]) for key, row in first.items() if key in created
        }:
            await self._publish(tenant, borrower_id)
        return [row["delivery_id"] in created and first[row["delivery_id"]] is row for row in rows]

    async def page(
        self, tenant: str, borrower_id: str, *, archived: bool = False, before: int | None = None, limit: int = 50
    ) -> tuple[list[InboxItem], int]:
        """A page of the feed, newest first, from below ``before``; with the number of unread messages."""
        query = _of(tenant, borrower_id).order_by(inbox.c.seq.desc()).limit(limit)
        query = query.where(inbox.c.archived_at.is_not(None) if archived else inbox.c.archived_at.is_(None))
        if before is not None:
            query = query.where(inbox.c.seq < before)
        return await self._read(query, tenant, borrower_id)

    async def after(self, tenant: str, borrower_id: str, seq: int, limit: int = 100) -> tuple[list[InboxItem], int]:
        """What came after ``seq``, oldest first, for a stream; with the number of unread messages."""
        query = _of(tenant, borrower_id).where(inbox.c.seq > seq).order_by(inbox.c.seq).limit(limit)
        return await self._read(query, tenant, borrower_id)

    async def _read(self, query: Any, tenant: str, borrower_id: str) -> tuple[list[InboxItem], int]:
        def read(connection: Connection) -> tuple[list[InboxItem], int]:
            items = [InboxItem(*row) for row in connection.execute(query)]
            return items, int(connection.execute(_unread(tenant, borrower_id)).scalar_one())

        return await self._database.read(read)

    async def last(self, tenant: str, borrower_id: str) -> int:
        """The newest message's id, 0 where there is none."""
        query = select(func.coalesce(func.max(inbox.c.seq), 0)).where(_mine(tenant, borrower_id))
        return await self._database.read(lambda connection: int(connection.execute(query).scalar_one()))

    async def unread_count(self, tenant: str, borrower_id: str) -> int:
        query = _unread(tenant, borrower_id)
        return await self._database.read(lambda connection: int(connection.execute(query).scalar_one()))

    async def unread(self, tenant: str, borrower_id: str, limit: int) -> list[int]:
        """Ids of unread messages that are not archived, oldest first."""
        query = select(inbox.c.seq).where(_is_unread(tenant, borrower_id)).order_by(inbox.c.seq).limit(limit)
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))

    async def message(self, tenant: str, borrower_id: str, seq: int) -> tuple[str, str] | None:
        """The delivery of a message and its channel; None where it is not this borrower's, or retention removed it."""
        query = select(inbox.c.delivery_id, deliveries.c.channel).join(
            deliveries, deliveries.c.id == inbox.c.delivery_id
        )
        mine = and_(_mine(tenant, borrower_id), inbox.c.seq == seq)
        row = await self._database.read(lambda connection: connection.execute(query.where(mine)).first())
        return None if row is None else (row.delivery_id, row.channel)

    async def archive(self, tenant: str, borrower_id: str, seq: int) -> bool:
        """Put a message away; False where it is not this borrower's. Again: no further effect."""
        now = self._clock()
        mine = and_(_mine(tenant, borrower_id), inbox.c.seq == seq)

        def write(connection: Connection) -> bool:
            at = func.coalesce(inbox.c.archived_at, literal(now, Instant))
            return connection.execute(update(inbox).where(mine).values(archived_at=at)).rowcount == 1

        return await self._database.write(write)


def _mine(tenant: str, borrower_id: str) -> Any:
    return and_(inbox.c.tenant == tenant, inbox.c.borrower_id == borrower_id)


def _of(tenant: str, borrower_id: str) -> Any:
    columns = (inbox.c.seq, inbox.c.title, inbox.c.text, inbox.c.at, inbox.c.read_at, inbox.c.archived_at)
    return select(*columns).where(_mine(tenant, borrower_id))


def _is_unread(tenant: str, borrower_id: str) -> Any:
    return and_(_mine(tenant, borrower_id), inbox.c.read_at.is_(None), inbox.c.archived_at.is_(None))


def _unread(tenant: str, borrower_id: str) -> Any:
    return select(func.count()).select_from(inbox).where(_is_unread(tenant, borrower_id))
