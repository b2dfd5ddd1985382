"""Rows of the busy tables as values: which columns are read, in which order, and the field that each one fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, and_, case, literal_column, select, type_coerce

from gateway.core.codec import notification_from
from gateway.core.deliveries import Delivery
from gateway.core.notifications import Notification
from gateway.core.states import State
from gateway.storage.packing.request_bodies import RequestBody, decompressed
from gateway.storage.tables.columns import Instant, instant_of
from gateway.storage.tables.path import deliveries, notifications, request_bodies

# States that have the index of ``attention``; on its usual way a message does not pass them. As migration 0021 has it.
_LOOKED_FOR = {
    "notifications": frozenset(State) - {State.ACCEPTED, State.SENDING, State.SENT, State.DELIVERED},
    "deliveries": frozenset({State.REVIEW, State.UNKNOWN, State.FAILED}),
}


def standing_in(table: Table, state: State) -> ColumnElement[bool]:
    """The condition for rows of ``notifications`` or ``deliveries`` in a state, by an index where there is one."""
    if state not in _LOOKED_FOR[table.name]:
        return and_(table.c.state == state)
    # A literal and not a parameter: only then do the planners use the partial index.
    return and_(table.c.attention == state, table.c.attention != literal_column("''"))


def attention_of(table: Table, state: State) -> str:
    """What ``attention`` has to be in a row of this state; a trigger sees to it where nobody else does."""
    return state if state in _LOOKED_FOR[table.name] else ""


class _Notification(NamedTuple):
    """The columns that a notification is made of."""

    id: str
    tenant: str
    idempotency_key: str
    dedup_key: str
    template: str
    template_version: str
    category: str
    accepted_at: datetime
    expires_at: datetime | None
    body: str


# Fields of a delivery whose columns have older names. The columns stay: during a rolling upgrade, processes of the last
# release work on the same schema.
_RENAMED = {"no_delivery_receipts": "failures_only", "deliberate_resends": "resent"}
_FIXED = frozenset({"id", "notification_id", "step", "channel", "address_digest", "created_at"})

# The body is in the row, or apart from it where an earlier version wrote it.
_BODY = (
    "CASE WHEN notifications.body = '' THEN"
    " (SELECT request_bodies.body FROM request_bodies WHERE request_bodies.notification_id = notifications.id)"
    " ELSE notifications.body END"
)
_STORED_BODY = case(
    (
        notifications.c.body == "",
        select(request_bodies.c.body).where(request_bodies.c.notification_id == notifications.c.id).scalar_subquery(),
    ),
    else_=notifications.c.body,
)
NOTIFICATION_BODY = type_coerce(_STORED_BODY, RequestBody).label("body")
# Everything of a notification, for ``select``.
WHOLE_NOTIFICATION = (*(each for each in notifications.c if each.name != "body"), NOTIFICATION_BODY)

NOTIFICATION = tuple(_BODY if name == "body" else f"notifications.{name}" for name in _Notification._fields)
_FIELDS = tuple((_RENAMED.get(field.name, field.name), field.name) for field in fields(Delivery))
DELIVERY = tuple(column for column, _ in _FIELDS)
MUTABLE = tuple((column, name) for column, name in _FIELDS if column not in _FIXED)

_STATE = DELIVERY.index("state")
_INSTANTS = tuple(at for at, name in enumerate(DELIVERY) if isinstance(deliveries.c[name].type, Instant))
_STATES = {state.value: state for state in State}


def notification_of(row: Sequence[Any]) -> Notification:
    """A row of the columns ``NOTIFICATION``."""
    read = _Notification._make(row)
    until = None if row[-2] is None else instant_of(row[-2])
    body = decompressed(read.body)
    return notification_from(read._replace(accepted_at=instant_of(row[-3]), expires_at=until, body=body))


def delivery_of(row: Sequence[Any]) -> Delivery:
    """A row of the columns ``DELIVERY``."""
    values = list(row)
    values[_STATE] = _STATES[values[_STATE]]
    for at in _INSTANTS:
        if values[at] is not None:
            values[at] = instant_of(values[at])
    return Delivery(*values)


def values_of(delivery: Delivery, names: Sequence[tuple[str, str]] = _FIELDS) -> dict[str, Any]:
    """A delivery's values by column, for a write: all of them, or those of ``MUTABLE``."""
    return {column: getattr(delivery, name) for column, name in names}
