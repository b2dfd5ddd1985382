"""The ledger: every change of the path is one transaction here. Implements the doors of ports.Ledger.

Owns what is stored and when; decides nothing about borrowers or providers: that is given to it as moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from channels.base import Accepted as ProviderAccepted
from gateway.codec import notification_from, verdict_view
from gateway.ledger import accept, receipts
from gateway.ledger.bulk import insert_rows, update_rows
from gateway.ledger.database import Database
from gateway.ledger.facts import lock_borrowers, matching, read_facts
from gateway.ledger.page import Digest, Page, delivery_from
from gateway.ledger.releases import Releases
from gateway.ledger.reviews import UNREAD
from gateway.ledger.schema import attempts, borrowers, deliveries, notifications, replies
from gateway.ledger.switches import read_in_force
from gateway.model import PENDING_STATES, State, Switch
from gateway.ports import Accepted, Attempt, BorrowerFacts, Draft, Move, Outgoing, ReceiptFor, Work
from gateway.stages.schedule import earliest

T = TypeVar("T")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ages:
    """What waits, how many, and for how long the oldest; seconds."""

    due: int
    oldest_due_seconds: float
    unknown: int
    review: int
    oldest_review_seconds: float
    paused: int  # held up by switches


def _seconds(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


class Store:
    """The ledger on one database. Every method is one transaction over a batch, or raises Unavailable."""

    def __init__(self, database: Database, digest: Digest, observe: Callable[[str], Any], releases: Releases) -> None:
        self._database = database
        self._releases = releases
        self._digest = digest
        self._observe = observe  # a context manager per operation's name, for the latency metric

    async def _write(self, operation: str, work: Callable[[Connection], T]) -> T:
        with self._observe(operation):
            return await self._database.write(work)

    async def facts(
        self, keys: Sequence[Key], case_keys: Sequence[Key], address_keys: Sequence[Key], now: datetime
    ) -> Mapping[Key, BorrowerFacts]:
        return await self._database.read(lambda connection: read_facts(connection, keys, case_keys, address_keys, now))

    async def accept(self, drafts: Sequence[Draft], now: datetime) -> list[Accepted]:
        return await self._write("accept", lambda connection: accept.store(connection, drafts, now, self._releases))

    async def due(self, now: datetime, most: int) -> list[str]:
        """Deliveries with something to do and nobody doing it, oldest first."""
        query = (
            select(deliveries.c.id)
            .where(deliveries.c.due_at <= now)
            .where(or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now))
            .order_by(deliveries.c.due_at)
            .limit(most)
        )
        return await self._database.read(lambda connection: [row.id for row in connection.execute(query)])

    async def ages(self, now: datetime) -> Ages:
        """How much waits for us, for a person and for an answer, and since when. For the gauges."""

        def read(connection: Connection) -> Ages:
            due = and_(deliveries.c.due_at <= now, deliveries.c.state.in_(sorted(PENDING_STATES)))
            counts = connection.execute(select(func.count(), func.min(deliveries.c.due_at)).where(due)).one()
            waiting = connection.execute(
                select(deliveries.c.state, func.count(), func.min(notifications.c.updated_at))
                .join(notifications, notifications.c.id == deliveries.c.notification_id)
                .where(deliveries.c.state.in_([State.REVIEW, State.UNKNOWN]))
                .group_by(deliveries.c.state)
            )
            by_state = {row[0]: (row[1], row[2]) for row in waiting}
            review, review_since = by_state.get(State.REVIEW, (0, None))
            unread, unread_since = connection.execute(
                select(func.count(), func.min(replies.c.received_at)).where(UNREAD)
            ).one()
            held_up = and_(deliveries.c.paused != "", deliveries.c.state.in_(sorted(PENDING_STATES)))
            return Ages(
                due=counts[0],
                oldest_due_seconds=_seconds(now, counts[1]),
                unknown=by_state.get(State.UNKNOWN, (0, None))[0],
                review=review + unread,
                oldest_review_seconds=max(_seconds(now, review_since), _seconds(now, unread_since)),
                paused=connection.execute(select(func.count()).where(held_up)).scalar_one(),
            )

        return await self._database.read(read)

    async def claim(self, ids: Sequence[str], now: datetime, lease_seconds: float) -> list[Work]:
        return await self._write("claim", lambda connection: _claim(connection, ids, now, lease_seconds))

    async def start(self, outgoing: Sequence[Outgoing], now: datetime, lease_seconds: float) -> set[str]:
        return await self._write(
            "start", lambda connection: _start(connection, self._digest, outgoing, now, lease_seconds)
        )

    async def owner(self, provider: str, provider_message_id: str) -> str | None:
        """The delivery that the provider's message is known to belong to; None where it is not known to us."""
        query = select(deliveries.c.id).where(
            deliveries.c.provider == provider, deliveries.c.provider_message_id == provider_message_id
        )
        return await self._database.read(lambda connection: connection.execute(query).scalars().first())

    async def postpone(self, works: Sequence[Work], until: datetime) -> None:
        """Give claimed deliveries back, due at ``until``; what was taken over or stopped is left alone."""
        query = (
            update(deliveries)
            .where(deliveries.c.id == bindparam("key"), deliveries.c.fence == bindparam("key_fence"))
            .where(deliveries.c.state.in_(sorted(PENDING_STATES)))
            .values(due_at=until, lease_until=None)
        )
        rows = [{"key": work.delivery.id, "key_fence": work.delivery.fence} for work in works]
        if rows:
            await self._write("apply", lambda connection: connection.execute(query, rows))

    async def apply(self, moves: Sequence[Move]) -> list[str]:
        """Write moves; answers the deliveries that they made due."""
        if not moves:
            return []

        def write(connection: Connection) -> list[str]:
            page = Page(connection, (move.delivery_id for move in moves), self._digest)
            deferred = [move for move in moves if move.to is State.DEFERRED]
            slots = self._releases.slots(connection, [(move.reason, move.due_at) for move in deferred])
            due_at = {move.delivery_id: slot for move, slot in zip(deferred, slots, strict=True)}
            for move in moves:
                page.apply(replace(move, due_at=due_at.get(move.delivery_id, move.due_at)))
            page.write()
            return page.opened

        return await self._write("apply", write)

    async def settle(
        self, ended: Sequence[Attempt], decide: Callable[..., Move], decide_receipt: Callable[..., Move]
    ) -> list[str]:
        """Record attempts' ends and what follows; answers the deliveries that became due by it."""

        def write(connection: Connection) -> list[str]:
            page = Page(connection, (attempt.work.delivery.id for attempt in ended), self._digest)
            for attempt in ended:
                owner = page.owner(attempt.work.delivery.id)
                page.apply(decide(page.deliveries[attempt.work.delivery.id], owner.value, attempt))
            _finish_attempts(connection, ended)
            sent = {
                (attempt.provider, attempt.result.provider_message_id): attempt.work.delivery.id
                for attempt in ended
                if isinstance(attempt.result, ProviderAccepted)
            }
            if sent:
                receipts.match_parked(connection, page, sent, max(each.finished_at for each in ended), decide_receipt)
            page.write()
            return page.opened

        return await self._write("settle", write)

    async def match_parked(self, now: datetime, decide: Callable[..., Move]) -> list[str]:
        return await self._write(
            "receive", lambda connection: receipts.match_again(connection, self._digest, now, decide)
        )

    async def receive(
        self, arrived: Sequence[ReceiptFor], now: datetime, decide: Callable[..., Move]
    ) -> tuple[list[str], list[str]]:
        """Record receipts; answers a word for each (see ledger/receipts.py) and the deliveries that became due."""
        return await self._write(
            "receive", lambda connection: receipts.record(connection, self._digest, arrived, now, decide)
        )


def _claim(connection: Connection, ids: Sequence[str], now: datetime, lease_seconds: float) -> list[Work]:
    free = (
        select(deliveries.c.id)
        .where(deliveries.c.id.in_(list(ids)))
        .where(deliveries.c.due_at <= now)
        .where(or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now))
        .order_by(deliveries.c.id)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(free.scalar_subquery()))
        .values(lease_until=now + timedelta(seconds=lease_seconds), fence=deliveries.c.fence + 1)
        .returning(deliveries)
    ).all()
    if not rows:
        return []
    owners = {
        row.id: row
        for row in connection.execute(
            select(notifications).where(notifications.c.id.in_({row.notification_id for row in rows}))
        )
    }
    keys = [(row.tenant, row.borrower_id) for row in rows]
    cases = [(row.tenant, row.case_id) for row in rows]
    known = read_facts(connection, keys, cases, [(row.tenant, row.address_digest) for row in rows], now)
    works = []
    for row in rows:
        owner = owners[row.notification_id]
        works.append(
            Work(
                delivery_from(row),
                notification_from(owner),
                known[(row.tenant, row.borrower_id)],
                State(owner.state),
                is_last_opened=owner.step == row.step,
            )
        )
    return works


def _start(
    connection: Connection, digest: Digest, outgoing: Sequence[Outgoing], now: datetime, lease_seconds: float
) -> set[str]:
    keys = [(each.work.notification.tenant, each.work.notification.borrower.id) for each in outgoing]
    versions = lock_borrowers(connection, keys)
    switched = read_in_force(connection, now)
    page = Page(connection, (each.work.delivery.id for each in outgoing), digest)
    started: set[str] = set()
    moved_on: set[Key] = set()
    for each, key in zip(outgoing, keys, strict=True):
        delivery = page.deliveries[each.work.delivery.id]
        if delivery.fence != each.work.delivery.fence or delivery.state not in PENDING_STATES:
            continue  # someone else's by now, or stopped meanwhile
        if versions.get(key) != each.work.borrower.version:
            page.set(replace(delivery, due_at=now, lease_until=None))  # decide again, with the facts of now
            continue
        stopped_by = next((switch for switch in switched if _stops(switch, each)), None)
        if stopped_by is not None:
            page.apply(_held_up(each, stopped_by, now))
            continue
        assert each.verdict is not None
        lease_until = now + timedelta(seconds=lease_seconds)
        changes = {
            "attempt": delivery.attempt + 1,
            "provider": each.provider,
            "contacted_at": now,
            "paused": "",
        }
        detail = {
            "when": "handoff",
            "provider": each.provider,
            "attempt": delivery.attempt + 1,
            "verdict": verdict_view(each.verdict),
        }
        move = Move(
            delivery.id, "attempt_started", now, to=State.SENDING, due_at=lease_until, changes=changes, detail=detail
        )
        if not page.apply(move):
            continue  # what waits for a person is pending too, and must not go out though it were due
        page.set(replace(page.deliveries[delivery.id], lease_until=lease_until))
        started.add(delivery.id)
        moved_on.add(key)
    page.write()
    _begin_attempts(connection, [each for each in outgoing if each.work.delivery.id in started], now)
    if moved_on:
        connection.execute(
            update(borrowers)
            .where(matching(borrowers.c.tenant, borrowers.c.id, moved_on))
            .values(version=borrowers.c.version + 1)
        )
    return started


def _stops(switch: Switch, outgoing: Outgoing) -> bool:
    return switch.stops(outgoing.work.notification, outgoing.work.delivery.channel, outgoing.provider)


def _held_up(outgoing: Outgoing, switch: Switch, now: datetime) -> Move:
    """A switch stops it: it waits for the switch's end, or for its own."""
    due_at = earliest(switch.until, outgoing.work.notification.expires_at)
    detail = {"switch": switch.id, "scope": switch.scope, "value": switch.value}
    changes = {"paused": switch.id}
    return Move(outgoing.work.delivery.id, "paused", now, due_at=due_at, changes=changes, detail=detail)


def _begin_attempts(connection: Connection, outgoing: Sequence[Outgoing], now: datetime) -> None:
    rows = [
        {
            "delivery_id": each.work.delivery.id,
            "number": each.work.delivery.attempt + 1,
            "provider": each.provider,
            "started_at": now,
        }
        for each in outgoing
    ]
    insert_rows(connection, attempts, rows)


def _finish_attempts(connection: Connection, ended: Sequence[Attempt]) -> None:
    rows = [
        {"delivery_id": attempt.work.delivery.id, "number": attempt.message.attempt, **_end_of(attempt)}
        for attempt in ended
    ]
    update_rows(connection, attempts, ("delivery_id", "number"), rows)


def _end_of(attempt: Attempt) -> dict[str, Any]:
    outcome, reason, code = attempt.outcome()
    provider_message_id = attempt.result.provider_message_id if isinstance(attempt.result, ProviderAccepted) else ""
    return {
        "finished_at": attempt.finished_at,
        "outcome": outcome,
        "reason": reason,
        "code": code[:40],
        "provider_message_id": provider_message_id,
    }
