"""Spreading of deferrals: those that wait for the same opening become due one after another, not as a thundering herd.

Each takes the next free slot after the last one taken, the oldest first. The verdict keeps the exact first permitted
instant; the slot is when the delivery becomes due. Two processes may take the same slot, which does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, union_all

from gateway.core.reasons import PolicyReason
from gateway.storage.tables.path import due_deliveries

# Reasons that end for many borrowers at the same instant; the others end for one borrower alone.
SHARED_OPENINGS = frozenset(
    {
        PolicyReason.OUTSIDE_WINDOW,
        PolicyReason.HOLIDAY,
        PolicyReason.CAP_BORROWER,
        PolicyReason.CAP_CASE,
        PolicyReason.CAP_CHANNEL,
        PolicyReason.CAP_ADDRESS,
    }
)
# No slot is later than this after the opening, so that a low rate can't push a backlog out of its window: the rest
# becomes due together at that time. Our choice.
_LONGEST = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DeferralSpreader:
    """At most ``per_second`` deferred deliveries become due in a second after an opening; 0: all at once."""

    per_second: float

    def slots(self, connection: Connection, wanted: Sequence[tuple[str, datetime | None]]) -> list[datetime | None]:
        """When each deferral of ``wanted`` (reason, first permitted instant), in order of age, becomes due."""
        openings = {until for reason, until in wanted if until is not None and reason in SHARED_OPENINGS}
        if not openings or not self.per_second:
            return [until for _, until in wanted]
        step = timedelta(seconds=1 / self.per_second)
        following = {
            opening: opening if last is None else last + step for opening, last in _taken(connection, openings).items()
        }
        found: list[datetime | None] = []
        for reason, until in wanted:
            if until is None or reason not in SHARED_OPENINGS:
                found.append(until)
                continue
            found.append(min(following[until], until + _LONGEST))
            following[until] += step
        return found


def _taken(connection: Connection, openings: set[datetime]) -> dict[datetime, datetime | None]:
    """The last slot taken after each opening: one statement, one index look-up for each."""
    ordered = sorted(openings)
    columns = due_deliveries.c
    queries = [
        select(func.max(columns.due_at)).where(columns.due_at >= each, columns.due_at < each + _LONGEST)
        for each in ordered
    ]
    return dict(zip(ordered, connection.execute(union_all(*queries)).scalars(), strict=True))
