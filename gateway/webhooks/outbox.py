"""Transactional outbox of webhook messages: collect them from events, lease them to workers, record the results.

Events are the source of truth. Each endpoint has a cursor into them; its messages are inserted in the transaction that
advances the cursor, so each event gives exactly one message per subscribed endpoint, whichever worker dies. Delivery is
at-least-once, with backoff, and in order for each notification. Code that writes events does not know of webhooks: a
tenant without endpoints costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, or_, select, update

from gateway.core.notifications import new_id
from gateway.core.states import WebhookOutcome
from gateway.storage.database import Database
from gateway.storage.statements import StatementTemplate
from gateway.storage.tables.path import deliveries, events, notifications
from gateway.storage.tables.webhooks import webhook_endpoints, webhook_messages
from gateway.storage.tail import Tail
from gateway.webhooks.types import TEST, body_of, message_id, test_body, type_of

_EVENTS = 500  # read for one endpoint in one transaction; our choice
_LEASE = timedelta(seconds=60)  # after which a dead worker's messages are sent by another; six time-outs, our choice
_RETENTION = timedelta(days=30)  # of the delivery log; our choice

# Backoff: seconds to the next attempt, as Standard Webhooks suggests: ten attempts in some three days.
_BACKOFF = tuple(timedelta(seconds=each) for each in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
_JITTER = 0.2  # spreads the retries of messages that failed together
_MAX_COOLDOWN = timedelta(minutes=5)  # of a failing endpoint, between two attempts; our choice
_GONE = "gone"

# The endpoint fails for every message; REFUSED may be about one message only.
_ENDPOINT_FAILURES = frozenset({WebhookOutcome.UNREACHABLE, WebhookOutcome.UNAVAILABLE, WebhookOutcome.FORBIDDEN})

_endpoints, _messages = webhook_endpoints.c, webhook_messages.c
_CURSORS = StatementTemplate(lambda _: "SELECT id, cursor FROM webhook_endpoints WHERE disabled_at IS NULL")


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message leased to this worker.

    ``secret_versions`` are the versions of the secret that sign it, each with that of the digest key it comes from.
    """

    id: str
    endpoint_id: str
    url: str
    body: str
    attempts: int
    secret_versions: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """Result of one delivery attempt. ``status`` is None without a response; ``retry_after`` is in seconds."""

    message: WebhookMessage
    outcome: WebhookOutcome
    status: int | None = None
    retry_after: float = 0.0


class WebhookOutbox:
    """The outbox of all tenants. Safe with any number of workers on one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tail = Tail()

    async def collect(self, now: datetime) -> int | None:
        """Insert the messages for new events; how many events were read. None: there are no endpoints."""
        cursors = await self._database.query(_CURSORS.of)
        if not cursors:
            return None
        safe = await self._database.read(self._tail.safe)
        ids = [endpoint for endpoint, cursor in cursors if cursor < safe]
        if not ids:
            return 0
        return await self._database.write(
            lambda connection: sum(_collect(connection, each, safe, now) for each in _locked(connection, ids))
        )

    async def endpoints_due(self, now: datetime, busy: Collection[str], most: int) -> list[str]:
        """Ids of at most ``most`` endpoints that have messages to deliver now, without those in ``busy``.

        Endpoints whose last attempt failed come last, and otherwise the order is random: no endpoint can keep another
        one out when there are more than ``most``.
        """
        waiting = select(_messages.id).where(_messages.endpoint_id == _endpoints.id, _due(now)).exists()
        query = (
            select(_endpoints.id)
            .where(_callable(now), _endpoints.id.not_in(list(busy)), waiting)
            .order_by(_endpoints.failures > 0, func.random())
            .limit(most)
        )
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))

    async def claim(self, endpoint_id: str, now: datetime, most: int) -> list[WebhookMessage]:
        """Lease due messages of one endpoint, at most ``most``; of one notification only the earliest undelivered one.

        Of an endpoint whose last attempt failed one message is leased: it probes whether the endpoint works again.
        """
        return await self._database.write(lambda connection: _claim(connection, endpoint_id, now, most))

    async def record(self, results: Sequence[DeliveryResult], now: datetime) -> None:
        """Record the results of attempts, and schedule retries."""
        if results:
            await self._database.write(lambda connection: _record(connection, results, now))

    async def begin_test(self, tenant: str, endpoint_id: str, now: datetime) -> WebhookMessage | None:
        """Insert a test message, leased to the caller; None where the tenant has no such endpoint."""

        def write(connection: Connection) -> WebhookMessage | None:
            this = and_(_endpoints.tenant == tenant, _endpoints.id == endpoint_id)
            counted = update(webhook_endpoints).where(this).values(sequence=_endpoints.sequence + 1)
            endpoint = connection.execute(counted.returning(webhook_endpoints)).first()
            if endpoint is None:
                return None
            identifier, body = new_id("msg", now), test_body(endpoint_id, endpoint.sequence, now)
            row = {"id": identifier, "endpoint_id": endpoint_id, "subject": identifier, "type": TEST, "body": body}
            times = {"created_at": now, "attempted_at": now, "due_at": now + _LEASE}
            connection.execute(insert(webhook_messages).values(**row, **times, sequence=endpoint.sequence, attempts=1))
            return WebhookMessage(identifier, endpoint_id, endpoint.url, body, 1, _versions(endpoint, now))

        return await self._database.write(write)

    async def end_test(self, result: DeliveryResult) -> None:
        """Record the result of a test message, which is not retried."""
        state = "delivered" if result.outcome is WebhookOutcome.DELIVERED else "failed"
        ended = update(webhook_messages).where(_messages.id == result.message.id, _messages.attempts == 1)
        values = {"state": state, "due_at": None, "status": result.status, "outcome": result.outcome}
        await self._database.write(lambda connection: connection.execute(ended.values(**values)))

    async def waiting(self, now: datetime) -> tuple[int, float]:
        """How many messages wait, and the age of the oldest in seconds."""
        query = (
            select(func.count(), func.min(_messages.created_at))
            .join(webhook_endpoints, _endpoints.id == _messages.endpoint_id)
            .where(_messages.state == "pending", _endpoints.disabled_at.is_(None))
        )
        row = await self._database.read(lambda connection: connection.execute(query).one())
        return row[0], 0.0 if row[1] is None else max(0.0, (now - row[1]).total_seconds())

    async def delete_old(self, now: datetime) -> None:
        """Delete settled messages that are older than the delivery log's retention."""
        old = and_(_messages.created_at < now - _RETENTION, _messages.state != "pending")
        await self._database.write(lambda connection: connection.execute(delete(webhook_messages).where(old)))


def _locked(connection: Connection, ids: Sequence[str]) -> Sequence[Any]:
    """Lock the endpoints that no other worker is collecting for (SKIP LOCKED)."""
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
    """The tenant's next events, each with the state in its delivery's previous event."""
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


def _callable(now: datetime) -> ColumnElement[bool]:
    """The endpoint is enabled and not in a pause after failures."""
    return and_(_endpoints.disabled_at.is_(None), or_(_endpoints.rests_until.is_(None), _endpoints.rests_until <= now))


def _due(now: datetime) -> ColumnElement[bool]:
    """The message is due, and no earlier one of the same subject is undelivered."""
    earlier = webhook_messages.alias("earlier")
    blocked = (
        select(earlier.c.id)
        .where(earlier.c.endpoint_id == _messages.endpoint_id, earlier.c.subject == _messages.subject)
        .where(earlier.c.sequence < _messages.sequence, earlier.c.state == "pending")
        .exists()
    )
    return and_(_messages.state == "pending", _messages.due_at <= now, ~blocked)


def _claim(connection: Connection, endpoint_id: str, now: datetime, most: int) -> list[WebhookMessage]:
    endpoint = connection.execute(select(webhook_endpoints).where(_endpoints.id == endpoint_id, _callable(now))).first()
    if endpoint is None:
        return []
    free = (
        select(_messages.id)
        .where(_messages.endpoint_id == endpoint_id, _due(now))
        .order_by(_messages.due_at, _messages.sequence)
        .limit(1 if endpoint.failures else most)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(free).scalars())
    if not ids:
        return []
    leased = {"attempts": _messages.attempts + 1, "due_at": now + _LEASE, "attempted_at": now}
    change = update(webhook_messages).where(_messages.id.in_(ids)).values(**leased).returning(webhook_messages)
    rows = sorted(connection.execute(change).all(), key=lambda row: row.sequence)
    versions = _versions(endpoint, now)
    return [WebhookMessage(row.id, endpoint_id, endpoint.url, row.body, row.attempts, versions) for row in rows]


def _versions(row: Any, now: datetime) -> tuple[tuple[int, int], ...]:
    newest, before = (row.secret_version, row.key_version), (row.secret_version - 1, row.previous_key_version)
    return (newest, before) if row.previous_until is not None and now < row.previous_until else (newest,)


def _record(connection: Connection, results: Sequence[DeliveryResult], now: datetime) -> None:
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
            for each in results
        ],
    )
    for endpoint_id in sorted({each.message.endpoint_id for each in results}):
        outcomes = {each.outcome for each in results if each.message.endpoint_id == endpoint_id}
        _record_endpoint(connection, endpoint_id, outcomes, now)


def _after(result: DeliveryResult, now: datetime) -> tuple[str, datetime | None, int | None, str]:
    if result.outcome is WebhookOutcome.DELIVERED:
        return "delivered", None, result.status, result.outcome
    if result.outcome is not WebhookOutcome.GONE and result.message.attempts > len(_BACKOFF):
        return "failed", None, result.status, result.outcome
    wait = _BACKOFF[min(result.message.attempts, len(_BACKOFF)) - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    return "pending", now + max(wait, timedelta(seconds=result.retry_after)), result.status, result.outcome


def _record_endpoint(
    connection: Connection, endpoint_id: str, outcomes: Collection[WebhookOutcome], now: datetime
) -> None:
    this = update(webhook_endpoints).where(_endpoints.id == endpoint_id)
    if WebhookOutcome.GONE in outcomes:
        connection.execute(this.values(disabled_at=now, disabled_reason=_GONE))
    elif _ENDPOINT_FAILURES.issuperset(outcomes):
        failures = connection.execute(select(_endpoints.failures).where(_endpoints.id == endpoint_id)).scalar() or 0
        rest = min(timedelta(seconds=2 ** min(failures, 10)), _MAX_COOLDOWN)
        connection.execute(this.values(failures=failures + 1, rests_until=now + rest))
    else:
        connection.execute(this.where(_endpoints.failures > 0).values(failures=0, rests_until=None))
