"""The whole engine: it makes the contacts that the simulation promised, and none after a payment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from channels.base import Accepted, Message, ProviderReason, TransientFailure
from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.settings import Settings
from gateway.journeys.cases.record import CaseRecord, Payment
from gateway.journeys.definitions.model import parse
from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.run import SimulationSetup, simulate
from tests.support.api_gateway import PROVIDERS, open_api_gateway
from tests.support.journeys.cases import DAY, FOLDER, START, snapshot
from tests.support.journeys.comparison import compare
from tests.support.journeys.engine import JourneyEngine, MadeContact, RecordingProvider, by_hand, by_workers, publish
from tests.support.rules.policy_cases import PACKS

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
# The shipped one without the channel whose receipts are the borrower's own.
SOURCE = (FOLDER / "card-overdue.toml").read_text("utf-8")
SOURCE = SOURCE.replace(', "inapp"', "").replace('"inapp", ', "")


def records() -> list[CaseRecord]:
    """Every fifth account is its borrower's second; every seventh has no e-mail address, every eleventh no phone."""
    made = []
    for each in range(_ACCOUNTS):
        person = each - 1 if each % 5 == 4 else each
        addresses = {"sms": f"+8869120{person:05d}", "email": f"b{person}@example.com"}
        addresses = {name: at for name, at in addresses.items() if person % {"sms": 11, "email": 7}[name]}
        borrower = replace(snapshot().borrower, id=f"B-{person}", addresses=addresses)
        made.append(CaseRecord(f"C-{each}", snapshot(borrower=borrower, facts={"months_overdue": 1 + each % 3})))
    return made


def _category(template: str) -> str:
    return "service" if template == "due-soon" else "collections"


async def test_the_engine_makes_the_simulated_contacts_in_their_order(tmp_path: Path, redis_url: str) -> None:
    """Sixty accounts over 45 days with fixed outcomes: the same contacts at the same instants, on the same channels.

    Some borrowers have two accounts, and some lack an address.
    """
    setup = SimulationSetup(parse(SOURCE), PACKS, OUTCOMES, _category, START, _DAYS)
    expected = simulate(setup, records())
    engine = JourneyEngine(setup, SOURCE, records(), _PROVIDERS)
    async with open_api_gateway(tmp_path, redis_url, clock=engine.clock, releases_per_second=0) as gateway:
        await engine.run(gateway, by_hand)
        steps = await engine.steps()
    contacts = [MadeContact(each.at, each.case_id, each.step, each.channel) for each in expected.contacts]
    assert sorted(engine.found) == sorted(contacts)
    assert steps == expected.steps
    assert ("offer", "rejected") in steps
    assert any("min_gap" in each for each in expected.not_sent)
    assert len(contacts) > 2 * _ACCOUNTS
    assert {"paid", "plan_agreed"} <= set(expected.exits)


async def test_the_workers_of_a_gateway_make_the_simulated_contacts(tmp_path: Path, redis_url: str) -> None:
    """Twenty accounts over twelve days, by scanners and workers, on a clock that jumps by ten minutes at most."""
    tick = timedelta(minutes=10)
    setup = SimulationSetup(parse(SOURCE), PACKS, OUTCOMES, _category, START, 12)
    expected = simulate(setup, records()[:20])
    engine, stop, found = JourneyEngine(setup, SOURCE, records()[:20], _PROVIDERS, tick), asyncio.Event(), []
    settings = Settings(data_dir=tmp_path, redis_url=redis_url, providers=PROVIDERS, relay_seconds=0.01, metrics_port=0)

    async def ready(gateway: Gateway) -> None:
        try:
            await engine.run(gateway, by_workers)
            found.append(await engine.steps())
        finally:
            stop.set()

    await serving.serve(settings, api=False, worker=True, stop=stop, ready=ready, clock=engine.clock)
    contacts = [MadeContact(each.at, each.case_id, each.step, each.channel) for each in expected.contacts]
    compared = compare(contacts, engine.found, 3 * tick)
    assert compared.same, compared
    assert found == [expected.steps]
    assert len(contacts) > 20


def test_a_difference_is_named() -> None:
    """A contact that is missing, one too many, another order for a case or among cases, and another instant."""
    one, two = MadeContact(START, "C-1", "remind", "sms"), MadeContact(START + DAY, "C-1", "offer", "email")
    other = MadeContact(START + DAY, "C-2", "remind", "sms")
    assert compare([one, two, other], [one, two, other], timedelta(0)).same
    assert compare([one, two], [one], timedelta(0)).missing == ["C-1 offer email"]
    assert compare([one], [one, other], timedelta(0)).extra == ["C-2 remind sms"]
    late = replace(one, at=START + 2 * DAY)
    swapped = compare([one, two, other], [two, other, late], DAY)
    assert (swapped.other_order_of_a_case, swapped.most_seconds_late) == (["C-1"], 2 * DAY.total_seconds())
    assert len(swapped.other_instant) == 1
    assert compare([one, other], [other, one], timedelta(0)).other_order_among_cases == 1


@pytest.mark.parametrize("moment", ["before dispatch", "between decision and hand-off"])
async def test_a_payment_before_the_hand_off_sends_nothing(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The step is decided and accepted when the payment comes: nothing is handed over, and the journey ends as paid."""
    handed_over: list[Message] = []
    paid = CaseRecord("C-3", payments={"p1": Payment("p1", Decimal("3913.00"), START)})
    async with open_api_gateway(tmp_path, redis_url, clock=lambda: START, releases_per_second=0) as gateway:
        await publish(gateway, SOURCE.replace("PT4H", "PT0S"))
        await gateway.journeys.cases.feed("acme", [records()[3]], "key:1")
        providers: Any = gateway.providers.by_name
        providers["twilio"] = RecordingProvider("twilio", "sms", handed_over)
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


async def test_an_outage_of_the_provider_is_not_followed_by_two_messages(tmp_path: Path, redis_url: str) -> None:
    """A message a day, and a provider that is away for thirty hours: the first day's is given up for the second's."""
    daily = """
name = "daily"
enter = { when = { days_overdue = { at_least = 1 } } }
pace = { at = "10:00", spread = "PT0S" }
""" + "".join(f'[[step]]\nid = "s{day}"\nday = {day}\ntemplate = "overdue-first"\nroute = ["sms"]\n' for day in (1, 2))
    now = START
    sent: list[tuple[timedelta, str]] = []
    taken: list[Message] = []

    class AwayAtFirst(RecordingProvider):
        async def send(self, message: Message) -> Accepted:
            if now < START + timedelta(hours=30):
                raise TransientFailure(ProviderReason.PROVIDER_UNAVAILABLE)
            sent.append((now - START, message.delivery_id))
            return await super().send(message)

    async with open_api_gateway(tmp_path, redis_url, clock=lambda: now, releases_per_second=0) as gateway:
        await publish(gateway, daily)
        await gateway.journeys.cases.feed("acme", [records()[3]], "key:1")
        providers: Any = gateway.providers.by_name
        providers["twilio"] = AwayAtFirst("twilio", "sms", taken)
        while now < START + 2 * DAY:
            await by_hand(gateway, now)
            now += timedelta(minutes=30)
        states = await gateway.journeys.reads.listed("acme", limit=2)
    assert [at >= timedelta(hours=30) for at, _ in sent] == [True]
    assert [each["reason"] for each in states] == ["completed"]
