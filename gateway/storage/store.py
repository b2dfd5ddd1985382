"""The ledger: every change of the path is one transaction here. Implements the doors of ports.Ledger.

Owns what is stored and when; decides nothing about borrowers or providers: that is given to it as moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, func, literal_column, select, update

from channels.base import Accepted as ProviderAccepted
from channels.base import Receipt
from gateway.core.codec import verdict_view
from gateway.core.model import PENDING_STATES, Intent, State, Switch
from gateway.core.ports import (
    AcceptResult,
    Attempt,
    BorrowerFacts,
    ClaimedDelivery,
    DecidedRequest,
    Delivery,
    InvalidData,
    Outgoing,
    ReceiptFor,
    Transition,
)
from gateway.stages.schedule import earliest
from gateway.storage import accept, receipts
from gateway.storage.bulk import inserting, updating
from gateway.storage.controls import ask_in_force, switches_from
from gateway.storage.database import Database
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.facts import AddressKey, Key, ask_facts, facts_from, lock_borrowers
from gateway.storage.rows import DELIVERY, NOTIFICATION, delivery_of, notification_of
from gateway.storage.schema import attempts, deliveries, notifications, replies
from gateway.storage.statements import Dialect, Statement, StatementTemplate, execute_pipelined
from gateway.storage.unit_of_work import Digest, UnitOfWork

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, how many, and for how long the oldest; seconds."""

    due: int
    oldest_due_seconds: float
    unknown: int
    review: int
    oldest_review_seconds: float
    paused: int  # held up by switches


# Written out, and not parameters: only so do the databases know that the partial index has them.
_OPEN_QUESTIONS = literal_column("deliveries.state").in_([literal_column("'review'"), literal_column("'unknown'")])


def _seconds(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


# Replies that may be a stop, and that nobody has read.
UNREAD_REPLIES = and_(replies.c.intent == Intent.MAYBE_STOP, replies.c.resolved_at.is_(None))


class Store:
    """The ledger on one database. Every method is one transaction over a batch, or raises Unavailable."""

    def __init__(
        self,
        database: Database,
        digest: Digest,
        observe: Callable[[str], Any],
        releases: DeferralSpreader,
        contact_horizon: timedelta,
    ) -> None:
        """``contact_horizon``: how far back the loaded packs count contacts (``Packs.contact_horizon``)."""
        self._database = database
        self._releases = releases
        self._digest = digest
        self._contact_horizon = contact_horizon
        self._observe = observe  # a context manager per operation's name, for the latency metric

    async def _write(self, operation: str, work: Callable[[Connection], T]) -> T:
        with self._observe(operation):
            return await self._database.write(work)

    async def facts(
        self, keys: Sequence[Key], case_keys: Sequence[Key], address_keys: Sequence[AddressKey], now: datetime
    ) -> Mapping[Key, BorrowerFacts]:
        since = now - self._contact_horizon
        return facts_from(
            await self._database.query(lambda connection: ask_facts(connection, keys, case_keys, address_keys, since)),
            keys,
        )

    async def accept(self, drafts: Sequence[DecidedRequest], now: datetime) -> list[AcceptResult]:
        return await self._write("accept", lambda connection: accept.store(connection, drafts, now, self._releases))

    async def replays(self, tenant: str, asked: Sequence[tuple[str, str]]) -> list[AcceptResult | None]:
        return await self._database.read(lambda connection: accept.replays(connection, tenant, asked))

    async def due(self, now: datetime, most: int) -> list[str]:
        """Deliveries with something to do and nobody doing it, oldest first."""
        return [
            row[0] for row in await self._database.query(lambda connection: _DUE.of(connection, now=now, most=most))
        ]

    async def ages(self, now: datetime) -> Backlog:
        """How much waits for us, for a person and for an answer, and since when. For the gauges."""

        def read(connection: Connection) -> Backlog:
            due = and_(deliveries.c.due_at <= now, deliveries.c.state.in_(sorted(PENDING_STATES)))
            counts = connection.execute(select(func.count(), func.min(deliveries.c.due_at)).where(due)).one()
            waiting = connection.execute(
                select(deliveries.c.state, func.count(), func.min(notifications.c.updated_at))
                .join(notifications, notifications.c.id == deliveries.c.notification_id)
                .where(_OPEN_QUESTIONS)
                .group_by(deliveries.c.state)
            )
            by_state = {row[0]: (row[1], row[2]) for row in waiting}
            review, review_since = by_state.get(State.REVIEW, (0, None))
            unread, unread_since = connection.execute(
                select(func.count(), func.min(replies.c.received_at)).where(UNREAD_REPLIES)
            ).one()
            held_up = and_(deliveries.c.paused != "", deliveries.c.state.in_(sorted(PENDING_STATES)))
            return Backlog(
                due=counts[0],
                oldest_due_seconds=_seconds(now, counts[1]),
                unknown=by_state.get(State.UNKNOWN, (0, None))[0],
                review=review + unread,
                oldest_review_seconds=max(_seconds(now, review_since), _seconds(now, unread_since)),
                paused=connection.execute(select(func.count()).where(held_up)).scalar_one(),
            )

        return await self._database.read(read)

    async def claim(self, ids: Sequence[str], now: datetime, lease_seconds: float) -> list[ClaimedDelivery]:
        horizon = self._contact_horizon
        return await self._write("claim", lambda connection: _claim(connection, ids, now, lease_seconds, horizon))

    async def start(self, outgoing: Sequence[Outgoing], now: datetime, lease_seconds: float) -> set[str]:
        return await self._write(
            "start", lambda connection: _start(connection, self._digest, outgoing, now, lease_seconds)
        )

    async def owner(self, provider: str, provider_message_id: str) -> str | None:
        """The delivery that the provider's message is known to belong to; None where it is not known to us."""
        query = select(deliveries.c.id).where(
            deliveries.c.provider == provider, deliveries.c.provider_message_id == provider_message_id
        )
        try:
            return await self._database.read(lambda connection: connection.execute(query).scalars().first())
        except InvalidData:
            return None  # no id that was stored

    async def parked(self, provider: str, tag: str, since: datetime) -> Receipt | None:
        """The latest receipt that came under this tag and was about no message that is known by its id."""
        return await self._database.read(lambda connection: receipts.under_tag(connection, provider, tag, since))

    async def postpone(self, works: Sequence[ClaimedDelivery], until: datetime) -> None:
        """Give claimed deliveries back, due at ``until``; what was taken over or stopped is left alone."""
        if not works:
            return
        fences = {work.delivery.id: work.delivery.fence for work in works}
        these = and_(deliveries.c.id.in_(sorted(fences)), deliveries.c.state.in_(sorted(PENDING_STATES)))
        locked = select(deliveries.c.id, deliveries.c.fence).where(these).order_by(deliveries.c.id).with_for_update()

        def write(connection: Connection) -> None:
            mine = [row.id for row in connection.execute(locked) if row.fence == fences[row.id]]
            if mine:
                given_back = update(deliveries).where(deliveries.c.id.in_(mine))
                connection.execute(given_back.values(due_at=until, lease_until=None))

        await self._write("apply", write)

    async def apply(self, moves: Sequence[Transition]) -> list[str]:
        """Write moves; answers the deliveries that they made due."""
        if not moves:
            return []

        def write(connection: Connection) -> list[str]:
            page = UnitOfWork.of_deliveries(connection, (move.delivery_id for move in moves), self._digest)
            deferred = [move for move in moves if move.to is State.DEFERRED]
            slots = self._releases.slots(connection, [(move.reason, move.due_at) for move in deferred])
            due_at = {move.delivery_id: slot for move, slot in zip(deferred, slots, strict=True)}
            for move in moves:
                page.apply(replace(move, due_at=due_at.get(move.delivery_id, move.due_at)))
            page.write()
            return page.opened

        return await self._write("apply", write)

    async def settle(
        self, ended: Sequence[Attempt], decide: Callable[..., Transition], decide_receipt: Callable[..., Transition]
    ) -> list[str]:
        """Record attempts' ends and what follows; answers the deliveries that became due by it.

        A provider's message id or error code that can't be stored is left out, and the rest of the batch is recorded
        as it is: callbacks carry our own reference too.
        """
        try:
            return await self._settle(ended, decide, decide_receipt)
        except InvalidData:
            if len(ended) == 1:
                return await self._settle([_without_provider_words(ended[0])], decide, decide_receipt)
        middle = len(ended) // 2
        opened = await self.settle(ended[:middle], decide, decide_receipt)
        return [*opened, *await self.settle(ended[middle:], decide, decide_receipt)]

    async def _settle(
        self, ended: Sequence[Attempt], decide: Callable[..., Transition], decide_receipt: Callable[..., Transition]
    ) -> list[str]:
        sent = {
            (attempt.provider, attempt.result.provider_message_id): attempt.work.delivery.id
            for attempt in ended
            if isinstance(attempt.result, ProviderAccepted)
        }

        def write(connection: Connection) -> list[str]:
            known = {attempt.work.notification.id: attempt.work.notification for attempt in ended}
            asked = UnitOfWork.statements(connection, (attempt.work.delivery.id for attempt in ended), known=True)
            *rows, waiting = execute_pipelined(connection, [*asked, receipts.ask_parked(connection, sent)])
            page = UnitOfWork(connection, rows, self._digest, known)
            for attempt in ended:
                owner = page.owner(attempt.work.delivery.id)
                page.apply(decide(page.deliveries[attempt.work.delivery.id], owner.value, attempt))
            latest = max(each.finished_at for each in ended)
            matched = receipts.match_parked(connection, page, waiting, sent, latest, decide_receipt)
            page.write(*_finish_attempts(connection, ended), *matched)
            return page.opened

        return await self._write("settle", write)

    async def match_parked(self, now: datetime, decide: Callable[..., Transition]) -> list[str]:
        return await self._write(
            "receive", lambda connection: receipts.match_again(connection, self._digest, now, decide)
        )

    async def receive(
        self, arrived: Sequence[ReceiptFor], now: datetime, decide: Callable[..., Transition]
    ) -> tuple[list[str], list[str]]:
        """Record receipts; answers a word for each (see storage/receipts.py) and the deliveries that became due.

        A receipt that can't be stored is ``invalid``, and the others of its batch are recorded.
        """
        try:
            return await self._write(
                "receive", lambda connection: receipts.record(connection, self._digest, arrived, now, decide)
            )
        except InvalidData:
            if len(arrived) == 1:
                return ["invalid"], []
        middle = len(arrived) // 2
        words, opened = await self.receive(arrived[:middle], now, decide)
        more_words, more_opened = await self.receive(arrived[middle:], now, decide)
        return [*words, *more_words], [*opened, *more_opened]


_DUE = StatementTemplate(
    lambda sql: (
        f"SELECT id FROM deliveries WHERE due_at <= {sql.value('now')}"
        f" AND (lease_until IS NULL OR lease_until <= {sql.value('now')}) ORDER BY due_at LIMIT {sql.value('most')}"
    )
)
_OWNED_BY = ("tenant", "borrower_id", "case_id")


def _claiming(sql: Dialect) -> str:
    free = f"due_at <= {sql.value('now')} AND (lease_until IS NULL OR lease_until <= {sql.value('now')})"
    these = f"SELECT id FROM deliveries WHERE {sql.among('id', 'ids')} AND {free} ORDER BY id"
    return (
        f"UPDATE deliveries SET lease_until = {sql.value('until')}, fence = fence + 1"
        f" WHERE id IN ({these} {sql.lock('FOR UPDATE SKIP LOCKED')}) RETURNING {', '.join((*DELIVERY, *_OWNED_BY))}"
    )


_CLAIM = StatementTemplate(_claiming)
_CLAIMED = StatementTemplate(
    lambda sql: f"SELECT {', '.join(NOTIFICATION)}, state, step FROM notifications WHERE {sql.among('id', 'ids')}"
)


def _claim(
    connection: Connection, ids: Sequence[str], now: datetime, lease_seconds: float, contact_horizon: timedelta
) -> list[ClaimedDelivery]:
    until = now + timedelta(seconds=lease_seconds)
    [rows] = execute_pipelined(connection, [_CLAIM.of(connection, ids=list(ids), now=now, until=until)])
    if not rows:
        return []
    claimed = [(delivery_of(row[: len(DELIVERY)]), *row[len(DELIVERY) :]) for row in rows]
    keys = [(tenant, borrower_id) for _, tenant, borrower_id, _ in claimed]
    cases = [(tenant, case_id) for _, tenant, _, case_id in claimed]
    addresses = [(tenant, delivery.channel, delivery.address_digest) for delivery, tenant, _, _ in claimed]
    owners, known = execute_pipelined(
        connection,
        [
            _CLAIMED.of(connection, ids=sorted({delivery.notification_id for delivery, *_ in claimed})),
            ask_facts(connection, keys, cases, addresses, now - contact_horizon),
        ],
    )
    facts, owned = facts_from(known, keys), {row[0]: row for row in owners}
    works = []
    for (delivery, *_), key in zip(claimed, keys, strict=True):
        *owner, state, step = owned[delivery.notification_id]
        last = step == delivery.step
        works.append(ClaimedDelivery(delivery, notification_of(owner), facts[key], State(state), is_last_opened=last))
    return works


_MOVED_ON = StatementTemplate(
    lambda sql: f"UPDATE borrowers SET version = version + 1 WHERE {sql.matching(('tenant', 'id'), 'keys')}",
    returns_rows=False,
)


def _start(
    connection: Connection, digest: Digest, outgoing: Sequence[Outgoing], now: datetime, lease_seconds: float
) -> set[str]:
    keys = [(each.work.notification.tenant, each.work.notification.borrower.id) for each in outgoing]
    known = {each.work.notification.id: each.work.notification for each in outgoing}
    # In the order in which locks are taken.
    locked, *switched, owners, steps = execute_pipelined(
        connection,
        [
            lock_borrowers(connection, keys),
            *ask_in_force(connection, now),
            *UnitOfWork.statements(connection, (each.work.delivery.id for each in outgoing), known=True),
        ],
    )
    versions = {(tenant, borrower_id): version for tenant, borrower_id, version in locked}
    switches = switches_from(switched)
    page = UnitOfWork(connection, (owners, steps), digest, known)
    started: dict[str, Key] = {}
    for each, key in zip(outgoing, keys, strict=True):
        delivery = page.deliveries[each.work.delivery.id]
        if delivery.fence != each.work.delivery.fence or delivery.state not in PENDING_STATES:
            continue  # someone else's by now, or stopped meanwhile
        if versions.get(key) != each.work.borrower.version:
            page.set(replace(delivery, due_at=now, lease_until=None))  # decide again, with the facts of now
            continue
        stopped_by = next((switch for switch in switches if _stops(switch, each)), None)
        if stopped_by is not None:
            page.apply(_held_up(each, stopped_by, now))
            continue
        lease_until = now + timedelta(seconds=lease_seconds)
        if not page.apply(_attempt_started(each, delivery, now, lease_until)):
            continue  # what waits for a person is pending too, and must not go out though it were due
        page.set(replace(page.deliveries[delivery.id], lease_until=lease_until))
        started[delivery.id] = key
    begun = _begin_attempts(connection, [each for each in outgoing if each.work.delivery.id in started], now)
    moved_on = [_MOVED_ON.of(connection, keys=sorted(set(started.values())))] if started else []
    page.write(*begun, *moved_on)
    return set(started)


def _attempt_started(outgoing: Outgoing, delivery: Delivery, now: datetime, lease_until: datetime) -> Transition:
    assert outgoing.verdict is not None
    number = delivery.attempt + 1
    changes = {"attempt": number, "provider": outgoing.provider, "contacted_at": now, "paused": ""}
    detail = {
        "when": "handoff",
        "provider": outgoing.provider,
        "attempt": number,
        "verdict": verdict_view(outgoing.verdict),
    }
    return Transition(
        delivery.id, "attempt_started", now, to=State.SENDING, due_at=lease_until, changes=changes, detail=detail
    )


def _stops(switch: Switch, outgoing: Outgoing) -> bool:
    return switch.stops(outgoing.work.notification, outgoing.work.delivery.channel, outgoing.provider)


def _held_up(outgoing: Outgoing, switch: Switch, now: datetime) -> Transition:
    """A switch stops it: it waits for the switch's end, or for its own."""
    due_at = earliest(switch.until, outgoing.work.notification.expires_at)
    detail = {"switch": switch.id, "scope": switch.scope, "value": switch.value}
    changes = {"paused": switch.id}
    return Transition(outgoing.work.delivery.id, "paused", now, due_at=due_at, changes=changes, detail=detail)


def _begin_attempts(connection: Connection, outgoing: Sequence[Outgoing], now: datetime) -> list[Statement]:
    rows = [
        {
            "delivery_id": each.work.delivery.id,
            "number": each.work.delivery.attempt + 1,
            "provider": each.provider,
            "started_at": now,
        }
        for each in outgoing
    ]
    return inserting(connection, attempts, rows)


def _finish_attempts(connection: Connection, ended: Sequence[Attempt]) -> list[Statement]:
    rows = [
        {"delivery_id": attempt.work.delivery.id, "number": attempt.message.attempt, **_end_of(attempt)}
        for attempt in ended
    ]
    return updating(connection, attempts, ("delivery_id", "number"), rows)


def _without_provider_words(attempt: Attempt) -> Attempt:
    """The attempt without the texts of its provider."""
    result = attempt.result
    if isinstance(result, ProviderAccepted):
        return replace(attempt, result=replace(result, provider_message_id=""))
    return replace(attempt, result=type(result)(result.reason, retry_after=result.retry_after))


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
