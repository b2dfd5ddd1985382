"""The assistant on a whole gateway without a worker: what it answers, what follows, and what it leaves to persons."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import rmtree
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from sqlalchemy import Connection, select
from standardwebhooks import Webhook

from channels.base import Reply
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway
from gateway.app.embedded.valkey import EmbeddedValkey
from gateway.conversations.assistant_settings import AssistantSettings, in_assistant_holdout
from gateway.core.conversations import ConversationState, Handler
from gateway.core.reasons import HoldKind
from gateway.core.requests import AcceptResult
from gateway.core.understanding import Urgency
from gateway.journeys.cases.record import CaseRecord
from gateway.storage.tables.borrowers import replies
from gateway.storage.tables.conversations import conversations, verifications
from gateway.storage.tables.path import events, notifications, request_bodies
from tests.support.api_gateway import app_of, open_api_gateway, request, serving
from tests.support.journeys.cases import SHORT, snapshot
from tests.support.production import free_port
from tests.support.storage.ledgers import NOW

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOURS = {"en": "Mon to Fri, 09:00 to 18:00", "zh-Hant": "週一至週五 9:00 至 18:00"}


@dataclass
class Line:
    """The borrower's telephone: what is written on it, and what the gateway would send to it."""

    gateway: Gateway
    now: Any
    settings: dict[str, AssistantSettings]
    tenant: str
    phone: str

    async def link(self) -> str:
        """The path of the newest link."""
        latest = await self.gateway.ledger.reads.latest(self.tenant, "B-1")
        assert latest is not None
        return "/v/" + str(latest.variables["link"]).rpartition("/")[2]

    async def everything(self) -> str:
        """All rows of the ledger that have words, as text."""
        tables = (notifications, request_bodies, replies, events, conversations, verifications)

        def read(connection: Connection) -> str:
            return str([connection.execute(select(each)).all() for each in tables])

        return await self.gateway.ledger.database.read(read)

    async def help(self) -> str:
        """Who helps free of charge, as the newest message has it."""
        latest = await self.gateway.ledger.reads.latest(self.tenant, "B-1")
        assert latest is not None
        return str(latest.variables["help"])

    async def code(self) -> str:
        """The newest code."""
        latest = await self.gateway.ledger.reads.latest(self.tenant, "B-1")
        assert latest is not None
        return str(latest.variables["code"])

    async def writes(self, text: str, sid: str) -> None:
        reply = Reply("twilio", f"{self.tenant}-{sid}", self.phone, text)
        await self.gateway.path.receiver.handle_provider_push("twilio", [], [reply])
        await self.gateway.conversations.assistant.run_once()

    async def answers(self) -> list[Any]:
        query = (
            select(notifications)
            .where(notifications.c.template != "overdue-first", notifications.c.tenant == self.tenant)
            .order_by(notifications.c.id)
        )
        return list(await self.gateway.ledger.database.read(lambda connection: connection.execute(query).all()))

    async def templates(self) -> list[str]:
        return [each.template for each in await self.answers()]

    async def conversation(self) -> Any:
        found = [
            each
            for state in ConversationState
            for each in await self.gateway.conversations.store.queue(self.tenant, state, 5)
        ]
        assert len(found) == 1
        return found[0]

    async def opens_the_link(self) -> Any:
        token = (await self.link()).rpartition("/")[2]
        found = await self.gateway.conversations.links.take(token)
        assert await self.gateway.conversations.links.take(token) is None
        await self.gateway.conversations.assistant.run_once()
        return found

    async def in_journey(self) -> None:
        """The case is on a journey that reminds first, and offers a plan on its fourth day."""
        journeys = self.gateway.journeys
        await journeys.definitions.save(self.tenant, SHORT, "user:a")
        await journeys.definitions.submit(self.tenant, "short", 1, "user:a")
        await journeys.definitions.approve(self.tenant, "short", 1, "user:b")
        await journeys.definitions.publish(self.tenant, "short", 1, "user:b")
        known = snapshot()
        borrower = replace(known.borrower, addresses={**known.borrower.addresses, "sms": self.phone})
        part = CaseRecord("C-1", replace(known, borrower=borrower))
        await journeys.cases.feed(self.tenant, [part], "key:1")
        await self.walks()

    async def walks(self) -> None:
        """What the worker does for journeys."""
        runner = self.gateway.journeys.runner
        for _ in range(4):
            await runner.run(await runner.due(self.now(), 10))

    async def state_of(self, template: str) -> list[str]:
        return [each.state for each in await self.answers() if each.template == template]

    def phone_of(self, case_id: str) -> str:
        return f"{self.phone[:-2]}{case_id[-2:]}"

    async def case(self, case_id: str) -> None:
        """A reminder to a borrower of their own about this case."""
        body = request()
        body["borrower"]["id"] = f"B-{case_id}"
        body["borrower"]["addresses"]["sms"] = self.phone_of(case_id)
        body["case"] |= {"id": case_id}
        [taken] = await self.gateway.path.pipeline.accept(
            self.tenant, [NotificationIn.model_validate(body).incoming(case_id, body)]
        )
        assert isinstance(taken, AcceptResult), taken

    async def record(self) -> Any:
        """The case's."""
        found = await self.gateway.journeys.cases.find(self.tenant, "C-1")
        assert found is not None
        return found

    async def holds(self) -> set[str]:
        known = await self.gateway.ledger.reads.borrower(self.tenant, "B-1")
        assert known is not None
        return {each["kind"] for each in known["holds"]}


class _Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> Any:
        self.at += timedelta(milliseconds=5)
        return self.at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(valkey_server: EmbeddedValkey) -> AsyncIterator[tuple[Gateway, _Clock]]:
    """One gateway for all tests: each has a lender and a telephone of its own."""
    clock = _Clock()
    directory = Path(tempfile.mkdtemp(prefix="gw-"))
    # As the embedded default's process has it: tests add their lenders.
    values: Any = {"assistant": {}, "public_url": "https://gateway.example.com"}
    async with open_api_gateway(directory, valkey_server.url, clock=clock, **values) as gateway:
        yield gateway, clock
    rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def line(opened: tuple[Gateway, _Clock]) -> Line:
    gateway, clock = opened
    clock.at = NOW
    tenant, phone = f"t{os.urandom(4).hex()}", f"+8869{random.randrange(10**6):06}00"  # phone_of gives other ends
    await gateway.ledger.keys.create(tenant, "test", ["send"], NOW)
    settings = gateway.ledger.settings.assistant
    settings[tenant] = AssistantSettings(hours=HOURS, holdout=0)
    body = request()
    body["borrower"]["addresses"]["sms"] = phone
    await gateway.path.pipeline.accept(tenant, [NotificationIn.model_validate(body).incoming("", body)])
    return Line(gateway, clock, settings, tenant, phone)


async def test_a_question_is_answered_once_and_a_person_is_never_far(line: Line) -> None:
    """The same reply twice has one answer; after two the next reply waits for a person, as does what isn't known."""
    await line.writes("我還欠多少錢", "SM1")
    await line.writes("我還欠多少錢", "SM1")
    assert await line.templates() == ["reply-identify"]
    [first] = await line.answers()
    assert first.idempotency_key.startswith("rpl:rep_")
    assert (await line.conversation()).state is ConversationState.ANSWERED
    await line.writes("繳款日是哪一天", "SM2")
    await line.writes("怎麼付款", "SM3")
    assert await line.templates() == ["reply-identify", "reply-identify"]
    after = await line.conversation()
    assert (after.state, after.handler, after.answers) == (ConversationState.WAITING, Handler.PERSON, 2)
    mine = select(verifications).where(verifications.c.tenant == line.tenant)
    stored = await line.gateway.ledger.database.read(lambda connection: connection.execute(mine).all())
    token = (await line.link()).rpartition("/")[2]
    assert len(stored) == 2
    assert token not in str(stored)


async def test_a_promise_is_read_back_confirmed_and_taken_back(line: Line) -> None:
    """Nothing follows before a yes; then the case's record has it, and UNDO within a day takes it out again."""
    await line.writes("星期一還一千", "SM1")
    assert await line.templates() == ["reply-identify-code"]
    assert (await line.opens_the_link()).verified(NOW)
    assert await line.templates() == ["reply-identify-code", "reply-confirm-promise"]
    read_back = await line.gateway.ledger.reads.latest(line.tenant, "B-1")
    assert read_back is not None
    assert (read_back.variables["day"], read_back.variables["amount"]) == ("2026-11-30", "1000.00")
    cases = line.gateway.journeys.cases
    assert await cases.find(line.tenant, "C-1") is None
    assert HoldKind.PROMISE_TO_PAY not in await line.holds()
    await line.writes("是", "SM2")
    record = await cases.find(line.tenant, "C-1")
    assert record is not None
    [promise] = record.promises.values()
    assert (promise.day, promise.amount) == (date(2026, 11, 30), Decimal("1000.00"))
    assert HoldKind.PROMISE_TO_PAY in await line.holds()
    await line.writes("撤回", "SM3")
    record = await cases.find(line.tenant, "C-1")
    assert record is not None
    assert all(each.withdrawn_at is not None for each in record.promises.values())
    assert HoldKind.PROMISE_TO_PAY not in await line.holds()
    assert (await line.templates())[2:] == ["reply-noted", "reply-undone"]


async def test_a_reported_payment_pauses_reminders(line: Line) -> None:
    """Confirmed by a verified borrower; the case system hears of it by webhook; after a day nothing is taken back."""
    await line.writes("我已經繳了", "SM1")
    await line.opens_the_link()
    await line.writes("對", "SM2")
    assert HoldKind.PAYMENT_REPORTED in await line.holds()
    events = await line.gateway.ledger.reads.timeline(line.tenant, "B-1", 100)
    assert "conversation_payment_reported" in [each["kind"] for each in events]
    line.now.at += timedelta(days=2)
    await line.writes("撤回", "SM3")
    assert HoldKind.PAYMENT_REPORTED in await line.holds()


async def test_a_code_is_answered_with_instead_of_the_link(line: Line) -> None:
    """In full-width digits and with spaces, too; it goes on with the reply that it was for, and works once."""
    await line.writes("星期一還一千", "SM1")
    code, link = await line.code(), await line.link()
    mine = select(verifications.c.code_digest).where(verifications.c.tenant == line.tenant)
    stored = await line.gateway.ledger.database.read(lambda connection: connection.execute(mine).scalars().all())
    assert stored == [line.gateway.ledger.signer.code_digest((await line.conversation()).id, code)]
    wide = code.translate({ord(each): ord(each) + 0xFEE0 for each in "0123456789"})
    await line.writes(f"{wide[:3]} {wide[3:]}", "SM2")
    assert await line.templates() == ["reply-identify-code", "reply-confirm-promise"]
    assert (await line.conversation()).verified(line.now.at)
    assert await line.gateway.conversations.links.take(link.rpartition("/")[2]) is None
    await line.writes("是", "SM3")
    assert HoldKind.PROMISE_TO_PAY in await line.holds()
    [promise] = (await line.record()).promises.values()
    assert (promise.day, promise.amount) == (date(2026, 11, 30), Decimal("1000.00"))


async def test_a_code_that_is_wrong_old_or_anothers_is_a_persons(line: Line) -> None:
    """All are answered alike, and there is no second try."""
    await line.writes("星期一還一千", "SM1")
    code = await line.code()
    await line.writes(f"{(int(code) + 1) % 1_000_000:06}", "SM2")
    assert (await line.templates())[1:] == ["reply-received"]
    await line.writes(code, "SM3")
    after = await line.conversation()
    assert (after.handler, after.verified(line.now.at)) == (Handler.PERSON, False)
    assert len(await line.templates()) == 2


async def test_an_old_code_verifies_nobody(line: Line) -> None:
    """After half an hour it is answered as a wrong one is."""
    await line.writes("星期一還一千", "SM1")
    code = await line.code()
    line.now.at += timedelta(minutes=31)
    await line.writes(code, "SM2")
    assert (await line.templates())[1:] == ["reply-received"]
    assert not (await line.conversation()).verified(line.now.at)


async def test_a_wish_for_a_plan_opens_the_journeys_step(line: Line) -> None:
    """Verified and confirmed, the offer comes now; UNDO cancels it before it has gone out. It names free help."""
    await line.in_journey()
    await line.writes("我可以分期嗎", "SM1")
    assert await line.templates() == ["reply-identify-code"]
    await line.writes(await line.code(), "SM2")
    await line.walks()
    assert (await line.templates())[1:] == ["reply-confirm-plan"]
    assert "法律扶助基金會" in await line.help()
    assert await line.state_of("plan-offer") == []
    await line.writes("是", "SM3")
    await line.walks()
    assert await line.state_of("plan-offer") in (["accepted"], ["deferred"])
    assert "reply-noted" in await line.templates()
    kinds = [each["kind"] for each in await line.gateway.ledger.reads.timeline(line.tenant, "B-1", 100)]
    assert "conversation_plan_asked" in kinds
    await line.writes("撤回", "SM4")
    assert await line.state_of("plan-offer") == ["cancelled"]


async def test_a_wish_for_a_plan_without_such_a_step_is_a_persons(line: Line) -> None:
    """As where the case is on no journey; who helps free of charge is named at once."""
    await line.writes("我可以分期嗎", "SM1")
    [answer] = await line.answers()
    assert answer.template == "reply-plan"
    assert "法律扶助基金會" in await line.help()
    assert (await line.conversation()).handler is Handler.PERSON


async def test_who_does_not_verify_gets_a_person(line: Line) -> None:
    """Half an hour after the link and the code, what they wanted waits for a person, with a clock of its own."""
    await line.writes("我已經繳了", "SM1")
    assert (await line.conversation()).state is ConversationState.ANSWERED
    await line.gateway.conversations.assistant.run_once()
    assert (await line.conversation()).state is ConversationState.ANSWERED
    line.now.at += timedelta(minutes=31)
    await line.gateway.conversations.assistant.run_once()
    after = await line.conversation()
    assert (after.state, after.handler, after.urgency) == (ConversationState.WAITING, Handler.PERSON, Urgency.ROUTINE)
    assert after.review_by is not None
    assert await line.templates() == ["reply-identify-code"]


async def test_danger_is_never_answered_by_the_assistant(line: Line) -> None:
    """Also in the middle of a confirmation: what was asked is forgotten, and a person has it."""
    await line.writes("星期一還一千", "SM1")
    await line.opens_the_link()
    before = await line.templates()
    await line.writes("我不想活了", "SM2")
    await line.writes("是", "SM3")
    assert await line.templates() == before
    after = await line.conversation()
    assert (after.handler, after.asked) == (Handler.PERSON, "")


async def test_a_person_who_has_claimed_it_is_not_talked_over(line: Line) -> None:
    """The claim takes it from the assistant, also what it had not looked at yet."""
    await line.writes("我還欠多少錢", "SM1")
    await line.gateway.conversations.desk.claim(line.tenant, (await line.conversation()).id, "user:a")
    await line.writes("繳款日是哪一天", "SM2")
    assert await line.templates() == ["reply-identify"]


async def test_the_balance_is_shown_behind_the_link_and_kept_nowhere(line: Line) -> None:
    """A look uses nothing up; the button shows what the case system says now; then, and for a guess, it is gone."""
    port = free_port()
    asked: list[tuple[Mapping[str, str], str]] = []
    secret = line.gateway.ledger.signer.webhook_secret(f"assistant:{line.tenant}", 1)

    async def answer(call: web.Request) -> web.Response:
        Webhook(secret).verify(await call.text(), {**call.headers})
        asked.append(({**call.headers}, await call.text()))
        return web.json_response({"balance": "8765.40", "currency": "TWD", "due_date": "2026-12-07"})

    system = web.Application()
    system.router.add_post("/figures", answer)
    runner = web.AppRunner(system)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        line.settings[line.tenant] = AssistantSettings(
            hours=HOURS, holdout=0, case_url=f"http://127.0.0.1:{port}/figures"
        )
        await line.writes("我還欠多少錢", "SM1")
        path = await line.link()
        async with serving(app_of(line.gateway)) as url, aiohttp.ClientSession() as session:
            looks = [await (await session.get(url + each)).text() for each in (path, path, "/v/a-guess")]
            assert looks[0] == looks[1] == looks[2]
            shown = await (await session.post(url + path, headers={"Accept-Language": "zh-TW"})).text()
            assert "8,765.40" in shown
            assert "2026年12月7日" in shown
            again, guess = [await session.post(url + each) for each in (path, "/v/a-guess")]
            assert (again.status, await again.text()) == (410, await guess.text())
    finally:
        await runner.cleanup()
    assert [text for _, text in asked] == ['{"case_id":"C-1","borrower_id":"B-1"}']
    assert "8765.4" not in await line.everything()


async def test_a_case_system_that_is_away_is_a_persons(line: Line) -> None:
    """The page says that a colleague answers, and the conversation waits for one."""
    line.settings[line.tenant] = AssistantSettings(hours=HOURS, holdout=0, case_url=f"http://127.0.0.1:{free_port()}/")
    await line.writes("我還欠多少錢", "SM1")
    async with serving(app_of(line.gateway)) as url, aiohttp.ClientSession() as session:
        shown = await (await session.post(url + await line.link())).text()
    assert "A colleague will answer you" in shown
    after = await line.conversation()
    assert (after.state, after.handler, after.urgency) == (ConversationState.WAITING, Handler.PERSON, Urgency.ROUTINE)


async def test_the_report_compares_with_cases_left_to_persons(line: Line) -> None:
    """Each case is in the arm that its id gives it; what was written later counts there."""
    await line.writes("我還欠多少錢", "SM1")
    await line.writes("我要投訴你們", "SM2")
    reports = line.gateway.conversations.reports
    with_it, without = await reports.of(line.tenant)
    assert (with_it["arm"], with_it["conversations"], with_it["complained"]["hits"]) == ("assistant", 1, 1)
    assert (without["arm"], without["conversations"], without["paid"]["value"]) == ("holdout", 0, None)


async def test_a_case_of_the_holdout_is_a_persons(line: Line) -> None:
    """The reply waits as if there were no assistant, and the arm is recorded."""
    line.settings[line.tenant] = AssistantSettings(hours=HOURS, holdout=0.9)
    held = in_assistant_holdout(line.tenant, "C-1", 0.9)
    await line.writes("我還欠多少錢", "SM1")
    assert (await line.templates() == []) is held
    assert (await line.conversation()).arm == ("holdout" if held else "assistant")


async def test_a_share_of_cases_has_no_assistant_and_the_report_compares(line: Line) -> None:
    """Twelve cases by HTTP: each in the arm of its id, answered or not, paid or not; later settings move none."""
    line.settings[line.tenant] = AssistantSettings(hours=HOURS, holdout=0.5)
    held = {f"C-{n}": in_assistant_holdout(line.tenant, f"C-{n}", 0.5) for n in range(10, 22)}
    for case_id in held:
        await line.case(case_id)
        reply = Reply("twilio", f"{line.tenant}-{case_id}", line.phone_of(case_id), "我還欠多少錢")
        await line.gateway.path.receiver.handle_provider_push("twilio", [], [reply])
    await line.gateway.conversations.assistant.run_once()
    answered = {each.case_id for each in await line.answers() if each.template == "reply-identify"}
    assert answered == {case_id for case_id, without in held.items() if not without}
    line.settings[line.tenant] = AssistantSettings(hours=HOURS, holdout=0)
    paid = [case_id for case_id in held if case_id.endswith(("0", "1", "2"))]
    _, key = await line.gateway.ledger.keys.create(line.tenant, "cases", ["send", "read", "manage"], NOW)
    headers = {"Authorization": f"Bearer {key}"}
    async with serving(app_of(line.gateway)) as url, aiohttp.ClientSession(url, headers=headers) as session:
        for case_id in paid:
            async with session.post(f"/v1/cases/{case_id}/close", json={"reason": "paid"}) as closed:
                assert closed.status == 200, await closed.text()
        async with session.get("/v1/conversations/report") as answer:
            arms = {each["arm"]: each for each in (await answer.json())["lines"]}
    for name, without in (("assistant", False), ("holdout", True)):
        mine = [case_id for case_id, each in held.items() if each is without]
        assert arms[name]["conversations"] == len(mine)
        assert arms[name]["paid"]["hits"] == sum(case_id in paid for case_id in mine)


async def test_the_holdout_is_always_of_the_same_cases() -> None:
    """A tenth of a thousand cases, give or take; the same at each look, and more with a larger share."""
    cases = [f"C-{n}" for n in range(1000)]
    tenth = {each for each in cases if in_assistant_holdout("acme", each, 0.1)}
    assert 60 < len(tenth) < 140
    assert tenth <= {each for each in cases if in_assistant_holdout("acme", each, 0.5)}
