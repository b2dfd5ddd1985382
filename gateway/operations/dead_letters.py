"""Dead letters: notifications that failed, and that an operator may have tried again.

A notification whose last step failed never reached anybody, so trying again is safe; the policy decides anew, and a
later request with the same meaning stands in its way. What waits for review is no dead letter: see ``reviews``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from gateway.core.codec import instant
from gateway.core.model import EndReason, State
from gateway.core.ports import Clock, Delivery, Transition
from gateway.storage.database import Database
from gateway.storage.schema import dedup_claims, deliveries, notifications
from gateway.storage.unit_of_work import Digest, LockedNotification, UnitOfWork

_MOST = 1000  # at once; our choice: as many as a batch of requests


@dataclass(frozen=True, slots=True)
class Which:
    """Which dead letters: these ids (of notifications), or all with this reason, channel and template."""

    ids: Sequence[str] = ()
    reason: str = ""
    channel: str | None = None
    template: str = ""

    def conditions(self) -> list[Any]:
        found: list[Any] = [deliveries.c.state == State.FAILED]
        # The delivery at which the notification stands: an earlier failed step was followed by another.
        found.append(notifications.c.step == deliveries.c.step)
        found.append(notifications.c.state == deliveries.c.state)
        if self.ids:
            found.append(notifications.c.id.in_(self.ids))
        if self.reason:
            found.append(deliveries.c.reason == self.reason)
        if self.channel:
            found.append(deliveries.c.channel == self.channel)
        if self.template:
            found.append(notifications.c.template == self.template)
        return found


class DeadLetters:
    """What came to nothing, of one tenant at a time."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._digest = digest
        self._clock = clock

    async def listed(self, tenant: str, which: Which, limit: int, after: str = "") -> list[dict[str, Any]]:
        """In order of the notifications' ids, from after ``after``."""
        return await self._database.read(lambda connection: _rows(connection, tenant, which, limit, after))

    async def redrive(
        self, tenant: str, which: Which, reason: str, actor: str, *, dry_run: bool
    ) -> list[dict[str, Any]]:
        """Try up to a thousand again; each with what became of it: ``redriven``, or why not.

        ``reason`` is kept as evidence.
        """

        def write(connection: Connection) -> list[dict[str, Any]]:
            found = _rows(connection, tenant, which, _MOST, "")
            page = UnitOfWork.of_notifications(connection, [each["notification_id"] for each in found], self._digest)
            for each in found:
                owner, delivery = page.notifications[each["notification_id"]], page.deliveries[each["id"]]
                each["outcome"] = _hindrance(connection, owner, delivery) or "redriven"
                if each["outcome"] == "redriven" and not dry_run:
                    page.apply(self._move(delivery, reason, actor))
            page.write()
            return found

        if dry_run:
            return await self._database.read(write)
        return await self._database.write(write)

    def _move(self, delivery: Delivery, reason: str, actor: str) -> Transition:
        now = self._clock()
        changes = {"tries": 0}  # it gets as many as at first
        detail = {"why": reason, "was": delivery.reason}
        return Transition(
            delivery.id,
            "redriven",
            now,
            to=State.ACCEPTED,
            actor=actor,
            due_at=now,
            changes=changes,
            detail=detail,
            not_reached=True,
        )


def _rows(connection: Connection, tenant: str, which: Which, limit: int, after: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(deliveries, notifications.c.template, notifications.c.updated_at)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(deliveries.c.tenant == tenant, notifications.c.id > after, *which.conditions())
        .order_by(notifications.c.id)
        .limit(limit)
    )
    return [
        {
            "id": row.id,
            "notification_id": row.notification_id,
            "state": row.state,
            "reason": row.reason,
            "channel": row.channel,
            "provider": row.provider,
            "attempt": row.attempt,
            "template": row.template,
            "borrower_id": row.borrower_id,
            "case_id": row.case_id,
            "since": instant(row.updated_at),
        }
        for row in rows
    ]


def _hindrance(connection: Connection, owner: LockedNotification, delivery: Delivery) -> str:
    """Why it can't be tried again, "" where it can."""
    if delivery.state is not State.FAILED or owner.step != delivery.step:
        return "moved_on"
    if owner.stopped == EndReason.CANCELLED_BY_CLIENT:
        return "cancelled"
    # Locked: a request that is being accepted may be taking the meaning over, and must then find it alive.
    claim = select(dedup_claims.c.notification_id).where(
        dedup_claims.c.tenant == owner.value.tenant, dedup_claims.c.dedup_key == owner.value.dedup_key
    )
    claimed = connection.execute(claim.with_for_update()).scalar_one_or_none()
    return "" if claimed in (None, owner.value.id) else "replaced_by_another_request"
