"""Changes of a borrower's row: under its lock, with an event in the borrower's chain and a new version.

A hand-over that was decided on an older version does not start, and waiting deliveries are evaluated again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, select, update

from gateway.core.clock import Clock
from gateway.core.deliveries import Transition
from gateway.core.reasons import PolicyReason
from gateway.core.routes import RouteRules
from gateway.core.states import PENDING_STATES, State
from gateway.storage.bulk import inserting, updating
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event, borrower_subject
from gateway.storage.facts import Key
from gateway.storage.statements import Dialect, Rows, Statement, StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.path import deliveries
from gateway.storage.unit_of_work import UnitOfWork

# In an event's detail: the columns of the borrower's row as the change left them.
AFTER = "after"

# How often a change polls for messages in flight that had started before it; seconds, our choice.
_IN_FLIGHT_POLL_SECONDS = 0.02

# Review reasons that a change of the borrower may have resolved.
_ANSWERED = (PolicyReason.HOLD, PolicyReason.OPTED_OUT)


class BorrowerRow(NamedTuple):
    """The row of a borrower as a change finds it: texts and numbers, as they are stored."""

    tenant: str
    id: str
    version: int
    holds: str
    opt_outs: str
    consents: str
    channel_consents: str
    stated: str
    chosen: str
    proposals: str
    event_hash: str


# From the borrower's row to its new values; None: there is nothing to change.
Change = Callable[[Any], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """What is recorded of a change."""

    kind: str
    actor: str
    reason: str = ""
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What else a change of a borrower does, to the notification that owns ``delivery_id``: under the same locks."""

    delivery_id: str
    apply: Callable[[UnitOfWork], None]


_LOCKED = StatementTemplate(
    lambda sql: (
        f"SELECT {', '.join(BorrowerRow._fields)} FROM borrowers WHERE {sql.matching(('tenant', 'id'), 'keys')}"
        f" ORDER BY tenant, id {sql.lock()}"
    )
)


def _waiting(sql: Dialect) -> str:
    columns = "tenant, borrower_id, id, state"
    condition = (
        f"(state = '{State.DEFERRED}' AND lease_until IS NULL"
        f" OR state = '{State.REVIEW}' AND reason IN ('{_ANSWERED[0]}', '{_ANSWERED[1]}')"
        f" OR state = '{State.SENDING}' AND lease_until > {sql.value('now')})"
    )
    return f"SELECT {columns} {sql.of_each(columns, 'deliveries', ('tenant', 'borrower_id'), 'keys', condition)}"


# Of each borrower what waits, and what is being sent.
_WAITING = StatementTemplate(_waiting)


class BorrowerChanges:
    """Changes of some borrowers' rows in one transaction: locked together, changed, and written together.

    ``decides``: whether a decision can depend on what changes; what waits for the borrowers is decided anew then.
    """

    @staticmethod
    def statements(
        connection: Connection, keys: Iterable[Key], now: datetime, *, decides: bool = True
    ) -> list[Statement]:
        """The statements that lock the rows of the borrowers (tenant, id), which are made where they are missing."""
        ordered = sorted(set(keys))
        rows = [{"tenant": tenant, "id": borrower_id} for tenant, borrower_id in ordered]
        waiting = [_WAITING.of(connection, keys=ordered, now=now)] if decides else []
        return [
            *inserting(connection, borrowers, rows, new_only=True),
            _LOCKED.of(connection, keys=ordered),
            *waiting,
        ]

    def __init__(self, connection: Connection, rules: RouteRules, rows: Sequence[Rows], now: datetime) -> None:
        """``rows`` are the answers to ``statements``."""
        _, locked, *waiting = rows
        self._connection = connection
        self._rules = rules
        self._now = now
        self._rows = {(row[0], row[1]): BorrowerRow._make(row) for row in locked}
        found = [((row[0], row[1]), row[2], row[3]) for answer in waiting for row in answer]
        self._waiting = [each for each in found if each[2] != State.SENDING]
        # Whose messages are being sent, which had started before the rows were locked.
        self.in_flight = {key for key, _, state in found if state == State.SENDING}
        self._changed: dict[Key, Mapping[str, Any]] = {}
        self._follow_ups: list[FollowUp] = []
        self._chain = Chain()

    def change(self, key: Key, what: ChangeRecord, change: Change, follow_up: FollowUp | None = None) -> bool:
        """Change one of the borrowers, once; False where nothing changes, and ``follow_up`` is left out."""
        row = self._rows[key]
        values = change(row)
        if values is None:
            return False
        tenant, borrower_id = key
        subject = borrower_subject(tenant, borrower_id)
        # With what holds from now on, so that what was known at any past instant can be read from the events alone.
        detail = {**(what.detail or {}), AFTER: values}
        event = Event(tenant, subject, borrower_id, self._now, what.kind, what.actor, reason=what.reason, detail=detail)
        head = self._chain.append(row.event_hash, event)
        self._changed[key] = {**values, "version": row.version + 1, "event_hash": head}
        self._follow_ups += [follow_up] if follow_up is not None else []
        return True

    def write(self, *further: Statement) -> None:
        """Write what was changed, and ``further`` statements with it; have what waits for the borrowers decided anew.

        All that waits is one unit of work: locks taken in two goes would be out of order.
        """
        waiting = [(delivery_id, state) for key, delivery_id, state in self._waiting if key in self._changed]
        ids = {delivery_id for delivery_id, _ in waiting} | {each.delivery_id for each in self._follow_ups}
        if not ids:
            execute_pipelined(self._connection, [*self._updates(), *self._chain.statements(self._connection), *further])
            return
        page = UnitOfWork.of_deliveries(self._connection, ids, self._rules, self._chain)
        for delivery_id, state in waiting:
            # It may be permitted now, or be suppressed for good.
            if state == State.REVIEW and page.deliveries[delivery_id].state is State.REVIEW:
                page.apply(Transition(delivery_id, "looked_at_again", self._now, to=State.ACCEPTED, due_at=self._now))
        for each in self._follow_ups:
            each.apply(page)
        page.write(*self._updates(), *further)
        if these := [delivery_id for delivery_id, state in waiting if state == State.DEFERRED]:
            deferred = and_(deliveries.c.state == State.DEFERRED, deliveries.c.lease_until.is_(None))
            self._connection.execute(
                update(deliveries).where(deliveries.c.id.in_(these), deferred).values(due_at=self._now)
            )

    def _updates(self) -> list[Statement]:
        """One statement for all, with every column that one of them changes."""
        names = sorted({name for values in self._changed.values() for name in values})
        rows = [
            {
                "tenant": key[0],
                "id": key[1],
                **{name: values.get(name, getattr(self._rows[key], name)) for name in names},
            }
            for key, values in sorted(self._changed.items())
        ]
        return updating(self._connection, borrowers, ("tenant", "id"), rows)


def change_borrower(
    connection: Connection,
    rules: RouteRules,
    key: Key,
    what: ChangeRecord,
    change: Change,
    now: datetime,
    *,
    decides: bool = True,
) -> bool:
    """Change the row of one borrower; False where nothing changes. ``decides`` as of ``BorrowerChanges``."""
    rows = execute_pipelined(connection, BorrowerChanges.statements(connection, [key], now, decides=decides))
    changes = BorrowerChanges(connection, rules, rows, now)
    changed = changes.change(key, what, change)
    if changed:
        changes.write()
    return changed


def cancel_pending(page: UnitOfWork, ids: Iterable[str], what: ChangeRecord, now: datetime) -> list[str]:
    """Cancel those of the page's deliveries that were not handed over yet; their ids. The caller writes the page."""
    cancelled = []
    for each in ids:
        if page.deliveries[each].state in PENDING_STATES:
            reason, detail = what.reason, what.detail or {}
            end = Transition(each, what.kind, now, to=State.CANCELLED, reason=reason, actor=what.actor, detail=detail)
            if page.apply(end):
                cancelled.append(each)
    return cancelled


async def wait_for_in_flight(database: Database, which: Any, clock: Clock) -> None:
    """Wait until no delivery of ``which`` that had started before a change is still being sent.

    From the change's commit on no further one can start. The wait is bounded by the provider's time-out,
    and by the lease of a worker that died.
    """

    def in_flight(connection: Connection) -> bool:
        started = and_(deliveries.c.state == State.SENDING, deliveries.c.lease_until > clock())
        return connection.execute(select(deliveries.c.id).where(which, started).limit(1)).first() is not None

    while await database.read(in_flight):  # noqa: ASYNC110 – the change happens in another process
        await asyncio.sleep(_IN_FLIGHT_POLL_SECONDS)


def of_borrower(tenant: str, borrower_id: str) -> Any:
    """The condition for all deliveries of a borrower."""
    return and_(deliveries.c.tenant == tenant, deliveries.c.borrower_id == borrower_id)
