"""The unit of work: the rows of a batch, the transitions made on them, and their writing in one round trip.

This is the only place that writes a delivery's state. What a transition means is decided by the route rules that it
is given (gateway/stages/route_rules.py). Row locks are taken in one order everywhere (dedup claims, borrowers,
notifications, deliveries, each by id), so that two batches can wait for each other but never deadlock.

The busy paths on PostgreSQL read their rows without locking them, since each lock is a record in its log, and have
the write refused where one of them was changed meanwhile. The write then takes the locks, in the same order. Every
change of a route touches its notification's row, so that its version stands for all deliveries of the route; what
changes a delivery alone (claims, and when it is due) decides nothing about the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table

from gateway.core.deliveries import Delivery, Transition
from gateway.core.notifications import Notification
from gateway.core.routes import Route, RouteRules
from gateway.core.states import State
from gateway.storage.bulk import inserting, updating
from gateway.storage.events import Chain, Event
from gateway.storage.rows import DELIVERY, MUTABLE, NOTIFICATION, attention_of, delivery_of, notification_of, values_of
from gateway.storage.statements import (
    ROW_VERSION,
    Dialect,
    Rows,
    Statement,
    StatementTemplate,
    all_or_nothing,
    execute_pipelined,
)
from gateway.storage.tables.columns import instant_of
from gateway.storage.tables.path import deliveries, notifications

# The columns of a notification that can change; the others follow them in a row.
_STANDING = ("id", "state", "reason", "defer_until", "step", "stopped", "event_hash")


@dataclass(frozen=True, slots=True)
class _Reads:
    """The statements that read what a unit of work is made of, with the version of each row, and lock it or not."""

    owners: StatementTemplate
    known_owners: StatementTemplate  # of notifications that the caller has: only what can have changed of them
    notifications: StatementTemplate
    steps: StatementTemplate
    steps_of_notifications: StatementTemplate


def _rows(columns: Sequence[str], table: str, which: Callable[[Dialect], str], *, lock: bool) -> StatementTemplate:
    listed = ", ".join(columns)
    return StatementTemplate(
        lambda sql: (
            f"SELECT {listed}, {sql.version(table)} FROM {table} WHERE {which(sql)} ORDER BY id"
            f" {sql.lock() if lock else ''}"
        )
    )


def _owning(column: str) -> Callable[[Dialect], str]:
    """Of the notifications that own the deliveries ``ids``."""
    return lambda sql: f"{column} IN (SELECT notification_id FROM deliveries WHERE {sql.among('id', 'ids')})"


def _among(column: str) -> Callable[[Dialect], str]:
    return lambda sql: sql.among(column, "ids")


def _reads(*, lock: bool) -> _Reads:
    whole = (*_STANDING, *NOTIFICATION)
    return _Reads(
        owners=_rows(whole, "notifications", _owning("id"), lock=lock),
        known_owners=_rows(_STANDING, "notifications", _owning("id"), lock=lock),
        notifications=_rows(whole, "notifications", _among("id"), lock=lock),
        steps=_rows(DELIVERY, "deliveries", _owning("notification_id"), lock=lock),
        steps_of_notifications=_rows(DELIVERY, "deliveries", _among("notification_id"), lock=lock),
    )


_LOCKING, _READING = _reads(lock=True), _reads(lock=False)


# As many receipts are remembered for a delivery. Our choice: providers report some five states, some with codes.
_MOST_MARKS = 50


class LockedNotification:
    """A notification row with its deliveries: the route as it stands, and the head of its event chain."""

    def __init__(self, row: Sequence[Any], known: Notification | None, steps: Mapping[int, Delivery]) -> None:
        _, state, reason, defer_until, step, stopped, self.head = row[: len(_STANDING)]
        self.route = Route(
            notification=known or notification_of(row[len(_STANDING) : -1]),
            deliveries=steps,
            step=step,
            stopped=stopped,
            state=State(state),
            reason=reason,
            defer_until=None if defer_until is None else instant_of(defer_until),
        )


class UnitOfWork:
    """The rows of some notifications and of all their deliveries, with what was changed of them.

    The rows are locked, or (``lock`` False) only read. Then ``write`` changes them by one statement that is a
    transaction, and changes nothing and raises InvalidData where a row that it would change, or whose borrower it
    depends on, was changed since it was read.
    """

    def __init__(
        self,
        connection: Connection,
        rows: Sequence[Rows],
        rules: RouteRules,
        known: Mapping[str, Notification],
        chain: Chain | None = None,
        *,
        lock: bool = True,
    ) -> None:
        """``rows`` are the answers to ``statements``; ``known`` are the notifications that the caller has already.

        ``chain`` has other subjects' events, which are written before those of the notifications.
        """
        self._lock = lock
        self._connection = connection
        self._rules = rules
        self._chain = chain if chain is not None else Chain()
        self._new: list[str] = []
        self._changed: set[str] = set()
        self._touched: set[str] = set()
        self._marks: dict[str, list[str]] = {}  # by delivery
        self._now: datetime | None = None
        self.opened: list[str] = []  # deliveries that became due by the transitions made here
        owners, found = rows
        self._versions = {} if lock else {row[0]: row[-1] for rows in (owners, found) for row in rows}
        self.deliveries = {row[0]: delivery_of(row[:-1]) for row in found}
        steps: dict[str, dict[int, Delivery]] = {row[0]: {} for row in owners}
        for delivery in self.deliveries.values():
            steps[delivery.notification_id][delivery.step] = delivery
        self.notifications = {row[0]: LockedNotification(row, known.get(row[0]), steps[row[0]]) for row in owners}

    @staticmethod
    def statements(
        connection: Connection, delivery_ids: Iterable[str], *, known: bool = False, lock: bool = True
    ) -> list[Statement]:
        """The statements for the notifications of these deliveries; ``known``: the caller has their values."""
        reads, ids = _LOCKING if lock else _READING, sorted(set(delivery_ids))
        owners = reads.known_owners if known else reads.owners
        return [owners.of(connection, ids=ids), reads.steps.of(connection, ids=ids)]

    @classmethod
    def of_deliveries(
        cls, connection: Connection, delivery_ids: Iterable[str], rules: RouteRules, chain: Chain | None = None
    ) -> UnitOfWork:
        """The unit of work on all notifications that own these deliveries."""
        rows = execute_pipelined(connection, cls.statements(connection, delivery_ids))
        return cls(connection, rows, rules, {}, chain)

    @classmethod
    def of_notifications(cls, connection: Connection, notification_ids: Iterable[str], rules: RouteRules) -> UnitOfWork:
        """The unit of work on these notifications."""
        ids, reads = sorted(set(notification_ids)), (_LOCKING.notifications, _LOCKING.steps_of_notifications)
        rows = execute_pipelined(connection, [read.of(connection, ids=ids) for read in reads])
        return cls(connection, rows, rules, {})

    def owner(self, delivery_id: str) -> LockedNotification:
        """The notification that a delivery belongs to."""
        return self.notifications[self.deliveries[delivery_id].notification_id]

    def apply(self, transition: Transition) -> bool:
        """Make one transition, with what follows from it.

        False: it is illegal, which is recorded, or void, because the row carries a later claim's fencing token.
        """
        if transition.fence not in (None, self.deliveries[transition.delivery_id].fence):
            return False
        owner = self.owner(transition.delivery_id)
        change = self._rules.advance(owner.route, transition)
        self._now = transition.at
        self._take_over(owner, change.route)
        for each, delivery in change.events:
            self._record(owner, each, delivery)
        return change.legal

    def is_changed(self, delivery_id: str) -> bool:
        """Whether the delivery's row will be written."""
        return delivery_id in self._changed

    def mark(self, delivery_id: str, mark: str) -> None:
        """Note in the delivery's row that a receipt was taken."""
        delivery = self.deliveries[delivery_id]
        self._marks.setdefault(delivery_id, delivery.receipts.split()).append(mark)
        self._changed.add(delivery_id)
        self._touched.add(delivery.notification_id)

    def stop_route(self, owner: LockedNotification, reason: str, kind: str, at: datetime, actor: str) -> None:
        """Open no further step, whatever becomes of what was handed over; an event where that ends a wait."""
        owner.route = replace(owner.route, stopped=owner.route.stopped or reason)
        self._now = at
        self._touched.add(owner.route.notification.id)
        for transition in self._rules.stop(owner.route, kind, at, actor):
            self.apply(transition)

    def _take_over(self, owner: LockedNotification, route: Route) -> None:
        """Have the route in the place of the earlier one; its new and its changed deliveries are to be written."""
        before, owner.route = owner.route.deliveries, route
        self._touched.add(route.notification.id)
        for step, delivery in route.deliveries.items():
            if step not in before:
                self._new.append(delivery.id)
                self.opened.append(delivery.id)
            elif delivery != before[step]:
                self._changed.add(delivery.id)
            self.deliveries[delivery.id] = delivery

    def _record(self, owner: LockedNotification, transition: Transition, delivery: Delivery) -> None:
        """Append an event to the notification's chain."""
        if not transition.kind:
            return
        notification = owner.route.notification
        zones = notification.borrower.time_zones
        owner.head = self._chain.append(
            owner.head,
            Event(
                tenant=notification.tenant,
                subject=notification.id,
                borrower_id=notification.borrower.id,
                delivery_id=delivery.id,
                at=transition.at,
                kind=transition.kind,
                state=delivery.state,
                reason=transition.reason,
                actor=transition.actor,
                zone=zones[0] if zones else "",
                detail=transition.detail,
            ),
        )

    def write(self, *further: Statement, counted: Sequence[tuple[Statement, int]] = ()) -> None:
        """Write everything that changed, and ``further`` statements with it, in one round trip.

        ``counted`` are statements that return rows, each with how many they have to return. They come before the
        others: they take locks that are taken before those of notifications.
        """
        changed = [self._delivery_values(key) for key in sorted(self._changed - set(self._new))]
        touched = [self._notification_values(key) for key in sorted(self._touched)]
        new = inserting(self._connection, deliveries, [self._insertable(key) for key in self._new])
        rest = [*new, *self._chain.statements(self._connection), *further]
        if self._lock:
            updates = [
                *updating(self._connection, notifications, ("id",), touched),
                *updating(self._connection, deliveries, ("id",), changed),
            ]
            execute_pipelined(self._connection, [*(each for each, _ in counted), *updates, *rest])
            return
        unchanged = [
            *counted,
            *self._if_unchanged(notifications, touched),
            *self._if_unchanged(deliveries, changed),
        ]
        if unchanged:
            expected = [number for _, number in unchanged]
            rest = [all_or_nothing([*(each for each, _ in unchanged), *rest], expected)]
        execute_pipelined(self._connection, rest)

    def _if_unchanged(self, table: Table, rows: list[dict[str, Any]]) -> list[tuple[Statement, int]]:
        """The statement that updates these rows where nobody has since they were read; with how many they are."""
        given = [{ROW_VERSION: self._versions[row["id"]], **row} for row in rows]
        return [(each, len(rows)) for each in updating(self._connection, table, ("id", ROW_VERSION), given)]

    def _insertable(self, key: str) -> dict[str, Any]:
        owner = self.owner(key).route.notification
        return {
            **values_of(self.deliveries[key]),
            "tenant": owner.tenant,
            "borrower_id": owner.borrower.id,
            "case_id": owner.case.id,
        }

    def _delivery_values(self, key: str) -> dict[str, Any]:
        delivery = self.deliveries[key]
        values = {"id": key, **values_of(delivery, MUTABLE), "attention": attention_of(deliveries, delivery.state)}
        if marks := self._marks.get(key):
            values["receipts"] = " ".join(marks[-_MOST_MARKS:])
        return values

    def _notification_values(self, key: str) -> dict[str, Any]:
        owner = self.notifications[key]
        route = owner.route
        return {
            "id": key,
            "state": route.state,
            "reason": route.reason,
            "defer_until": route.defer_until,
            "step": route.step,
            "stopped": route.stopped,
            "updated_at": self._now or route.notification.accepted_at,
            "event_hash": owner.head,
            "attention": attention_of(notifications, route.state),
        }
