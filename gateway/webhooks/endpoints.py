"""Webhook endpoints of each tenant: create, list, delete, rotate the secret, enable, delivery log and replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, literal_column, select, update

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.notifications import new_id
from gateway.storage.database import Database
from gateway.storage.tables.path import events
from gateway.storage.tables.webhooks import webhook_endpoints, webhook_messages

_OVERLAP = timedelta(hours=24)  # the previous secret also signs for this long; our choice: a working day to change it

_endpoints, _messages = webhook_endpoints.c, webhook_messages.c


@dataclass(frozen=True, slots=True)
class WaitingMessages:
    """The messages of one endpoint that wait for delivery: how many, since when, and how many failures in a row."""

    endpoint_id: str
    number: int
    since: datetime
    failures: int

    def oldest_seconds(self, now: datetime) -> float:
        return max(0.0, (now - self.since).total_seconds())


class WebhookEndpoints:
    """The endpoints of one tenant at a time.

    ``secret`` derives the secret of an endpoint's id, its version and that of the digest key, which is
    ``key_version`` for what is made from now on.
    """

    def __init__(
        self, database: Database, secret: Callable[[str, int, int], str], clock: Clock, key_version: int = 1
    ) -> None:
        self._database = database
        self._key_version = key_version
        self._secret = secret
        self._clock = clock

    async def create(self, tenant: str, url: str, types: Sequence[str]) -> dict[str, Any]:
        """Create an endpoint that gets the events from now on; with its secret."""
        now = self._clock()
        row = {
            "id": new_id("whe", now),
            "tenant": tenant,
            "url": url,
            "types": " ".join(types),
            "created_at": now,
            "key_version": self._key_version,
        }

        def write(connection: Connection) -> Any:
            newest = connection.execute(select(func.coalesce(func.max(events.c.seq), 0))).scalar_one()
            made = insert(webhook_endpoints).values(**row, cursor=newest).returning(webhook_endpoints)
            return connection.execute(made).one()

        return self._with_secret(await self._database.write(write))

    async def listed(self, tenant: str) -> list[dict[str, Any]]:
        """All endpoints, oldest first, without their secrets."""
        query = select(webhook_endpoints).where(_endpoints.tenant == tenant).order_by(_endpoints.id)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_view(row) for row in rows]

    async def find(self, tenant: str, endpoint_id: str) -> dict[str, Any] | None:
        """One endpoint, without its secret; None if the tenant has no such endpoint."""
        query = select(webhook_endpoints).where(self._mine(tenant, endpoint_id))
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else _view(row)

    async def delete(self, tenant: str, endpoint_id: str) -> bool:
        """Delete an endpoint and its messages; whether there was one."""

        def write(connection: Connection) -> bool:
            gone = connection.execute(delete(webhook_endpoints).where(self._mine(tenant, endpoint_id))).rowcount
            if gone:
                connection.execute(delete(webhook_messages).where(_messages.endpoint_id == endpoint_id))
            return bool(gone)

        return await self._database.write(write)

    async def rotate(self, tenant: str, endpoint_id: str) -> dict[str, Any] | None:
        """Rotate the secret; the previous one also signs for a day. None if there is no such endpoint."""
        values = {
            "secret_version": _endpoints.secret_version + 1,
            "previous_until": self._clock() + _OVERLAP,
            "previous_key_version": _endpoints.key_version,
            "key_version": self._key_version,
        }
        row = await self._changed(tenant, endpoint_id, values)
        return None if row is None else self._with_secret(row)

    async def enable(self, tenant: str, endpoint_id: str) -> dict[str, Any] | None:
        """Enable an endpoint that was disabled by status 410; it also gets the messages that it missed."""
        row = await self._changed(
            tenant, endpoint_id, {"disabled_at": None, "disabled_reason": "", "failures": 0, "rests_until": None}
        )
        return None if row is None else _view(row)

    async def log(
        self, tenant: str, endpoint_id: str, state: str | None, limit: int, before: int | None
    ) -> list[dict[str, Any]]:
        """The delivery log, latest first, below the sequence number ``before``."""
        query = (
            select(webhook_messages)
            .join(webhook_endpoints, _endpoints.id == _messages.endpoint_id)
            .where(self._mine(tenant, endpoint_id))
        )
        if state is not None:
            query = query.where(_messages.state == state)
        if before is not None:
            query = query.where(_messages.sequence < before)
        query = query.order_by(_messages.sequence.desc()).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_logged(row) for row in rows]

    async def waiting(self, tenant: str | None) -> list[WaitingMessages]:
        """What waits for each enabled endpoint of a tenant, or (None) of all; those without are left out."""
        number, since = func.count(), func.min(_messages.created_at)
        query = (
            select(_endpoints.id, number, since, _endpoints.failures)
            .join(webhook_messages, _endpoints.id == _messages.endpoint_id)
            .where(_messages.state == literal_column("'pending'"), _endpoints.disabled_at.is_(None))
            .group_by(_endpoints.id, _endpoints.failures)
        )
        if tenant is not None:
            query = query.where(_endpoints.tenant == tenant)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [WaitingMessages(*row) for row in rows]

    async def message(self, endpoint_id: str, message_id: str) -> dict[str, Any] | None:
        """One message of the delivery log; None if it is gone, as it goes with its endpoint."""
        query = select(webhook_messages).where(_messages.endpoint_id == endpoint_id, _messages.id == message_id)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else _logged(row)

    async def replay(
        self, tenant: str, endpoint_id: str, *, ids: Sequence[str] = (), since: datetime | None = None, failed: bool
    ) -> int | None:
        """Send messages again: these, or those since then; with ``failed`` only undelivered ones. How many; or None."""
        now = self._clock()
        chosen = [_messages.endpoint_id == endpoint_id]
        if ids:
            chosen.append(_messages.id.in_(list(ids)))
        if since is not None:
            chosen.append(_messages.created_at >= since)
        if failed:
            chosen.append(_messages.state != "delivered")
        again = update(webhook_messages).where(*chosen).values(state="pending", attempts=0, due_at=now)

        def write(connection: Connection) -> int | None:
            mine = select(_endpoints.id).where(self._mine(tenant, endpoint_id))
            if connection.execute(mine).first() is None:
                return None
            return connection.execute(again).rowcount

        return await self._database.write(write)

    async def _changed(self, tenant: str, endpoint_id: str, values: dict[str, Any]) -> Any:
        change = update(webhook_endpoints).where(self._mine(tenant, endpoint_id)).values(**values)
        return await self._database.write(
            lambda connection: connection.execute(change.returning(webhook_endpoints)).first()
        )

    def _with_secret(self, row: Any) -> dict[str, Any]:
        return {**_view(row), "secret": self._secret(row.id, row.secret_version, row.key_version)}

    @staticmethod
    def _mine(tenant: str, endpoint_id: str) -> Any:
        return and_(_endpoints.tenant == tenant, _endpoints.id == endpoint_id)


def _view(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "types": row.types.split(),
        "created_at": instant(row.created_at),
        "disabled_at": instant(row.disabled_at),
        "disabled_reason": row.disabled_reason or None,
        "previous_secret_until": instant(row.previous_until),
        "last_sequence": row.sequence,
    }


def _logged(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "sequence": row.sequence,
        "type": row.type,
        "state": row.state,
        "attempts": row.attempts,
        "created_at": instant(row.created_at),
        "attempted_at": instant(row.attempted_at),
        "outcome": row.outcome or None,
        "status": row.status,
        "next_attempt_at": instant(row.due_at) if row.state == "pending" else None,
        "body": row.body,
    }
