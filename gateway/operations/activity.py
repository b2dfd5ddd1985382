"""What happened in the last hour, minute by minute, counted from the events; for the status page.

Counted as it goes: each look reads the events since the one before, grouped by the database. The newest stretch is
counted anew until nothing can appear in it any more (ledger/watermark.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, func, select, type_coerce

from gateway.evidence.audit.watermark import Watermark
from gateway.storage.database import Database
from gateway.storage.schema import events

MINUTES = 60
_MINUTE_US = 60_000_000  # instants are microseconds in the table
_MOST_EVENTS = 200_000  # read at one look, after a long time without one: half a second on SQLite; our choice


@dataclass(frozen=True, slots=True)
class Happened:
    """What is told apart: the event's kind, the state that it led to, and why."""

    kind: str
    state: str
    reason: str


Minutes = Mapping[int, Mapping[Happened, int]]  # by minutes since 1970


class Activity:
    """The last hour's events of all tenants, as counts. Not for two threads of control at once."""

    def __init__(self, database: Database, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._watermark = Watermark(elapsed)
        self._complete: dict[int, Counter[Happened]] = {}
        self._counted = 0  # events up to this number are in ``_complete``

    async def last_hour(self, now: datetime) -> Minutes:
        """Counts by minute, ``MINUTES`` of them, the current one last. Raises Unavailable."""
        newest = await self._database.read(_newest)
        self._counted = max(self._counted, newest - _MOST_EVENTS)
        complete = max(self._counted, self._watermark.complete(newest))
        counted = self._counted
        done, moving = await self._database.read(
            lambda connection: (_count(connection, counted, complete), _count(connection, complete, newest))
        )
        first = int(now.timestamp()) // 60 - MINUTES + 1
        _add(self._complete, done)
        self._complete = {minute: counts for minute, counts in self._complete.items() if minute >= first}
        self._counted = complete
        shown = {minute: Counter(self._complete.get(minute, {})) for minute in range(first, first + MINUTES)}
        _add(shown, {minute: counts for minute, counts in moving.items() if minute in shown})
        return shown


def _newest(connection: Connection) -> int:
    return connection.execute(select(func.max(events.c.seq))).scalar() or 0


def _count(connection: Connection, after: int, until: int) -> dict[int, Counter[Happened]]:
    found: dict[int, Counter[Happened]] = {}
    if until > after:
        minute = (type_coerce(events.c.at, BigInteger) // _MINUTE_US).label("minute")
        told_apart = (minute, events.c.kind, events.c.state, events.c.reason)
        query = select(*told_apart, func.count().label("number")).where(events.c.seq > after, events.c.seq <= until)
        for row in connection.execute(query.group_by(*told_apart)):
            found.setdefault(row.minute, Counter())[Happened(row.kind, row.state, row.reason)] = row.number
    return found


def _add(to: dict[int, Counter[Happened]], more: Mapping[int, Counter[Happened]]) -> None:
    for minute, counts in more.items():
        to.setdefault(minute, Counter()).update(counts)
