"""The whole engine: it makes the contacts that the simulation promised, and none after a payment."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from channels.base import Accepted, Capability, LookupAnswer, LookupResult, Message, Receipt, ReceiptStatus
from gateway.app.app import Gateway
from gateway.journeys.assumptions import Assumptions
from gateway.journeys.cases import CaseRecord, Payment
from gateway.journeys.definition import parse
from gateway.journeys.simulated_borrower import Reaction, SimulatedBorrower
from gateway.journeys.simulation import OPT_OUT_AFTER, PAYS_AT, RECEIPT_AFTER, SimulationSetup, simulate
from gateway.storage.journey_tables import case_records, journeys
from gateway.storage.schema import deliveries, notifications
from tests.support.api_gateway import open_api_gateway
from tests.support.journey_cases import DAY, FOLDER, START, snapshot
from tests.support.policy_cases import PACKS

_ACCOUNTS, _DAYS = 60, 45
_PROVIDERS = {"sms": "twilio", "email": "relay"}
# Everything that may happen, and often: sixty accounts have to show each of it.
OUTCOMES = Assumptions(
    delivered={"sms": 0.8, "email": 0.9},
    read={"email": 0.3},
    replied=0,
    paid_per_day=0.005,
    paid=0.1,
    promised=0.15,
    plan_agreed=0.1,
    opted_out=0.03,
)
# The shipped one without the channel whose receipts are the borrower's own, and with few different instants.
SOURCE = (FOLDER / "card-overdue.toml").read_text("utf-8").replace("PT4H", "PT0S")
SOURCE = SOURCE.replace(', "inapp"', "").replace('"inapp", ', "")
_OFFERS = {each.id for each in parse(SOURCE).steps if each.offer is not None}

Act = Callable[[datetime], Awaitable[None]]


def records() -> list[CaseRecord]:
    made = []
    for each in range(_ACCOUNTS):
        addresses = {"sms": f"+8869120{each:05d}", "email": f"b{each}@example.com"}
        borrower = replace(snapshot().borrower, id=f"B-{each}", addresses=addresses)
        made.append(CaseRecord(f"C-{each}", snapshot(borrower=borrower, facts={"months_overdue": 1 + each % 3})))
    return made


@dataclass
class _Recorder:
    """A provider that takes everything, and remembers what was handed over."""

    name: str
    channel: str
    handed_over: list[Message]
    capability: Capability = field(default_factory=lambda: Capability(concurrency=10))

    async def send(self, message: Message) -> Accepted:
        self.handed_over.append(message)
        return Accepted(f"{self.name}-{message.delivery_id}")

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        return LookupAnswer(LookupResult.UNSUPPORTED)

    async def close(self) -> None:
        """Nothing to release."""


class _Engine:
    """Moves a gateway's clock from one due instant to the next, and does what borrowers do by ``OUTCOMES``."""

    def __init__(self) -> None:
        self.now = START
        self.found: list[tuple[datetime, str, str, str]] = []
        self._handed_over: list[Message] = []
        self._acts: list[tuple[datetime, int, Act]] = []
        self._number = 0
        self._borrowers = {each.id: SimulatedBorrower(OUTCOMES, each.id) for each in records()}

    def clock(self) -> datetime:
        return self.now

    async def run(self, gateway: Gateway) -> None:
        self._gateway = gateway
        providers: Any = gateway.providers.by_name
        for channel, name in _PROVIDERS.items():
            providers[name] = _Recorder(name, channel, self._handed_over)
        await _publish(gateway)
        await gateway.journeys.cases.feed("acme", records(), "key:1")
        for each in records():
            day = OUTCOMES.day_paid(each.id)
            if day is not None:
                self._at(START + day * DAY + PAYS_AT, self._paying(each.id))
        while (following := await self._following()) < START + _DAYS * DAY:
            self.now = max(self.now, following)
            while self._acts and self._acts[0][0] <= self.now:
                _, _, act = heapq.heappop(self._acts)
                await act(self.now)
                await self._work()
            await self._work()

    async def _work(self) -> None:
        """All that is due now: journeys, then messages, as often as one leads to the other."""
        gateway, runner = self._gateway, self._gateway.journeys.runner
        while True:
            due, sending = await runner.due(self.now, 1000), await gateway.path.store.due(self.now, 1000)
            if not due and not sending:
                return
            await runner.run(due)
            if sending:
                await gateway.path.pipeline.dispatch(sending)
                await self._react()

    async def _react(self) -> None:
        taken, self._handed_over[:] = list(self._handed_over), []
        ids = [each.delivery_id for each in taken]
        query = select(deliveries.c.id, deliveries.c.case_id, deliveries.c.channel, notifications.c.idempotency_key)
        query = query.join(notifications, notifications.c.id == deliveries.c.notification_id)
        rows = await self._gateway.ledger.database.read(
            lambda connection: connection.execute(query.where(deliveries.c.id.in_(ids))).all()
        )
        for row in sorted(rows, key=lambda row: row.case_id):
            key = row.idempotency_key.split(":", 2)[2]
            self.found.append((self.now, row.case_id, key, row.channel))
            reaction = self._borrowers[row.case_id].reaction(key, row.channel, offers=key in _OFFERS)
            if reaction.delivered:
                provider = _PROVIDERS[row.channel]
                self._at(self.now + RECEIPT_AFTER, self._receipt(row.case_id, provider, row.id, reaction))

    def _receipt(self, case_id: str, provider: str, delivery_id: str, reaction: Reaction) -> Act:
        async def act(now: datetime) -> None:
            statuses = [ReceiptStatus.DELIVERED, *([ReceiptStatus.READ] if reaction.read else [])]
            receipts = [Receipt(provider, each, f"{provider}-{delivery_id}") for each in statuses]
            assert await self._gateway.path.receiver.handle_provider_push(provider, receipts, ())
            await self._gateway.path.receiver.drain()
            if reaction.opts_out:
                self._at(now + OPT_OUT_AFTER, self._opting_out(case_id))
            if reaction.then:
                acts = {"pay": self._paying, "plan": self._agreeing, "promise": self._promising}
                self._at(now + reaction.after, acts[reaction.then](case_id))

        return act

    def _paying(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            await self._feed(self._borrowers[case_id].payment(await self._record(case_id), now))

        return act

    def _agreeing(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            await self._feed(self._borrowers[case_id].plan(await self._record(case_id), now))

        return act

    def _promising(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            promised = self._borrowers[case_id].promise(await self._record(case_id), now)
            if promised is not None:
                await self._feed(promised[0])
                if promised[1] is not None:
                    self._at(promised[1], self._paying(case_id))

        return act

    def _opting_out(self, case_id: str) -> Act:
        async def act(now: datetime) -> None:
            borrower = case_id.replace("C-", "B-")
            await self._gateway.path.borrowers.add_opt_out("acme", borrower, None, None, "lender", "key:1")

        return act

    async def _record(self, case_id: str) -> CaseRecord:
        found = await self._gateway.journeys.cases.find("acme", case_id)
        assert found is not None
        return found

    async def _feed(self, part: CaseRecord | None) -> None:
        if part is not None:
            await self._gateway.journeys.cases.feed("acme", [part], "key:1")

    def _at(self, when: datetime, act: Act) -> None:
        self._number += 1
        heapq.heappush(self._acts, (when, self._number, act))

    async def _following(self) -> datetime:
        """The next instant at which something is due, or a borrower does something."""
        columns = (journeys.c.due_at, deliveries.c.due_at, case_records.c.check_at)
        queries = [select(func.min(each)) for each in columns]
        found = await self._gateway.ledger.database.read(
            lambda connection: [connection.execute(each).scalar() for each in queries]
        )
        waiting = [self._acts[0][0]] if self._acts else []
        return min([*(each for each in found if each is not None), *waiting], default=START + _DAYS * DAY)


async def _publish(gateway: Gateway) -> None:
    definitions = gateway.journeys.definitions
    await definitions.save("acme", SOURCE, "user:ann")
    await definitions.submit("acme", "card-overdue", 1, "user:ann")
    await definitions.approve("acme", "card-overdue", 1, "user:bob")
    await definitions.publish("acme", "card-overdue", 1, "user:bob")


def _category(template: str) -> str:
    return "service" if template == "due-soon" else "collections"


async def test_the_engine_makes_the_simulated_contacts_in_their_order(tmp_path: Path, redis_url: str) -> None:
    """Sixty accounts over 45 days with fixed outcomes: the same contacts at the same instants, on the same channels."""
    setup = SimulationSetup(parse(SOURCE), PACKS, OUTCOMES, _category, START, _DAYS)
    expected = simulate(setup, records())
    engine = _Engine()
    async with open_api_gateway(tmp_path, redis_url, clock=engine.clock, releases_per_second=0) as gateway:
        await engine.run(gateway)
    contacts = [(each.at, each.case_id, each.step, each.channel) for each in expected.contacts]
    assert sorted(engine.found) == sorted(contacts)
    assert len(contacts) > 2 * _ACCOUNTS
    assert {"paid", "plan_agreed"} <= set(expected.exits)


@pytest.mark.parametrize("moment", ["before dispatch", "between decision and hand-off"])
async def test_a_payment_before_the_hand_off_sends_nothing(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The step is decided and accepted when the payment comes: nothing is handed over, and the journey ends as paid."""
    handed_over: list[Message] = []
    paid = CaseRecord("C-0", payments={"p1": Payment("p1", Decimal("3913.00"), START)})
    async with open_api_gateway(tmp_path, redis_url, clock=lambda: START, releases_per_second=0) as gateway:
        await _publish(gateway)
        await gateway.journeys.cases.feed("acme", [records()[0]], "key:1")
        providers: Any = gateway.providers.by_name
        providers["twilio"] = _Recorder("twilio", "sms", handed_over)
        runner, store = gateway.journeys.runner, gateway.path.store
        await runner.run(await runner.due(START, 10))
        due = await store.due(START, 10)
        assert len(due) == 1
        start = store.start

        async def pay_first(*arguments: Any) -> set[str]:
            await gateway.journeys.cases.feed("acme", [paid], "key:1")
            return await start(*arguments)

        if moment == "before dispatch":
            await gateway.journeys.cases.feed("acme", [paid], "key:1")
        else:
            monkeypatch.setattr(store, "start", pay_first)
        await gateway.path.pipeline.dispatch(due)
        await runner.run(await runner.due(START, 10))
        [journey] = await gateway.journeys.reads.listed("acme", limit=2)
        assert (journey["state"], journey["reason"]) == ("exited", "paid")
        assert handed_over == []
        assert await store.due(START + 10 * DAY, 10) == []
