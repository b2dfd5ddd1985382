"""Dead letters: notifications that failed, and that an operator may have tried again or give up.

A notification whose last step failed reached nobody, so trying again is safe. The policy decides again, and a later
request with the same meaning prevents it. What waits for review is no dead letter: see ``reviews``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, select

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.deliveries import Delivery, Transition
from gateway.core.reasons import EndReason
from gateway.core.states import State
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.database import Database
from gateway.storage.rows import standing_in
from gateway.storage.tables.path import dedup_claims, deliveries, notifications
from gateway.storage.unit_of_work import LockedNotification, UnitOfWork

_MOST = 1000  # at once; our choice: as many as a batch of requests


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects dead letters: these notification ids, or all with this reason, channel and template."""

    ids: Sequence[str] = ()
    reason: str = ""
    channel: str | None = None
    template: str = ""

    def conditions(self) -> list[Any]:
        found: list[Any] = [standing_in(deliveries, State.FAILED)]
        # The delivery at which the notification stands: an earlier failed step was followed by another.
        found.append(notifications.c.step == deliveries.c.step)
        found.append(notifications.c.state == deliveries.c.state)
        found.append(notifications.c.stopped != EndReason.GIVEN_UP)
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
    """Lists, redrives and gives up the dead letters of one tenant."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._rules = route_rules(digest)
        self._clock = clock

    async def listed(self, tenant: str, which: DeadLetterFilter, limit: int, after: str = "") -> list[dict[str, Any]]:
        """In order of the notifications' ids, from after ``after``."""
        return await self._database.read(lambda connection: _rows(connection, tenant, which, limit, after))

    async def redrive(
        self, tenant: str, which: DeadLetterFilter, reason: str, actor: str, *, dry_run: bool
    ) -> list[dict[str, Any]]:
        """Redrive up to a thousand; each with its outcome: ``redriven``, or the reason why not.

        ``reason`` is kept as evidence.
        """

        def write(connection: Connection) -> list[dict[str, Any]]:
            found = _rows(connection, tenant, which, _MOST, "")
            ids = [each["notification_id"] for each in found]
            claimed_by = _lock_claims(connection, ids)
            page = UnitOfWork.of_notifications(connection, ids, self._rules)
            for each in found:
                owner, delivery = page.notifications[each["notification_id"]], page.deliveries[each["id"]]
                each["outcome"] = _obstacle(owner, delivery, claimed_by.get(owner.route.notification.id)) or "redriven"
                if each["outcome"] == "redriven" and not dry_run:
                    page.apply(self._move(delivery, reason, actor))
            page.write()
            return found

        if dry_run:
            return await self._database.read(write)
        return await self._database.write(write)

    async def give_up(self, tenant: str, ids: Sequence[str], reason: str, actor: str) -> list[dict[str, Any]]:
        """Take these out of the list for good; each with the outcome ``given_up``, or the reason why not.

        The notification keeps its state and the reason of its failure. ``reason`` is kept as evidence.
        """

        def write(connection: Connection) -> list[dict[str, Any]]:
            found = _rows(connection, tenant, DeadLetterFilter(ids=ids), _MOST, "")
            page = UnitOfWork.of_notifications(connection, [each["notification_id"] for each in found], self._rules)
            now, detail = self._clock(), {"why": reason}
            for each in found:
                owner, delivery = page.notifications[each["notification_id"]], page.deliveries[each["id"]]
                each["outcome"] = "given_up" if _is_dead(owner, delivery) else "moved_on"
                if each["outcome"] == "given_up":
                    owner.route = replace(owner.route, stopped=EndReason.GIVEN_UP)
                    page.apply(Transition(delivery.id, "given_up", now, actor=actor, detail=detail))
            page.write()
            return found

        return await self._database.write(write) if ids else []

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
            contact_disproved=True,
        )


def _rows(connection: Connection, tenant: str, which: DeadLetterFilter, limit: int, after: str) -> list[dict[str, Any]]:
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


def _lock_claims(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Lock the claims on the meanings of these notifications; by notification, which one holds the claim.

    A request that is being accepted may be taking a claim over, and must then find the notification alive.
    """
    rows = connection.execute(
        select(notifications.c.id, dedup_claims.c.notification_id)
        .join(notifications, _same_meaning)
        .where(notifications.c.id.in_(ids))
        .order_by(dedup_claims.c.tenant, dedup_claims.c.dedup_key)
        .with_for_update(of=dedup_claims)
    )
    return {row.id: row.notification_id for row in rows}


_same_meaning = and_(
    notifications.c.tenant == dedup_claims.c.tenant, notifications.c.dedup_key == dedup_claims.c.dedup_key
)


def _obstacle(owner: LockedNotification, delivery: Delivery, claimed_by: str | None) -> str:
    """The reason why it can't be redriven, "" where it can."""
    if not _is_dead(owner, delivery):
        return "moved_on"
    if owner.route.stopped == EndReason.CANCELLED_BY_CLIENT:
        return "cancelled"
    return "" if claimed_by in (None, owner.route.notification.id) else "replaced_by_another_request"


def _is_dead(owner: LockedNotification, delivery: Delivery) -> bool:
    """Whether it still failed, with no later step: another process may have moved it since it was listed."""
    given_up = owner.route.stopped == EndReason.GIVEN_UP
    return delivery.state is State.FAILED and owner.route.step == delivery.step and not given_up
