"""The outbox: from events to messages, and from messages to what became of them.

Events are the truth. Each endpoint has a place in them; messages are written in the transaction that moves it on, so
that an event leads to one message for each endpoint that wants it, whichever worker dies. Nobody who writes events
knows of this: a tenant without endpoints costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update

from gateway.core.states import WebhookOutcome
from gateway.storage.database import Database
from gateway.storage.schema import deliveries, events, notifications, webhook_endpoints, webhook_messages
from gateway.storage.statements import StatementTemplate
from gateway.storage.tail import Tail
from gateway.webhooks.types import body_of, message_id, type_of

_EVENTS = 500  # looked at for one endpoint in one go; our choice
_LEASE = timedelta(seconds=60)  # a worker that dies with a message is waited for as long; six time-outs
_KEPT = timedelta(days=30)  # how long the log goes back; our choice

# Seconds to the next attempt, as Standard Webhooks suggests: some three days, ten times.
_WAITS = tuple(timedelta(seconds=each) for each in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
_JITTER = 0.2  # so that what failed together does not come back together
_LONGEST_REST = timedelta(minutes=5)  # of an endpoint that does not work, between two tries; our choice
_GONE = "gone"

# The endpoint does not work, whatever the message; a refusal may be about one message.
_RESTING = frozenset({WebhookOutcome.UNREACHABLE, WebhookOutcome.UNAVAILABLE, WebhookOutcome.FORBIDDEN})

_endpoints, _messages = webhook_endpoints.c, webhook_messages.c
_PLACES = StatementTemplate(lambda _: "SELECT id, cursor FROM webhook_endpoints WHERE disabled_at IS NULL")


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message that this worker is to deliver. ``secrets`` are the versions that sign it."""

    id: str
    endpoint_id: str
    url: str
    body: str
    attempts: int
    secret_versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of one attempt. ``status`` is None where there was no answer."""

    message: WebhookMessage
    outcome: WebhookOutcome
    status: int | None = None
    retry_after: float = 0.0


class WebhookOutbox:
    """Collects, leases and records. Any number of workers on one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tail = Tail()

    async def collect(self, now: datetime) -> int | None:
        """Write the messages that new events lead to; how many events were looked at. None: nobody wants to be told."""
        places = await self._database.query(_PLACES.of)
        if not places:
            return None
        safe = await self._database.read(self._tail.safe)
        ids = [endpoint for endpoint, cursor in places if cursor < safe]
        if not ids:
            return 0
        return await self._database.write(
            lambda connection: sum(_collect(connection, each, safe, now) for each in _locked(connection, ids))
        )

    async def claim(self, now: datetime, most: int) -> list[WebhookMessage]:
        """Lease messages that are due: of one notification the earliest, and the next when that has arrived."""
        return await self._database.write(lambda connection: _claim(connection, now, most))

    async def record(self, told: Sequence[DeliveryResult], now: datetime) -> None:
        """Write what came of the attempts, and when the next ones are."""
        if told:
            await self._database.write(lambda connection: _record(connection, told, now))

    async def waiting(self, now: datetime) -> tuple[int, float]:
        """How many messages wait, and for how many seconds the oldest has."""
        query = (
            select(func.count(), func.min(_messages.created_at))
            .join(webhook_endpoints, _endpoints.id == _messages.endpoint_id)
            .where(_messages.state == "pending", _endpoints.disabled_at.is_(None))
        )
        row = await self._database.read(lambda connection: connection.execute(query).one())
        return row[0], 0.0 if row[1] is None else max(0.0, (now - row[1]).total_seconds())

    async def forget(self, now: datetime) -> None:
        """Remove what has been settled for long."""
        old = and_(_messages.created_at < now - _KEPT, _messages.state != "pending")
        await self._database.write(lambda connection: connection.execute(delete(webhook_messages).where(old)))


def _locked(connection: Connection, ids: Sequence[str]) -> Sequence[Any]:
    """The endpoints that no other worker is collecting for."""
    query = select(webhook_endpoints).where(_endpoints.id.in_(ids), _endpoints.disabled_at.is_(None))
    return connection.execute(query.order_by(_endpoints.id).with_for_update(skip_locked=True)).all()


def _collect(connection: Connection, endpoint: Any, safe: int, now: datetime) -> int:
    found = connection.execute(_events_after(endpoint, safe)).all()
    wanted = set(endpoint.types.split())
    rows: list[dict[str, Any]] = []
    for event in found:
        kind = type_of(event)
        if kind is None or (wanted and kind not in wanted):
            continue
        sequence = endpoint.sequence + len(rows) + 1
        rows.append(
            {
                "id": message_id(endpoint.id, event.hash),
                "endpoint_id": endpoint.id,
                "sequence": sequence,
                "subject": event.subject,
                "type": kind,
                "body": body_of(event, kind, sequence),
                "created_at": now,
                "due_at": now,
            }
        )
    if rows:
        connection.execute(insert(webhook_messages), rows)
    cursor = found[-1].seq if len(found) == _EVENTS else safe
    moved = {"cursor": cursor, "sequence": endpoint.sequence + len(rows)}
    connection.execute(update(webhook_endpoints).where(_endpoints.id == endpoint.id).values(**moved))
    return len(found)


def _events_after(endpoint: Any, safe: int) -> Any:
    """The tenant's next events, each with what its delivery's event before it said."""
    before = events.alias("before")
    previous = (
        select(before.c.state)
        .where(before.c.subject == events.c.subject, before.c.seq < events.c.seq)
        .where(before.c.delivery_id == events.c.delivery_id)
        .order_by(before.c.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(
            events, deliveries.c.channel, notifications.c.case_id, func.coalesce(previous, "").label("previous_state")
        )
        .join(deliveries, deliveries.c.id == events.c.delivery_id, isouter=True)
        .join(notifications, notifications.c.id == events.c.subject, isouter=True)
        .where(events.c.tenant == endpoint.tenant, events.c.seq > endpoint.cursor, events.c.seq <= safe)
        .order_by(events.c.seq)
        .limit(_EVENTS)
    )


def _claim(connection: Connection, now: datetime, most: int) -> list[WebhookMessage]:
    earlier = webhook_messages.alias("earlier")
    blocked = (
        select(earlier.c.id)
        .where(earlier.c.endpoint_id == _messages.endpoint_id, earlier.c.subject == _messages.subject)
        .where(earlier.c.sequence < _messages.sequence, earlier.c.state == "pending")
        .exists()
    )
    free = (
        select(_messages.id)
        .join(webhook_endpoints, _endpoints.id == _messages.endpoint_id)
        .where(_messages.state == "pending", _messages.due_at <= now, ~blocked)
        .where(_endpoints.disabled_at.is_(None), or_(_endpoints.rests_until.is_(None), _endpoints.rests_until <= now))
        .order_by(_messages.due_at, _messages.sequence)
        .limit(most)
        .with_for_update(of=webhook_messages, skip_locked=True)
    )
    ids = list(connection.execute(free).scalars())
    if not ids:
        return []
    leased = {"attempts": _messages.attempts + 1, "due_at": now + _LEASE, "attempted_at": now}
    connection.execute(update(webhook_messages).where(_messages.id.in_(ids)).values(**leased))
    rows = connection.execute(
        select(webhook_messages, _endpoints.url, _endpoints.secret_version, _endpoints.previous_until)
        .join(webhook_endpoints, _endpoints.id == _messages.endpoint_id)
        .where(_messages.id.in_(ids))
        .order_by(_messages.endpoint_id, _messages.sequence)
    )
    return [
        WebhookMessage(row.id, row.endpoint_id, row.url, row.body, row.attempts, _versions(row, now)) for row in rows
    ]


def _versions(row: Any, now: datetime) -> tuple[int, ...]:
    both = row.previous_until is not None and now < row.previous_until
    return (row.secret_version, row.secret_version - 1) if both else (row.secret_version,)


def _record(connection: Connection, told: Sequence[DeliveryResult], now: datetime) -> None:
    names = ("state", "due_at", "status", "outcome")
    connection.execute(
        update(webhook_messages)
        .where(_messages.id == bindparam("key"), _messages.attempts == bindparam("key_attempts"))
        .values({name: bindparam(f"v_{name}") for name in names}),
        [
            {
                "key": each.message.id,
                "key_attempts": each.message.attempts,
                **{f"v_{name}": value for name, value in zip(names, _after(each, now), strict=True)},
            }
            for each in told
        ],
    )
    for endpoint_id in sorted({each.message.endpoint_id for each in told}):
        _record_endpoint(
            connection, endpoint_id, [each for each in told if each.message.endpoint_id == endpoint_id], now
        )


def _after(told: DeliveryResult, now: datetime) -> tuple[str, datetime | None, int | None, str]:
    if told.outcome is WebhookOutcome.DELIVERED:
        return "delivered", None, told.status, told.outcome
    if told.outcome is not WebhookOutcome.GONE and told.message.attempts > len(_WAITS):
        return "failed", None, told.status, told.outcome
    wait = _WAITS[min(told.message.attempts, len(_WAITS)) - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    return "pending", now + max(wait, timedelta(seconds=told.retry_after)), told.status, told.outcome


def _record_endpoint(connection: Connection, endpoint_id: str, told: Sequence[DeliveryResult], now: datetime) -> None:
    outcomes = {each.outcome for each in told}
    this = update(webhook_endpoints).where(_endpoints.id == endpoint_id)
    if WebhookOutcome.GONE in outcomes:
        connection.execute(this.values(disabled_at=now, disabled_reason=_GONE))
    elif outcomes <= _RESTING:
        failures = connection.execute(select(_endpoints.failures).where(_endpoints.id == endpoint_id)).scalar() or 0
        rest = min(timedelta(seconds=2 ** min(failures, 10)), _LONGEST_REST)
        connection.execute(this.values(failures=failures + 1, rests_until=now + rest))
    else:
        connection.execute(this.where(_endpoints.failures > 0).values(failures=0, rests_until=None))
