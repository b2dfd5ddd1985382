"""A page of the ledger held open: the locked rows of a batch, the moves made on them, and their writing.

This is the only place where a delivery changes state. Locks are taken in one order everywhere (dedup claims, borrowers,
notifications, deliveries, each by id), so that two batches can wait for each other but never deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.core.model import PENDING_STATES, TRANSITIONS, EndReason, Notification, State, new_id
from gateway.core.ports import Delivery, Transition
from gateway.stages.settle import goal_reached
from gateway.storage.bulk import inserting, updating
from gateway.storage.events import Chain, Event
from gateway.storage.rows import DELIVERY, NOTIFICATION, delivery_of, notification_of
from gateway.storage.schema import deliveries, instant_of, notifications
from gateway.storage.statements import Dialect, Rows, Statement, StatementTemplate, execute_pipelined

Digest = Callable[[str, str, str], str]  # (tenant, channel, address) → keyed digest

_FIXED = ("id", "notification_id", "step", "channel", "address_digest", "created_at")
_MUTABLE = [name for name in Delivery.__dataclass_fields__ if name not in _FIXED]
# A message of which a provider says this has been handed over, whatever was believed of it before.
_REACHES = frozenset({State.SENT, State.DELIVERED})


def _keeps_reason(state: State, to: State | None) -> bool:
    """Whether a word without a reason leaves the earlier one standing: while it says the same, or bad after bad."""
    return to in (None, state) or {state, to} == {State.FAILED, State.UNDELIVERED}


# What of a notification can change, and the rest of it.
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


class LockedNotification:
    """A locked notification row with its deliveries by step."""

    def __init__(self, row: Sequence[Any], known: Notification | None) -> None:
        self.value: Notification = known or notification_of(row[len(_STANDING) :])
        _, state, self.reason, defer_until, self.step, self.stopped, self.head = row[: len(_STANDING)]
        self.state = State(state)
        self.defer_until: datetime | None = None if defer_until is None else instant_of(defer_until)
        self.steps: dict[int, Delivery] = {}

    def summarise(self) -> None:
        """The notification stands where its last step stands, unless some step has delivered."""
        done = next((each for each in self.steps.values() if each.state is State.DELIVERED), None)
        current = done or self.steps.get(self.step)
        if current is not None:
            self.state, self.reason = current.state, current.reason
            self.defer_until = current.due_at if current.state is State.DEFERRED else None


class UnitOfWork:
    """The locked rows of some notifications and of all their deliveries."""

    def __init__(
        self, connection: Connection, asked: Sequence[Rows], digest: Digest, known: Mapping[str, Notification]
    ) -> None:
        """``asked`` are the answers to ``ask``'s statements, with which ``known`` goes."""
        self._connection = connection
        self._digest = digest
        self._chain = Chain()
        self._new: list[str] = []
        self._changed: set[str] = set()
        self._touched: set[str] = set()
        self._now: datetime | None = None
        self.opened: list[str] = []  # deliveries that became due by what happened on this page
        rows, steps = asked
        self.notifications = {row[0]: LockedNotification(row, known.get(row[0])) for row in rows}
        self.deliveries = {row[0]: delivery_of(row) for row in steps}
        for delivery in self.deliveries.values():
            self.notifications[delivery.notification_id].steps[delivery.step] = delivery

    @staticmethod
    def statements(connection: Connection, delivery_ids: Iterable[str], *, known: bool = False) -> list[Statement]:
        """What to ask for a page of all notifications that own these deliveries; ``known``: the caller has them."""
        ids = sorted(set(delivery_ids))
        return [(_KNOWN_OWNERS if known else _OWNERS).of(connection, ids=ids), _STEPS.of(connection, ids=ids)]

    @classmethod
    def of_deliveries(cls, connection: Connection, delivery_ids: Iterable[str], digest: Digest) -> UnitOfWork:
        """The page of all notifications that own these deliveries."""
        return cls(connection, execute_pipelined(connection, cls.statements(connection, delivery_ids)), digest, {})

    @classmethod
    def of_notifications(cls, connection: Connection, notification_ids: Iterable[str], digest: Digest) -> UnitOfWork:
        """The page of these notifications."""
        ids = sorted(set(notification_ids))
        asked = execute_pipelined(connection, [_THESE.of(connection, ids=ids), _STEPS_OF_THESE.of(connection, ids=ids)])
        return cls(connection, asked, digest, {})

    def owner(self, delivery_id: str) -> LockedNotification:
        return self.notifications[self.deliveries[delivery_id].notification_id]

    def apply(self, move: Transition) -> bool:
        """Make one move. An illegal one changes nothing but is recorded; answers whether it was made."""
        delivery = self.deliveries[move.delivery_id]
        owner = self.owner(move.delivery_id)
        if move.fence not in (None, delivery.fence):
            return False
        self._now = move.at
        if move.to is not None and move.to not in TRANSITIONS[delivery.state]:
            self.record(owner, move, delivery, kind="ignored", detail={**move.detail, "to": move.to, "was": move.kind})
            return False
        changed = replace(
            delivery,
            state=move.to or delivery.state,
            reason=move.reason or (delivery.reason if _keeps_reason(delivery.state, move.to) else ""),
            due_at=move.due_at,
            lease_until=None,
            **move.changes,
        )
        if move.not_reached:
            changed = replace(changed, contacted_at=None)
        elif changed.state in _REACHES and changed.contacted_at is None:
            changed = replace(changed, contacted_at=move.at)  # an attempt that was taken for absent turned up
        if owner.stopped:
            changed = replace(changed, escalate_at=None)
        self._put(owner, changed)
        self.record(owner, move, changed)
        if move.next_step:
            self._open_next(owner, changed, move)
        self._close_later_steps(owner, changed, move)
        owner.summarise()
        return True

    def stop_route(self, owner: LockedNotification, reason: str, kind: str, at: datetime, actor: str) -> None:
        """Open no further step, whatever becomes of what was handed over; an event where that ends a wait."""
        owner.stopped = owner.stopped or reason
        self._now = at
        self._touched.add(owner.value.id)
        for each in [each for each in owner.steps.values() if each.escalate_at is not None]:
            self.apply(
                Transition(each.id, kind, at, actor=actor, changes={"escalate_at": None}, due_at=each.receipt_by)
            )

    def set(self, delivery: Delivery) -> None:
        """Replace a delivery without an event (a lease, an attempt's number)."""
        self._put(self.notifications[delivery.notification_id], delivery)
        self.notifications[delivery.notification_id].summarise()

    def _put(self, owner: LockedNotification, delivery: Delivery) -> None:
        self.deliveries[delivery.id] = delivery
        owner.steps[delivery.step] = delivery
        self._changed.add(delivery.id)
        self._touched.add(owner.value.id)

    def record(
        self,
        owner: LockedNotification,
        move: Transition,
        delivery: Delivery | None,
        *,
        kind: str = "",
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Append an event for ``move`` to the notification's chain."""
        zones = owner.value.borrower.time_zones
        owner.head = self._chain.append(
            owner.head,
            Event(
                tenant=owner.value.tenant,
                subject=owner.value.id,
                borrower_id=owner.value.borrower.id,
                delivery_id=delivery.id if delivery else None,
                at=move.at,
                kind=kind or move.kind,
                state=delivery.state if delivery else owner.state,
                reason=move.reason,
                actor=move.actor,
                zone=zones[0] if zones else "",
                detail=move.detail if detail is None else detail,
            ),
        )
        self._touched.add(owner.value.id)

    def _open_next(self, owner: LockedNotification, ended: Delivery, move: Transition) -> None:
        """Open the step after ``ended``, once: only the last opened step can be followed."""
        number = ended.step + 1
        if owner.step != ended.step or number >= len(owner.value.route) or owner.stopped:
            return
        if goal_reached(owner.value.route[ended.step].until, ended.state, read=ended.read_at is not None):
            return  # by a receipt that came after this move was decided
        step = owner.value.route[number]
        fresh = Delivery(
            id=new_id("dlv", move.at),
            notification_id=owner.value.id,
            step=number,
            channel=step.channel,
            address_digest=self._digest(owner.value.tenant, step.channel, owner.value.address(step.channel) or ""),
            state=State.ACCEPTED,
            due_at=move.at,
            created_at=move.at,
        )
        owner.step = number
        self._new.append(fresh.id)
        self.deliveries[fresh.id] = fresh
        owner.steps[number] = fresh
        self.opened.append(fresh.id)
        opened = Transition(fresh.id, "step_opened", move.at, detail={"channel": step.channel, "step": number})
        self.record(owner, opened, fresh)

    def _close_later_steps(self, owner: LockedNotification, delivery: Delivery, move: Transition) -> None:
        """When a step's goal is met late, what has not been handed over of later steps is not needed any more."""
        step = owner.value.route[delivery.step]
        if not goal_reached(step.until, delivery.state, read=delivery.read_at is not None):
            return
        for later in [each for each in owner.steps.values() if each.step > delivery.step]:
            if later.state in PENDING_STATES:
                self.apply(
                    Transition(later.id, "cancelled", move.at, to=State.CANCELLED, reason=EndReason.GOAL_REACHED)
                )

    def write(self, *further: Statement) -> None:
        """Write everything that changed, and ``further`` statements with it, in one round trip."""
        execute_pipelined(self._connection, [*self._writes(), *further])

    def _writes(self) -> list[Statement]:
        """At most four statements, however large the batch."""
        fresh = set(self._new)
        changed = [self._delivery_values(key) for key in sorted(self._changed - fresh)]
        touched = [self._notification_values(key) for key in sorted(self._touched)]
        return [
            *inserting(self._connection, deliveries, [self._insertable(key) for key in self._new]),
            *updating(self._connection, deliveries, ("id",), changed),
            *updating(self._connection, notifications, ("id",), touched),
            *self._chain.statements(self._connection),
        ]

    def _insertable(self, key: str) -> dict[str, Any]:
        owner = self.owner(key).value
        return {
            **asdict(self.deliveries[key]),
            "tenant": owner.tenant,
            "borrower_id": owner.borrower.id,
            "case_id": owner.case.id,
        }

    def _delivery_values(self, key: str) -> dict[str, Any]:
        delivery = self.deliveries[key]
        return {"id": key, **{name: getattr(delivery, name) for name in _MUTABLE}}

    def _notification_values(self, key: str) -> dict[str, Any]:
        owner = self.notifications[key]
        return {
            "id": key,
            "state": owner.state,
            "reason": owner.reason,
            "defer_until": owner.defer_until,
            "step": owner.step,
            "stopped": owner.stopped,
            "updated_at": self._now or owner.value.accepted_at,
            "event_hash": owner.head,
        }
