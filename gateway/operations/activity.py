"""Counts the events of the last hour by minute; for the status page.

Counts are kept between calls: each call reads the events since the one before, grouped by the database. The newest
events are counted again at each call until no transaction can add to them any more (gateway/storage/tail.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, func, select, true, type_coerce

from gateway.storage.database import Database
from gateway.storage.tables.path import events
from gateway.storage.tail import Tail

MINUTES = 60
_MINUTE_US = 60_000_000  # instants are microseconds in the table
_MOST_EVENTS = 200_000  # read at one look, after a long time without one: half a second on SQLite; our choice


@dataclass(frozen=True, slots=True)
class EventGroup:
    """What events are grouped by: kind, the state that the event led to, and its reason."""

    kind: str
    state: str
    reason: str


Minutes = Mapping[int, Mapping[EventGroup, int]]  # by minutes since 1970


class Activity:
    """The last hour's events of one tenant, or (None) of all, as counts. Not for two tasks at once."""

    def __init__(self, database: Database, tenant: str | None) -> None:
        self._database = database
        self._tenant = tenant
        self._tail = Tail()
        self._complete: dict[int, Counter[EventGroup]] = {}
        self._counted = 0  # events up to this number are in ``_complete``

    async def last_hour(self, now: datetime) -> Minutes:
        """Counts by minute, ``MINUTES`` of them, the current one last. Raises Unavailable."""
        safe, newest = await self._database.read(lambda connection: (self._tail.safe(connection), _newest(connection)))
        self._counted = max(self._counted, newest - _MOST_EVENTS)
        complete = max(self._counted, safe)
        counted = self._counted
        done, moving = await self._database.read(
            lambda connection: (
                _count(connection, self._tenant, counted, complete),
                _count(connection, self._tenant, complete, newest),
            )
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


def _count(connection: Connection, tenant: str | None, after: int, until: int) -> dict[int, Counter[EventGroup]]:
    found: dict[int, Counter[EventGroup]] = {}
    if until > after:
        minute = (type_coerce(events.c.at, BigInteger) // _MINUTE_US).label("minute")
        group = (minute, events.c.kind, events.c.state, events.c.reason)
        of_tenant = true() if tenant is None else events.c.tenant == tenant
        wanted = (events.c.seq > after, events.c.seq <= until, of_tenant)
        query = select(*group, func.count().label("number")).where(*wanted)
        for row in connection.execute(query.group_by(*group)):
            found.setdefault(row.minute, Counter())[EventGroup(row.kind, row.state, row.reason)] = row.number
    return found


def _add(to: dict[int, Counter[EventGroup]], more: Mapping[int, Counter[EventGroup]]) -> None:
    for minute, counts in more.items():
        to.setdefault(minute, Counter()).update(counts)
