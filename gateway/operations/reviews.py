"""The review queue: what waits for a person's decision, and the decision.

Three kinds of item: a delivery that the policy or an unknown outcome sent here, a reply that a person has to read, and
a report that can't be verified (unverified_reports.py). ``approve`` always means that the borrower may be contacted,
``refuse`` that they may not: an approved reply lifts the holds and the provisional opt-out that it set, a refused one
leaves them, and makes a possible stop a certain one. A report is refused with the borrower whom it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import Connection, and_, case, or_, select, update

from gateway.borrowers.addresses import change_borrowers_at, opt_out_address
from gateway.borrowers.changes import ChangeRecord, change_borrower
from gateway.core.clock import Clock
from gateway.core.codec import REPLY, encode, holds_from, instant, opt_outs_from
from gateway.core.deliveries import Transition
from gateway.core.errors import NotApprovable, WrongBorrower
from gateway.core.reasons import EndReason, Intent, PolicyReason
from gateway.core.states import State
from gateway.core.understanding import Urgency
from gateway.operations.unverified_reports import PREFIX, UnverifiedReports, waiting_reports
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.database import Database
from gateway.storage.facts import AddressKey
from gateway.storage.rows import standing_in
from gateway.storage.store import UNREAD_REPLIES
from gateway.storage.tables.borrowers import replies
from gateway.storage.tables.path import deliveries, events
from gateway.storage.unit_of_work import UnitOfWork

# Review reasons that an approval can't resolve, each with the remedy.
_REMEDIES: Mapping[str, str] = {
    PolicyReason.UNKNOWN_ZONE: "Refuse it, and send a new request that states the borrower's time zones.",
    PolicyReason.NO_COMMON_WINDOW: "Refuse it, and send a new request with the zones and hours that are right.",
    PolicyReason.OPTED_OUT: "Decide the reply that may be a stop, or lift the opt-out; this follows by itself.",
}
NOT_APPROVABLE = frozenset(_REMEDIES)

# How soon a person has to decide. Deliveries harm nobody while they wait, and replies of a version before have none.
_how_soon = case((replies.c.urgency > Urgency.ROUTINE, replies.c.urgency), else_=int(Urgency.ROUTINE))


@dataclass(frozen=True, slots=True)
class ReviewPosition:
    """Where a page of the list ends: an item's urgency and id. ``str`` and ``parse`` are its form in a cursor."""

    urgency: Urgency
    id: str

    SHAPE: ClassVar[str] = r"[1-3][a-z]{3}_[0-9a-z]{24,32}"

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> ReviewPosition:
        """The position of an item of the list."""
        return cls(Urgency[item["urgency"].upper()], item["id"])

    @classmethod
    def parse(cls, text: str) -> ReviewPosition:
        """The position that ``text``, of the form SHAPE, names."""
        return cls(Urgency(int(text[0])), text[1:])

    def __str__(self) -> str:
        return f"{self.urgency.value}{self.id}"

    @property
    def key(self) -> tuple[int, str]:
        """The order of the list. An id has the time after its prefix."""
        return (-self.urgency, self.id.partition("_")[2])


class Reviews:
    """Lists and decides the review items of one tenant."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._rules = route_rules(digest)
        self._clock = clock
        self._reports = UnverifiedReports(database, digest, clock)

    async def waiting(
        self, tenant: str, reason: str | None, limit: int, after: ReviewPosition | None = None
    ) -> list[dict[str, Any]]:
        """The most urgent items first, then the oldest; those that come after ``after``."""

        def read(connection: Connection) -> list[dict[str, Any]]:
            found = [*_deliveries(connection, tenant, reason, limit, after)]
            found += _replies(connection, tenant, reason, limit, after)
            position = (after.urgency, after.key[1]) if after is not None else None
            found += waiting_reports(connection, tenant, reason, limit, position)
            return sorted(found, key=lambda each: ReviewPosition.of(each).key)[:limit]

        return await self._database.read(read)

    async def find(self, tenant: str, item: str) -> tuple[str, str] | None:
        """The borrower and the reason of an item; None for an unknown one, and for a report, which names nobody."""
        is_reply, table = item.startswith("rep_"), replies if item.startswith("rep_") else deliveries
        why = replies.c.intent if is_reply else deliveries.c.reason
        query = select(table.c.borrower_id, why).where(table.c.tenant == tenant, table.c.id == item)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else (row[0], row[1])

    async def approve(self, tenant: str, item: str, why: str, actor: str) -> bool:
        """Permit the contact; every other rule is evaluated again. False where no such item waits.

        Raises NotApprovable, with the remedy.
        """
        if item.startswith(PREFIX):
            return await self._reports.dismiss(tenant, item)
        return await self._decide(tenant, item, why, actor, approved=True)

    async def refuse(self, tenant: str, item: str, why: str, actor: str, borrower_id: str = "") -> bool:
        """Forbid the contact; of a report, with ``borrower_id``, whom it is about. False where no such item waits.

        Raises WrongBorrower, with the remedy.
        """
        if item.startswith(PREFIX):
            return await self._reports.assign(tenant, item, borrower_id, why, actor)
        if borrower_id:
            raise WrongBorrower("Only a report takes a borrower: this item has one already.")
        return await self._decide(tenant, item, why, actor, approved=False)

    async def original(self, tenant: str, item: str) -> bytes | None:
        """The mail that a report is; None where there is none by this id."""
        return await self._reports.original(tenant, item)

    async def _decide(self, tenant: str, item: str, why: str, actor: str, *, approved: bool) -> bool:
        opted_out: list[tuple[AddressKey, str]] = []

        def decide(connection: Connection) -> bool:
            opted_out.clear()
            if not item.startswith("rep_"):
                return self._decide_delivery(connection, tenant, item, why, actor, approved=approved)
            return self._decide_reply(connection, tenant, item, why, actor, opted_out, approved=approved)

        found = await self._database.write(decide)
        for key, borrower_id in opted_out:
            changed = [(tenant, borrower_id)]
            await change_borrowers_at(self._database, self._rules, [key], REPLY, self._clock, changed=changed)
        return found

    def _decide_delivery(
        self, connection: Connection, tenant: str, item: str, why: str, actor: str, *, approved: bool
    ) -> bool:
        page = UnitOfWork.of_deliveries(connection, [item], self._rules)
        delivery = page.deliveries.get(item)
        if (
            delivery is None
            or delivery.state is not State.REVIEW
            or page.owner(item).route.notification.tenant != tenant
        ):
            return False
        now, detail = self._clock(), {"why": why, "was": delivery.reason}
        if approved:
            if remedy := _REMEDIES.get(delivery.reason):
                raise NotApprovable(remedy)
            changes = {"approved": delivery.reason}
            page.apply(
                Transition(
                    item,
                    "approved",
                    now,
                    to=State.ACCEPTED,
                    actor=actor,
                    due_at=now,
                    changes=changes,
                    detail=detail,
                    contact_disproved=True,
                )
            )
        else:
            reason = EndReason.REFUSED_IN_REVIEW
            page.apply(Transition(item, "refused", now, to=State.CANCELLED, reason=reason, actor=actor, detail=detail))
        page.write()
        return True

    def _decide_reply(
        self,
        connection: Connection,
        tenant: str,
        item: str,
        why: str,
        actor: str,
        opted_out: list[tuple[AddressKey, str]],
        *,
        approved: bool,
    ) -> bool:
        """``opted_out`` receives the address that a confirmed stop is about, with the borrower."""
        now = self._clock()
        mine = and_(replies.c.id == item, replies.c.tenant == tenant, UNREAD_REPLIES)
        row = connection.execute(update(replies).where(mine).values(resolved_at=now).returning(replies)).first()
        if row is None:
            return False

        may_be_stop = Intent.MAYBE_STOP in (row.intent, *row.intents.split(","))
        if may_be_stop and not approved:
            query = select(deliveries.c.address_digest).where(deliveries.c.id == row.delivery_id)
            for digest in connection.execute(query).scalars():  # none once retention has removed it
                opt_out_address(connection, (tenant, row.channel, digest), REPLY, now)
                opted_out.append(((tenant, row.channel, digest), row.borrower_id))

        def change(borrower: Any) -> dict[str, Any]:
            known = opt_outs_from(borrower.opt_outs)
            ours = [each for each in known if each.opt_out.provisional and each.opt_out.channel == row.channel]
            others = [each for each in known if each not in ours]
            opt_outs = encode(others if approved else [*others, *(each.definite() for each in ours)])
            if not approved:
                return {"opt_outs": opt_outs}
            # The holds that this reply set began when it came.
            held = holds_from(borrower.holds)
            kept = [each for each in held if each.start != row.received_at]
            return {"opt_outs": opt_outs} | ({"holds": encode(kept)} if len(kept) < len(held) else {})

        detail = {"reply_id": item, "why": why, "intent": row.intent}
        if may_be_stop:
            kind = "stop_dismissed" if approved else "stop_confirmed"
        else:
            kind = "reply_dismissed" if approved else "reply_confirmed"
        what = ChangeRecord(kind, actor, detail=detail)
        return change_borrower(connection, self._rules, (tenant, row.borrower_id), what, change, now)


def _deliveries(
    connection: Connection, tenant: str, reason: str | None, limit: int, after: ReviewPosition | None
) -> list[dict[str, Any]]:
    query = select(deliveries).where(deliveries.c.tenant == tenant, standing_in(deliveries, State.REVIEW))
    if after is not None and after.urgency == Urgency.ROUTINE:
        query = query.where(deliveries.c.id > f"dlv_{after.key[1]}")
    if reason is not None:
        query = query.where(deliveries.c.reason == reason)
    rows = connection.execute(query.order_by(deliveries.c.id).limit(limit)).all()
    since = _since(connection, [row.id for row in rows])
    return [
        {
            "id": row.id,
            "kind": "delivery",
            "reason": row.reason,
            "urgency": Urgency.ROUTINE.name.lower(),
            "review_by": None,
            "since": instant(since.get(row.id, row.created_at)),
            "notification_id": row.notification_id,
            "borrower_id": row.borrower_id,
            "case_id": row.case_id,
            "channel": row.channel,
            "remedy": _REMEDIES.get(row.reason, ""),
            "text": None,
        }
        for row in rows
    ]


def _since(connection: Connection, ids: list[str]) -> dict[str, Any]:
    """When each came into review: its latest event of that state."""
    if not ids:
        return {}
    rows = connection.execute(
        select(events.c.delivery_id, events.c.at)
        .join(deliveries, deliveries.c.id == events.c.delivery_id)
        .where(deliveries.c.id.in_(ids), events.c.subject == deliveries.c.notification_id)
        .where(events.c.state == State.REVIEW)
        .order_by(events.c.seq)
    )
    return {row.delivery_id: row.at for row in rows}


def _replies(
    connection: Connection, tenant: str, reason: str | None, limit: int, after: ReviewPosition | None
) -> list[dict[str, Any]]:
    query = (
        select(replies, _how_soon.label("how_soon"), deliveries.c.notification_id, deliveries.c.case_id)
        .join(deliveries, deliveries.c.id == replies.c.delivery_id)
        .where(replies.c.tenant == tenant, UNREAD_REPLIES)
    )
    if after is not None:
        later = and_(_how_soon == int(after.urgency), replies.c.id > f"rep_{after.key[1]}")
        query = query.where(or_(_how_soon < int(after.urgency), later))
    if reason is not None:
        query = query.where(replies.c.intent == reason)
    return [
        {
            "id": row.id,
            "kind": "reply",
            "reason": row.intent,
            "urgency": Urgency(row.how_soon).name.lower(),
            "review_by": instant(row.review_by) if row.review_by is not None else None,
            "since": instant(row.received_at),
            "notification_id": row.notification_id,
            "borrower_id": row.borrower_id,
            "case_id": row.case_id,
            "channel": row.channel,
            "remedy": "",
            "text": row.text,
        }
        for row in connection.execute(query.order_by(_how_soon.desc(), replies.c.id).limit(limit))
    ]
