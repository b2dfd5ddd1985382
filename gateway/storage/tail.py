"""Reading the events as they come: how far, so that none is passed over.

PostgreSQL gives out sequence numbers before the transactions that use them are committed, and in another order: a
reader that has seen number 10 may find number 9 later. What is safe to read is what had a number when we looked,
once every transaction that was open then has ended.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from gateway.storage.schema import events

_SNAPSHOT = text(
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,"
    " pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS following,"
    " (SELECT coalesce(max(seq), 0) FROM events) AS newest"
)


class Tail:
    """One reader's view of the end of the events. What it knows is found again after a restart by looking twice."""

    def __init__(self) -> None:
        self._safe = 0
        self._seen = 0
        self._following = 0  # no transaction that may still write at or before ``_seen`` has a number as high as this

    def safe(self, connection: Connection) -> int:
        """The sequence number up to which every event there will ever be can be read."""
        if connection.dialect.name == "sqlite":  # one writer: numbers are given out in the order of commits
            newest: int = connection.execute(select(func.coalesce(func.max(events.c.seq), 0))).scalar_one()
            return newest
        row = connection.execute(_SNAPSHOT).one()
        if row.oldest >= self._following:
            self._safe = self._seen
            self._seen, self._following = row.newest, row.following
        return self._safe
