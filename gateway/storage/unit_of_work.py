"""The unit of work: the locked rows of a batch, the transitions made on them, and their writing in one round trip.

This is the only place that writes a delivery's state. What a transition means is decided by the route rules that it
is given (gateway/stages/route_rules.py). Row locks are taken in one order everywhere (dedup claims, borrowers,
notifications, deliveries, each by id), so that two batches can wait for each other but never deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.core.deliveries import Delivery, Transition
from gateway.core.notifications import Notification
from gateway.core.routes import Route, RouteRules
from gateway.core.states import State
from gateway.storage.bulk import inserting, updating
from gateway.storage.events import Chain, Event
from gateway.storage.rows import DELIVERY, MUTABLE, NOTIFICATION, delivery_of, notification_of, values_of
from gateway.storage.statements import Dialect, Rows, Statement, StatementTemplate, execute_pipelined
from gateway.storage.tables.columns import instant_of
from gateway.storage.tables.path import deliveries, notifications

# The columns of a notification that can change; the others follow them in a row.
_STANDING = ("id", "state", "reason", "defer_until", "step", "stopped", "event_hash")


def _notifications(columns: Sequence[str], which: Callable[[Dialect], str]) -> StatementTemplate:
    listed = ", ".join(columns)
    return StatementTemplate(
        lambda sql: f"SELECT {listed} FROM notifications WHERE {which(sql)} ORDER BY id {sql.lock()}"
    )


def _owning(column: str) -> Callable[[Dialect], str]:
    """Of the notifications that own the deliveries ``ids``."""
    return lambda sql: f"{column} IN (SELECT notification_id FROM deliveries WHERE {sql.among('id', 'ids')})"


_OWNERS = _notifications((*_STANDING, *NOTIFICATION), _owning("id"))
_KNOWN_OWNERS = _notifications(_STANDING, _owning("id"))
_THESE = _notifications((*_STANDING, *NOTIFICATION), lambda sql: sql.among("id", "ids"))
_STEPS = StatementTemplate(
    lambda sql: (
        f"SELECT {', '.join(DELIVERY)} FROM deliveries WHERE {_owning('notification_id')(sql)} ORDER BY id {sql.lock()}"
    )
)
_STEPS_OF_THESE = StatementTemplate(
    lambda sql: (
        f"SELECT {', '.join(DELIVERY)} FROM deliveries WHERE {sql.among('notification_id', 'ids')}"
        f" ORDER BY id {sql.lock()}"
    )
)


# As many receipts are remembered for a delivery. Our choice: providers report some five states, some with codes.
_MOST_MARKS = 50


class LockedNotification:
    """A locked notification row with its deliveries: the route as it stands, and the head of its event chain."""

    def __init__(self, row: Sequence[Any], known: Notification | None, steps: Mapping[int, Delivery]) -> None:
        _, state, reason, defer_until, step, stopped, self.head = row[: len(_STANDING)]
        self.route = Route(
            notification=known or notification_of(row[len(_STANDING) :]),
            deliveries=steps,
            step=step,
            stopped=stopped,
            state=State(state),
            reason=reason,
            defer_until=None if defer_until is None else instant_of(defer_until),
        )


class UnitOfWork:
    """The locked rows of some notifications and of all their deliveries, with what was changed of them."""

    def __init__(
        self,
        connection: Connection,
        rows: Sequence[Rows],
        rules: RouteRules,
        known: Mapping[str, Notification],
        chain: Chain | None = None,
    ) -> None:
        """``rows`` are the answers to ``statements``; ``known`` are the notifications that the caller has already.

        ``chain`` has other subjects' events, which are written before those of the notifications.
        """
        self._connection = connection
        self._rules = rules
        self._chain = chain if chain is not None else Chain()
        self._new: list[str] = []
        self._changed: set[str] = set()
        self._touched: set[str] = set()
        self._now: datetime | None = None
        self.opened: list[str] = []  # deliveries that became due by the transitions made here
        owners, found = rows
        self.deliveries = {row[0]: delivery_of(row) for row in found}
        steps: dict[str, dict[int, Delivery]] = {row[0]: {} for row in owners}
        for delivery in self.deliveries.values():
            steps[delivery.notification_id][delivery.step] = delivery
        self.notifications = {row[0]: LockedNotification(row, known.get(row[0]), steps[row[0]]) for row in owners}

    @staticmethod
    def statements(connection: Connection, delivery_ids: Iterable[str], *, known: bool = False) -> list[Statement]:
        """The statements that lock the notifications of these deliveries; ``known``: the caller has their values."""
        ids = sorted(set(delivery_ids))
        return [(_KNOWN_OWNERS if known else _OWNERS).of(connection, ids=ids), _STEPS.of(connection, ids=ids)]

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
        ids = sorted(set(notification_ids))
        rows = execute_pipelined(connection, [_THESE.of(connection, ids=ids), _STEPS_OF_THESE.of(connection, ids=ids)])
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

    def mark(self, delivery_id: str, receipt: str) -> bool:
        """Note in the delivery's row that a receipt was taken. False: it was taken before.

        A delivery that is not here can't be marked, and its receipts are all taken as new.
        """
        delivery = self.deliveries.get(delivery_id)
        if delivery is None:
            return True
        marks = delivery.receipts.split()
        if receipt in marks:
            return False
        owner = self.owner(delivery_id)
        marked = replace(delivery, receipts=" ".join([*marks, receipt][-_MOST_MARKS:]))
        self._take_over(owner, replace(owner.route, deliveries={**owner.route.deliveries, delivery.step: marked}))
        return True

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
            elif delivery is not before[step]:
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

    def write(self, *further: Statement) -> None:
        """Write everything that changed, and ``further`` statements with it, in one round trip."""
        execute_pipelined(self._connection, [*self._writes(), *further])

    def _writes(self) -> list[Statement]:
        """At most four statements, however large the batch."""
        changed = [self._delivery_values(key) for key in sorted(self._changed - set(self._new))]
        touched = [self._notification_values(key) for key in sorted(self._touched)]
        return [
            *inserting(self._connection, deliveries, [self._insertable(key) for key in self._new]),
            *updating(self._connection, deliveries, ("id",), changed),
            *updating(self._connection, notifications, ("id",), touched),
            *self._chain.statements(self._connection),
        ]

    def _insertable(self, key: str) -> dict[str, Any]:
        owner = self.owner(key).route.notification
        return {
            **values_of(self.deliveries[key]),
            "tenant": owner.tenant,
            "borrower_id": owner.borrower.id,
            "case_id": owner.case.id,
        }

    def _delivery_values(self, key: str) -> dict[str, Any]:
        return {"id": key, **values_of(self.deliveries[key], MUTABLE)}

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
        }
