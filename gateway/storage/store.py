"""The ledger's transactions on the path: accept, claim, start, settle, receive.

Owns what is stored and when it is committed. Decides nothing about borrowers or providers: transitions are given to it,
or the functions that decide them on the locked rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, func, literal_column, null, select, text, true, update

from channels.base import Accepted as ProviderAccepted
from channels.base import Receipt
from gateway.core.conversations import ConversationState
from gateway.core.deliveries import Attempt, ClaimedDelivery, Outgoing, ReceiptFor, Transition
from gateway.core.errors import InvalidData
from gateway.core.facts import BorrowerFacts
from gateway.core.requests import AcceptResult, DecidedRequest
from gateway.core.routes import RouteRules
from gateway.core.states import PENDING_STATES, State
from gateway.core.understanding import OpenReviews, Urgency
from gateway.storage import accept, attempts, receipts
from gateway.storage.database import Database
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.facts import AddressKey, Key, ask_facts, facts_from
from gateway.storage.statements import StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import replies, unverified_reports
from gateway.storage.tables.conversations import conversations
from gateway.storage.tables.path import deliveries, due_deliveries, notifications
from gateway.storage.unit_of_work import UnitOfWork

T = TypeVar("T")


REVIEW_WITHIN = timedelta(hours=4)  # for a delivery in review; our choice: half a working day


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries wait, and the age of the oldest in seconds. ``review``: with replies and reports."""

    due: int
    oldest_due_seconds: float
    unknown: int
    review: int
    oldest_review_seconds: float
    paused: int  # by switches
    reviews: Mapping[Urgency, OpenReviews] = field(default_factory=dict)
    conversations: Mapping[Urgency, OpenReviews] = field(default_factory=dict)  # that wait for an answer


_DUE = StatementTemplate(
    lambda sql: (
        "SELECT deliveries.id FROM due_deliveries JOIN deliveries ON deliveries.id = due_deliveries.delivery_id"
        f" WHERE due_deliveries.due_at <= {sql.value('now')}"
        f" AND (lease_until IS NULL OR lease_until <= {sql.value('now')})"
        f" ORDER BY due_deliveries.due_at LIMIT {sql.value('most')}"
    )
)
# A literal and not a parameter: only then do the planners use the partial index.
_OPEN_QUESTIONS = and_(
    deliveries.c.attention != literal_column("''"), deliveries.c.attention.in_([State.REVIEW, State.UNKNOWN])
)


def _seconds(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


def _by_urgency(
    now: datetime,
    in_review: int,
    in_review_since: datetime | None,
    unread: Iterable[tuple[int, int, datetime, datetime | None]],
) -> dict[Urgency, OpenReviews]:
    """Deliveries, and what is unread as (urgency, number, earliest arrival, earliest clock).

    Deliveries are routine, and theirs is ``REVIEW_WITHIN``, as where a version before left no clock.
    """
    limit = REVIEW_WITHIN.total_seconds()
    found = {Urgency.ROUTINE: OpenReviews(in_review, max(0.0, _seconds(now, in_review_since) - limit))}
    for urgency, number, received_at, review_by in unread:
        how_soon = Urgency(max(urgency, Urgency.ROUTINE))  # those of a version before have none
        known = found.get(how_soon, OpenReviews())
        overdue = max(known.overdue_seconds, _seconds(now, review_by or received_at + REVIEW_WITHIN))
        found[how_soon] = OpenReviews(known.waiting + number, overdue)
    return found


def _waiting_conversations(connection: Connection, now: datetime, tenant: str | None) -> dict[Urgency, OpenReviews]:
    """Conversations that wait for an answer, whoever is to give it: an assistant that has stopped shows here, too."""
    # A literal and no parameter, so that the partial index serves.
    waiting: ColumnElement[str] = literal_column(f"'{ConversationState.WAITING}'")
    waits = conversations.c.state == waiting
    query = select(conversations.c.urgency, func.count(), func.min(conversations.c.review_by)).where(waits)
    if tenant is not None:
        query = query.where(conversations.c.tenant == tenant)
    rows = connection.execute(query.group_by(conversations.c.urgency))
    return {Urgency(max(row[0], Urgency.ROUTINE)): OpenReviews(row[1], _seconds(now, row[2])) for row in rows}


# Replies that a person has to read, and has not. Those of a version before have no urgency. The index's condition.
UNREAD_REPLIES = text("(replies.urgency > 0 OR replies.intent = 'maybe_stop') AND replies.resolved_at IS NULL")


class Store:
    """The ledger on one database. Every method is one transaction over a batch, or raises Unavailable.

    ``observe`` gives a context manager for an operation's name, which times it. ``releases`` spreads deferrals.
    """

    def __init__(
        self,
        database: Database,
        rules: RouteRules,
        observe: Callable[[str], Any],
        releases: DeferralSpreader,
        contact_horizon: timedelta,
    ) -> None:
        """``contact_horizon``: how far back the loaded packs count contacts (``Packs.contact_horizon``)."""
        self._database = database
        self._rules = rules
        self._releases = releases
        self._contact_horizon = contact_horizon
        self._observe = observe

    async def _write(self, operation: str, work: Callable[[Connection], T]) -> T:
        with self._observe(operation):
            return await self._database.write(work)

    async def _write_unlocked(self, operation: str, work: Callable[..., T], *, alone: bool = True) -> T:
        """Run ``work(connection, lock=False)``, and where a row was changed meanwhile once more with locks.

        A lock is a record in PostgreSQL's log, and rows of one batch are seldom changed by another. ``alone``: without
        a transaction around it, which ends what else it holds between its statements.
        """
        if not self._database.is_sqlite:
            write = self._database.write_alone if alone else self._database.write
            try:
                with self._observe(operation):
                    return await write(lambda connection: work(connection, lock=False))
            except InvalidData:
                pass  # or what is written can't be stored
        return await self._write(operation, lambda connection: work(connection, lock=True))

    async def facts(
        self, keys: Sequence[Key], case_keys: Sequence[Key], address_keys: Sequence[AddressKey], now: datetime
    ) -> Mapping[Key, BorrowerFacts]:
        """What is known of the borrowers named by (tenant, borrower id); unknown ones get empty facts.

        With it, which of the (tenant, case id) pairs are closed, and what is known of the addresses, each named by
        (tenant, channel, keyed digest). One round trip.
        """
        since = now - self._contact_horizon
        return facts_from(
            await self._database.query(lambda connection: ask_facts(connection, keys, case_keys, address_keys, since)),
            keys,
            self._database.digests,
        )

    async def accept(self, requests: Sequence[DecidedRequest], now: datetime) -> list[AcceptResult]:
        """Store what is new, with its idempotency and dedup keys; synced to disk when this returns."""
        if not self._database.is_sqlite and accept.is_plain(requests):
            plans = [accept.InsertPlan(each, now, None) for each in requests]
            try:
                with self._observe("accept"):
                    await self._database.query(lambda connection: accept.store_new(connection, plans))
                return [plan.answer() for plan in plans]
            except InvalidData:
                pass  # one of them came before, or means the same as another, or can't be stored
        return await self._write(
            "accept",
            lambda connection: accept.store(connection, requests, now, self._releases),
        )

    async def replays(self, tenant: str, keys: Sequence[tuple[str, str]]) -> list[AcceptResult | None]:
        """The answers to requests (idempotency key, fingerprint) that were accepted before; None for the others."""
        return await self._database.read(lambda connection: accept.replays(connection, tenant, keys))

    async def due(self, now: datetime, most: int) -> list[str]:
        """Deliveries that are due and not leased, oldest first."""
        return [
            row[0] for row in await self._database.query(lambda connection: _DUE.of(connection, now=now, most=most))
        ]

    async def ages(self, now: datetime, tenant: str | None = None) -> Backlog:
        """How much is due, in review and of unknown outcome, and since when: of one tenant, or (None) of all."""
        of_tenant = true() if tenant is None else deliveries.c.tenant == tenant
        replies_of_tenant = true() if tenant is None else replies.c.tenant == tenant

        def read(connection: Connection) -> Backlog:
            when = due_deliveries.c.due_at
            due = and_(of_tenant, when <= now, deliveries.c.state.in_(sorted(PENDING_STATES)))
            waits = select(func.count(), func.min(when)).select_from(due_deliveries)
            mine = waits.join(deliveries, deliveries.c.id == due_deliveries.c.delivery_id)
            counts = connection.execute(mine.where(due)).one()
            waiting = connection.execute(
                select(deliveries.c.state, func.count(), func.min(notifications.c.updated_at))
                .join(notifications, notifications.c.id == deliveries.c.notification_id)
                .where(_OPEN_QUESTIONS, of_tenant)
                .group_by(deliveries.c.state)
            )
            by_state = {row[0]: (row[1], row[2]) for row in waiting}
            review, review_since = by_state.get(State.REVIEW, (0, None))
            unread = list(
                connection.execute(
                    select(
                        replies.c.urgency,
                        func.count(),
                        func.min(replies.c.received_at),
                        func.min(replies.c.review_by),
                    )
                    .where(UNREAD_REPLIES, replies_of_tenant)
                    .group_by(replies.c.urgency)
                ).all()
            )
            reports_of_tenant = true() if tenant is None else unverified_reports.c.tenant == tenant
            unread += connection.execute(
                select(unverified_reports.c.urgency, func.count(), func.min(unverified_reports.c.received_at), null())
                .where(unverified_reports.c.resolved_at.is_(None), reports_of_tenant)
                .group_by(unverified_reports.c.urgency)
            ).all()
            held_up = and_(of_tenant, deliveries.c.paused != "", deliveries.c.state.in_(sorted(PENDING_STATES)))
            return Backlog(
                due=counts[0],
                oldest_due_seconds=_seconds(now, counts[1]),
                unknown=by_state.get(State.UNKNOWN, (0, None))[0],
                review=review + sum(row[1] for row in unread),
                oldest_review_seconds=max(
                    _seconds(now, since) for since in (review_since, *(row[2] for row in unread))
                ),
                paused=connection.execute(select(func.count()).where(held_up)).scalar_one(),
                reviews=_by_urgency(now, review, review_since, [(row[0], row[1], row[2], row[3]) for row in unread]),
                conversations=_waiting_conversations(connection, now, tenant),
            )

        return await self._database.read(read)

    async def claim(self, ids: Sequence[str], now: datetime, lease_seconds: float) -> list[ClaimedDelivery]:
        """Lease the deliveries that are due and free, each with a new fencing token; the others are left out."""
        horizon = self._contact_horizon
        return await self._write(
            "claim", lambda connection: attempts.claim(connection, ids, now, lease_seconds, horizon)
        )

    async def start(self, outgoing: Sequence[Outgoing], now: datetime, lease_seconds: float) -> set[str]:
        """Record that attempts begin. Only ids in the answer may be handed to a provider.

        Left out: a lost lease, a cancelled delivery, what a switch stops (it waits for the switch's end), and a
        borrower whose version has changed since the facts were read (another contact, an opt-out, a hold, a payment):
        these are due again at once, to be decided anew.
        """

        apart = self._database.backward_compatible

        def start(connection: Connection, *, lock: bool) -> set[str]:
            return attempts.start(connection, self._rules, outgoing, now, lease_seconds, lock=lock, words_apart=apart)

        # In one transaction: no switch may be set or ended between reading the switches and beginning.
        return await self._write_unlocked("start", start, alone=False)

    async def owner(self, provider: str, provider_message_id: str) -> str | None:
        """The delivery to which the provider's message belongs; None where it is not known here."""
        if not provider_message_id:
            return None  # every delivery that was not handed over yet has an empty id
        try:
            return await self._database.read(lambda each: receipts.owner(each, provider, provider_message_id))
        except InvalidData:
            return None  # no id that was stored

    async def parked(self, provider: str, tag: str, since: datetime) -> Receipt | None:
        """The latest receipt that came under this tag, and whose message is not known by its id."""
        return await self._database.read(lambda connection: receipts.under_tag(connection, provider, tag, since))

    async def postpone(self, claimed: Sequence[ClaimedDelivery], until: datetime) -> None:
        """Give claimed deliveries back, due at ``until``, without an event.

        One that another worker claimed since (fencing token), or that was stopped, is left alone.
        """
        if not claimed:
            return
        fences = {each.delivery.id: each.delivery.fence for each in claimed}
        these = and_(deliveries.c.id.in_(sorted(fences)), deliveries.c.state.in_(sorted(PENDING_STATES)))
        locked = select(deliveries.c.id, deliveries.c.fence).where(these).order_by(deliveries.c.id).with_for_update()

        def write(connection: Connection) -> None:
            mine = [row.id for row in connection.execute(locked) if row.fence == fences[row.id]]
            if mine:
                given_back = update(deliveries).where(deliveries.c.id.in_(mine))
                connection.execute(given_back.values(due_at=until, lease_until=None))

        await self._write("apply", write)

    async def apply(self, transitions: Sequence[Transition]) -> list[str]:
        """Write transitions; one that is not legal from the delivery's present state is recorded as ignored.

        Answers the deliveries that became due by them, as the next methods do.
        """
        if not transitions:
            return []

        def write(connection: Connection) -> list[str]:
            unit_of_work = UnitOfWork.of_deliveries(connection, (each.delivery_id for each in transitions), self._rules)
            deferred = [each for each in transitions if each.to is State.DEFERRED]
            slots = self._releases.slots(connection, [(each.reason, each.due_at) for each in deferred])
            due_at = {each.delivery_id: slot for each, slot in zip(deferred, slots, strict=True)}
            for each in transitions:
                unit_of_work.apply(replace(each, due_at=due_at.get(each.delivery_id, each.due_at)))
            unit_of_work.write()
            return unit_of_work.opened

        return await self._write("apply", write)

    async def settle(
        self, ended: Sequence[Attempt], decide: Callable[..., Transition], decide_receipt: Callable[..., Transition]
    ) -> list[str]:
        """Record attempts' ends: ``decide(delivery, notification, attempt)`` runs on the locked rows.

        Receipts that were parked because they came before the provider's id of their message are matched with it. A
        provider's message id or error code that can't be stored is left out, and the rest of the batch is recorded as
        it is: callbacks carry our own reference too.
        """
        try:
            return await self._settle(ended, decide, decide_receipt)
        except InvalidData:
            if len(ended) == 1:
                return await self._settle([attempts.without_provider_words(ended[0])], decide, decide_receipt)
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

        def write(connection: Connection, *, lock: bool) -> list[str]:
            known = {attempt.work.notification.id: attempt.work.notification for attempt in ended}
            ids = (attempt.work.delivery.id for attempt in ended)
            asked = UnitOfWork.statements(connection, ids, known=True, lock=lock)
            *rows, parked = execute_pipelined(connection, [*asked, receipts.ask_parked(connection, sent)])
            unit_of_work = UnitOfWork(connection, rows, self._rules, known, lock=lock)
            for attempt in ended:
                delivery = unit_of_work.deliveries[attempt.work.delivery.id]
                notification = unit_of_work.owner(delivery.id).route.notification
                unit_of_work.apply(decide(delivery, notification, attempt))
            latest = max(each.finished_at for each in ended)
            matched = receipts.match_parked(connection, unit_of_work, parked, sent, latest, decide_receipt)
            unit_of_work.write(*attempts.finishing(connection, ended), *matched)
            return unit_of_work.opened

        return await self._write_unlocked("settle", write)

    async def match_parked(self, now: datetime, decide: Callable[..., Transition]) -> list[str]:
        """Match parked receipts whose message has become known meanwhile."""
        return await self._write(
            "receive", lambda connection: receipts.match_again(connection, self._rules, now, decide)
        )

    async def receive(
        self, arrived: Sequence[ReceiptFor], now: datetime, decide: Callable[..., Transition]
    ) -> tuple[list[str], list[str]]:
        """Record receipts: the result of each (see receipts.py), and the deliveries that became due.

        A receipt that can't be stored is ``invalid``, and the others of its batch are recorded.
        """

        def record(connection: Connection, *, lock: bool) -> tuple[list[str], list[str]]:
            return receipts.record(connection, self._rules, arrived, now, decide, lock=lock)

        try:
            return await self._write_unlocked("receive", record)
        except InvalidData:
            if len(arrived) == 1:
                return ["invalid"], []
        middle = len(arrived) // 2
        words, opened = await self.receive(arrived[:middle], now, decide)
        more_words, more_opened = await self.receive(arrived[middle:], now, decide)
        return [*words, *more_words], [*opened, *more_opened]
