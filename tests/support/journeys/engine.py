"""A whole gateway that runs journeys on a clock of its own, with borrowers that do what a simulation assumes.

The clock stands still while anything is due, and then moves to the next instant at which something is due or a
borrower does something. So a run is as exact as the simulation that it is compared with, however slow the machine is.
The journeys, the policy, the ledger and the hand-over are the gateway's; the providers take everything.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select, union_all

from channels.base import Accepted, Capability, LookupAnswer, LookupResult, Message, Receipt, ReceiptStatus
from gateway.app.app import Gateway
from gateway.journeys.cases.record import CaseRecord, merged
from gateway.journeys.claiming import decode_journey
from gateway.journeys.simulation.borrower import Reaction, SimulatedBorrower
from gateway.journeys.simulation.run import OPT_OUT_AFTER, PAYS_AT, RECEIPT_AFTER, SimulationSetup
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.journeys import case_records, journey_progress, journeys
from gateway.storage.tables.path import deliveries, events, notifications

TENANT = "acme"
_KEY = "key:1"
_FED_AT_ONCE = 500  # cases
_POLL_SECONDS = 0.002
_STUCK_SECONDS = 60.0  # without any progress at one instant; a busy machine needs some of it

Act = Callable[[datetime], Awaitable[None]]
# Returns when nothing is due at the instant that the clock shows.
Settle = Callable[[Gateway, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True, order=True)
class MadeContact:
    """A message that was handed over."""

    at: datetime
    case_id: str
    step: str
    channel: str


@dataclass
class RecordingProvider:
    """A provider that takes everything, and remembers it. ``within``: the real one, which gets it as well."""

    name: str
    channel: str
    handed_over: list[Message]
    within: Any = None
    capability: Capability = field(default_factory=lambda: Capability(concurrency=200))

    async def send(self, message: Message) -> Accepted:
        self.handed_over.append(message)
        if self.within is not None:
            accepted: Accepted = await self.within.send(message)
            return accepted
        return Accepted(f"{self.name}-{message.delivery_id}")

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        return LookupAnswer(LookupResult.UNSUPPORTED)

    async def close(self) -> None:
        """Nothing to release."""


class JourneyEngine:
    """One run. ``providers`` names the configured provider of each channel; that of the feed stays in place.

    ``tick``: what is due within so much of each other is done together at its end, as by a scanner that looks that
    seldom; never two things of one case, whose order would be lost. Zero: each at its instant. What borrowers do
    follows from when a message was due, and has its own instant: a promise just before midnight is one of that day.
    """

    def __init__(
        self,
        setup: SimulationSetup,
        source: str,
        records: Sequence[CaseRecord],
        providers: Mapping[str, str],
        tick: timedelta = timedelta(0),
    ) -> None:
        self.now = setup.start
        self.found: list[MadeContact] = []
        self.instants = 0
        self._setup, self._source, self._tick = setup, source, tick
        self._providers = providers
        self._offers = {each.id for each in setup.definition.steps if each.offer is not None}
        self._records = {each.id: each for each in records}
        self._borrowers = {each.id: SimulatedBorrower(setup.assumed, each.id) for each in records}
        self._handed_over: list[Message] = []
        self._acts: list[tuple[datetime, int, str, Act]] = []
        self._number = 0
        self._due: dict[str, datetime] = {}  # when the one thing was due that a case has in this tick

    def clock(self) -> datetime:
        return self.now

    async def run(
        self, gateway: Gateway, settle: Settle, looked: Callable[[datetime], None] = lambda now: None
    ) -> None:
        """From the setup's start to its end. ``looked`` is called at each instant, for a progress bar."""
        self._gateway, self._settle = gateway, settle
        by_name: Any = gateway.providers.by_name
        for channel, name in self._providers.items():
            within = by_name[name] if channel == "inapp" else None
            capability = {"capability": within.capability} if within is not None else {}
            by_name[name] = RecordingProvider(name, channel, self._handed_over, within, **capability)
        await publish(gateway, self._source)
        records = list(self._records.values())
        for at in range(0, len(records), _FED_AT_ONCE):
            await gateway.journeys.cases.feed(TENANT, records[at : at + _FED_AT_ONCE], _KEY)
        for each in records:
            day = self._setup.assumed.day_paid(each.id)
            if day is not None:
                self._at(self._setup.start + day * timedelta(days=1) + PAYS_AT, each.id, self._paying(each.id))
        await self._work()
        while (following := await self._following()) < self._setup.end:
            self.now = max(self.now, following)
            self.instants += 1
            looked(self.now)
            await self._act()
            await self._work()

    async def _act(self) -> None:
        """What borrowers do by now: those of one case in their order."""
        due: dict[str, list[tuple[datetime, Act]]] = {}
        while self._acts and self._acts[0][0] <= self.now:
            when, _, case_id, act = heapq.heappop(self._acts)
            due.setdefault(case_id, []).append((when, act))
        first = [each.pop(0) for each in due.values()]
        await asyncio.gather(*(act(when) for when, act in first))
        for when, act in (later for each in due.values() for later in each):
            await self._work()
            await act(when)

    async def _work(self) -> None:
        await self._settle(self._gateway, self.now)
        while self._handed_over:
            await self._react()
            await self._settle(self._gateway, self.now)

    async def _react(self) -> None:
        taken, self._handed_over[:] = list(self._handed_over), []
        ids = [each.delivery_id for each in taken]
        columns = (deliveries.c.id, deliveries.c.case_id, deliveries.c.borrower_id, deliveries.c.channel)
        query = select(*columns, notifications.c.idempotency_key)
        query = query.join(notifications, notifications.c.id == deliveries.c.notification_id)
        rows = await self._read(
            lambda connection: connection.execute(query.where(deliveries.c.id.in_(ids))).all()  # type: ignore[arg-type]
        )
        for row in sorted(rows, key=lambda row: row.case_id):
            key = row.idempotency_key.split(":", 2)[2]
            self.found.append(MadeContact(self.now, row.case_id, key, row.channel))
            reaction = self._borrowers[row.case_id].reaction(key, row.channel, offers=key in self._offers)
            if reaction.delivered:
                at = self._due.get(row.case_id, self.now)
                self._at(at + RECEIPT_AFTER, row.case_id, partial(self._received, row, reaction))

    # ── what borrowers do ───────────────────────────────────────────────────────────────────────────────────────────

    async def _received(self, row: Any, reaction: Reaction, now: datetime) -> None:
        """It arrived, and may be read or answered; what follows from it later."""
        receiver, case_id = self._gateway.path.receiver, row.case_id
        if row.channel == "inapp":  # which is delivered already
            if reaction.read:
                query = select(inbox.c.seq).where(inbox.c.delivery_id == row.id)
                [(seq,)] = await self._read(lambda connection: connection.execute(query).all())
                assert await receiver.mark_read(TENANT, row.borrower_id, seq)
        else:
            provider = self._providers[row.channel]
            statuses = [ReceiptStatus.DELIVERED, *([ReceiptStatus.READ] if reaction.read else [])]
            receipts = [Receipt(provider, each, f"{provider}-{row.id}") for each in statuses]
            assert await receiver.handle_provider_push(provider, receipts, ())
        if reaction.replied:
            await receiver.reply_of_reader(row.id, row.channel, "收到", f"said-{row.id}")
        if reaction.opts_out:
            self._at(now + OPT_OUT_AFTER, case_id, partial(self._opt_out, row.borrower_id))
        if reaction.then:
            acts = {"pay": self._paying, "plan": self._agreeing, "promise": self._promising}
            self._at(now + reaction.after, case_id, acts[reaction.then](case_id))

    def _paying(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            await self._feed(self._borrowers[case_id].payment(self._records[case_id], now))

        return act

    def _agreeing(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            await self._feed(self._borrowers[case_id].plan(self._records[case_id], now))

        return act

    def _promising(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            promised = self._borrowers[case_id].promise(self._records[case_id], now)
            if promised is not None:
                await self._feed(promised[0])
                if promised[1] is not None:
                    self._at(promised[1], case_id, self._paying(case_id))

        return act

    async def _opt_out(self, borrower_id: str, now: datetime) -> None:
        await self._gateway.path.borrowers.add_opt_out(TENANT, borrower_id, None, None, "lender", _KEY)

    async def _feed(self, part: CaseRecord | None) -> None:
        if part is not None:
            self._records[part.id] = merged(self._records[part.id], part)
            await self._gateway.journeys.cases.feed(TENANT, [part], _KEY)

    def _at(self, when: datetime, case_id: str, act: Act) -> None:
        self._number += 1
        heapq.heappush(self._acts, (when, self._number, case_id, act))

    # ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _following(self) -> datetime:
        """The instant to which the clock moves."""
        columns = (journeys.c.due_at, deliveries.c.due_at, case_records.c.check_at)
        queries = [select(func.min(each)) for each in columns]
        found = await self._read(lambda connection: [connection.execute(each).scalar() for each in queries])
        waiting = [self._acts[0][0]] if self._acts else []
        first = min([*(each for each in found if each is not None), *waiting], default=self._setup.end)
        self._due = {}
        if not self._tick or first >= self._setup.end:
            return first
        last = self._setup.start + -(-(first - self._setup.start) // self._tick) * self._tick
        return max(first, await self._before_the_second_of_a_case(last))

    async def _before_the_second_of_a_case(self, last: datetime) -> datetime:
        """The latest instant until ``last`` up to which no case has two things to do, one after the other."""
        tables = (journeys, deliveries)
        query = union_all(*(select(each.c.case_id, each.c.due_at).where(each.c.due_at <= last) for each in tables))
        rows = await self._read(lambda connection: connection.execute(query).all())
        due = [(at, case_id) for case_id, at in rows]
        due += [(each[0], each[2]) for each in self._acts if each[0] <= last]
        for at, case_id in sorted(due):
            if self._due.setdefault(case_id, at) < at:
                return at - timedelta(microseconds=1)
        return last

    # ── what came of it ─────────────────────────────────────────────────────────────────────────────────────────────

    async def exits(self) -> Counter[str]:
        """How the journeys ended or stand, in the words of a simulation."""
        query = select(journeys.c.state, journeys.c.reason, func.count()).group_by(journeys.c.state, journeys.c.reason)
        rows = await self._read(lambda connection: connection.execute(query).all())
        found: Counter[str] = Counter()
        for state, reason, number in rows:
            found[reason if state == "exited" else f"still {state}"] += number
        return found

    async def steps(self) -> Counter[tuple[str, str]]:
        """What became of the steps, in the words of a simulation."""
        query = select(journeys.c.body)
        rows = await self._read(lambda connection: list(connection.execute(query).scalars()))
        return Counter((each.step, str(each.result)) for row in rows for each in decode_journey(row).steps)

    async def _read(self, read: Callable[[Connection], Any]) -> Any:
        return await self._gateway.ledger.database.read(read)


async def publish(gateway: Gateway, source: str) -> None:
    """Bring a definition to life: written by one person, approved by another."""
    definitions = gateway.journeys.definitions
    made = await definitions.save(TENANT, source, "user:ann")
    name, number = made["name"], made["number"]
    await definitions.submit(TENANT, name, number, "user:ann")
    await definitions.approve(TENANT, name, number, "user:bob")
    await definitions.publish(TENANT, name, number, "user:bob")


async def by_hand(gateway: Gateway, now: datetime) -> None:
    """Do all that is due now, without workers: journeys, then messages, as often as one leads to the other."""
    runner, store = gateway.journeys.runner, gateway.path.store
    while True:
        due, sending = await runner.due(now, 1000), await store.due(now, 1000)
        if not due and not sending:
            return
        await runner.run(due)
        if sending:
            await gateway.path.pipeline.dispatch(sending)
            await gateway.path.receiver.drain()


async def by_workers(gateway: Gateway, now: datetime) -> None:
    """Wait until the gateway's own scanners and workers have done all that is due now. Raises TimeoutError."""
    waiting = [
        select(func.count()).where(journeys.c.due_at <= now).scalar_subquery(),
        select(func.count()).where(deliveries.c.due_at <= now).scalar_subquery(),
        select(func.count()).where(case_records.c.check_at <= now).scalar_subquery(),
        select(func.coalesce(func.max(events.c.seq), 0)).scalar_subquery()
        - select(func.coalesce(func.max(journey_progress.c.seq), 0)).scalar_subquery(),
    ]
    before: Any = None
    loop = asyncio.get_running_loop()
    since = loop.time()
    while True:
        await gateway.path.receiver.drain()
        row = await gateway.ledger.database.read(lambda connection: tuple(connection.execute(select(*waiting)).one()))
        jobs = await gateway.redis.queue.waiting()
        if not any(row) and not jobs:
            return
        if (row, jobs) != before:
            before, since = (row, jobs), loop.time()
        if loop.time() - since > _STUCK_SECONDS:
            raise TimeoutError(f"at {now}: journeys, deliveries, cases, events left: {row}; jobs: {jobs}")
        await asyncio.sleep(_POLL_SECONDS)
