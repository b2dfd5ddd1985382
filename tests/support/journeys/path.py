"""Journeys on a ledger, with the path's own ``accept`` behind them and nobody who sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from gateway.core.codec import fingerprint
from gateway.core.notifications import Category, Notification, new_id
from gateway.core.requests import AcceptResult, DecidedRequest, NotificationRequest, StepDecision
from gateway.core.states import PENDING_STATES, State
from gateway.journeys.acts import JourneyActs
from gateway.journeys.cases.record import CaseRecord, Payment
from gateway.journeys.cases.store import CaseStore
from gateway.journeys.claiming import decode_journey
from gateway.journeys.deciding import PathServices
from gateway.journeys.definitions.store import JourneyDefinitions
from gateway.journeys.history import JourneyEvent
from gateway.journeys.journey import Journey
from gateway.journeys.reads import JourneyReads
from gateway.journeys.runner import JourneyRunner
from gateway.journeys.store import JourneyStore
from gateway.storage.database import Database
from gateway.storage.tables.journeys import journeys
from gateway.storage.tables.path import deliveries, notifications
from tests.support.journeys.cases import SHORT, START, snapshot
from tests.support.rules.policy_cases import PACKS
from tests.support.storage.ledgers import SEND, digest, people_on, store_on

PAID = CaseRecord("C-1", payments={"p1": Payment("p1", Decimal("3913.00"), START)})


@dataclass
class JourneyBench:
    """One process's journeys, with a clock that the test moves. ``before_accept`` is called with each batch."""

    database: Database
    now: datetime = START
    before_accept: Callable[[], Awaitable[object]] | None = None
    asked: list[NotificationRequest] = field(default_factory=list)
    observed: list[JourneyEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cases = CaseStore(self.database, digest, self.clock)
        self.definitions = JourneyDefinitions(self.database, lambda tenant, definition: (), self.clock)
        self.store = JourneyStore(self.database)
        self.reads = JourneyReads(self.database)
        path = PathServices(self.accept, self.cancel, lambda tenant, template: ("amount", "currency", "due_date"))
        self.runner = JourneyRunner(self.store, path, self.clock, self.observed.extend)
        self.acts = JourneyActs(self.store, path, PACKS, self.clock)

    def clock(self) -> datetime:
        return self.now

    async def accept(self, tenant: str, requests: Sequence[NotificationRequest], client: str) -> list[AcceptResult]:
        if self.before_accept is not None:
            await self.before_accept()
        self.asked += requests
        decided = [self._decided(tenant, each, client) for each in requests]
        return await store_on(self.database).accept(decided, self.now)

    async def cancel(self, tenant: str, notification_id: str, actor: str) -> str:
        return await people_on(self.database, self.now).cancel(tenant, notification_id, actor)

    def _decided(self, tenant: str, request: NotificationRequest, client: str) -> DecidedRequest:
        notification = Notification(
            id=new_id("ntf", self.now),
            tenant=tenant,
            idempotency_key=request.idempotency_key,
            dedup_key=request.idempotency_key,
            borrower=request.borrower,
            case=request.case,
            template=request.template,
            template_version="1",
            variables=request.variables,
            route=request.route,
            category=Category.COLLECTIONS,
            accepted_at=self.now,
            client=client,
        )
        channel = request.route[0].channel
        step = StepDecision(0, channel, digest(tenant, channel, "address"), SEND)
        return DecidedRequest(notification, fingerprint(request.raw), (step,))

    async def live(self, source: str = SHORT, tenant: str = "acme") -> None:
        """Bring a definition to life: written by one person, approved by another."""
        made = await self.definitions.save(tenant, source, "user:ann")
        name, number = made["name"], made["number"]
        await self.definitions.submit(tenant, name, number, "user:ann")
        await self.definitions.approve(tenant, name, number, "user:bob")
        await self.definitions.publish(tenant, name, number, "user:bob")

    async def feed(self, *parts: CaseRecord) -> None:
        await self.cases.feed("acme", parts, "key:1")

    async def case(self, number: int = 1) -> None:
        """A case that is overdue, and meets the conditions of ``SHORT``."""
        borrower = snapshot().borrower
        own = type(borrower)(f"B-{number}", "N", "zh-TW", "tw", borrower.time_zones, borrower.addresses)
        await self.feed(CaseRecord(f"C-{number}", snapshot(borrower=own)))

    async def run(self, later: timedelta = timedelta(0), most: int = 10_000, rounds: int = 1_000) -> None:
        """Move the clock, and do all that is due, in at most so many looks."""
        self.now += later
        for _ in range(rounds):
            if not (due := await self.runner.due(self.now, most)):
                return
            await self.runner.run(due)

    async def one(self) -> Journey:
        """The only journey."""
        [journey] = await self.all()
        return journey

    async def all(self) -> list[Journey]:
        query = select(journeys.c.body).order_by(journeys.c.case_id, journeys.c.id)
        rows = await self.database.read(lambda connection: list(connection.execute(query).scalars()))
        return [decode_journey(each) for each in rows]

    async def id(self) -> str:
        return (await self.one()).id

    async def states(self) -> list[str]:
        """The states of all deliveries, in the order of their acceptance."""
        return [row.state for row in await self._rows(select(deliveries.c.state).order_by(deliveries.c.id))]

    async def pending_cases(self) -> set[str]:
        """The cases for which something could still be handed over."""
        pending = select(deliveries.c.case_id).where(deliveries.c.state.in_(sorted(PENDING_STATES)))
        return {row.case_id for row in await self._rows(pending)}

    async def cancelled(self, case_id: str) -> int:
        """How many deliveries of a case were cancelled."""
        mine = select(deliveries.c.id).where(deliveries.c.case_id == case_id, deliveries.c.state == State.CANCELLED)
        return len(await self._rows(mine))

    async def keys(self) -> list[str]:
        """The idempotency keys of all notifications."""
        return sorted(row.idempotency_key for row in await self._rows(select(notifications.c.idempotency_key)))

    async def _rows(self, query: Any) -> list[Any]:
        return await self.database.read(lambda connection: list(connection.execute(query)))
