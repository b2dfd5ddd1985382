"""Tailing the event log: the sequence number up to which a reader can be sure to have seen every event.

PostgreSQL assigns sequence numbers before the transactions that use them commit, and these commit in another order: a
reader that has seen number 10 may find number 9 later. Safe to read are the numbers that were assigned at one look,
once every transaction that was open at it has ended (pg_snapshot_xmin).
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from gateway.storage.tables.path import events

_SNAPSHOT = text(
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,"
    " pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS following,"
    " (SELECT coalesce(max(seq), 0) FROM events) AS newest"
)


class Tail:
    """One reader's high-water mark. After a restart it is found again by two looks."""

    def __init__(self) -> None:
        self._safe = 0
        self._seen = 0
        self._following = 0  # no transaction that may still write at or before ``_seen`` has a number as high as this

    def safe(self, connection: Connection) -> int:
        """The sequence number up to which no event can appear any more."""
        if connection.dialect.name == "sqlite":  # one writer: numbers are assigned in the order of commits
            newest: int = connection.execute(select(func.coalesce(func.max(events.c.seq), 0))).scalar_one()
            return newest
        row = connection.execute(_SNAPSHOT).one()
        if row.oldest >= self._following:
            self._safe = self._seen
            self._seen, self._following = row.newest, row.following
        return self._safe
