"""Social channels in a whole gateway: templates that pause, numbers that are one person, and who unfollows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from urllib.parse import urlencode

import pytest

from channels.base import TemplateStatus
from channels.line.simulator import LineSimulator
from channels.sms.simulator import SmsSimulator
from channels.twilio.shapes import sign
from channels.whatsapp.simulator import SimulatedTemplate, WhatsAppSimulator
from gateway.core.provider_templates import ProviderTemplate, Slot
from tests.support.providers.fake_servers import clock
from tests.support.waiting import eventually
from tests.support.whole_gateway import REQUEST, Running, up

ACCOUNT, TOKEN, SECRET = "AC" + "0" * 32, "token", "secret"
WORDS = "{{ lender.name }}: {{ borrower.name }}, we received {{ amount | money: currency }}.\n"
APPROVED = "{{lender}}: {{name}}, we received {{amount}}."
SLOTS = (Slot("lender", "{{ lender.name }}"), Slot("name", "{{ borrower.name }}"),
         Slot("amount", "{{ amount | money: currency }}"))  # fmt: skip


@dataclass
class SocialChannels:
    """A gateway, and the other side of its three channels."""

    gateway: Running
    sms: SmsSimulator
    whatsapp: WhatsAppSimulator
    line: LineSimulator
    cases: Iterator[int] = field(default_factory=count)  # one each, or the second message would be a duplicate

    async def agree(self, *numbers: int) -> None:
        """These borrowers consent to service messages by WhatsApp."""
        for number in numbers:
            body = {"category": "service", "channel": "whatsapp", "source": "branch form", "evidence": "archive"}
            status, given = await self.gateway.call("POST", f"/v1/borrowers/B-{number}/consents", body)
            assert status == 201, given

    async def send(self, number: int, *route: str) -> str:
        """A service message to borrower ``number``; its id."""
        borrower = {**REQUEST["borrower"], "id": f"B-{number}", "locale": "en-US", "jurisdiction": "us",
                    "time_zones": ["America/New_York"]}  # fmt: skip
        phone = f"+12025550{100 + number}"
        borrower["addresses"] = {"sms": phone, "whatsapp": phone, "line": user(number)}
        body = {
            **REQUEST,
            "borrower": borrower,
            "case": {**REQUEST["case"], "id": f"C-{next(self.cases)}"},
            "template": "payment-received",
            "variables": {"amount": "12.00", "currency": "USD", "paid_on": "2026-11-24"},
            "route": list(route),
        }
        status, taken = await self.gateway.call("POST", "/v1/notifications", body)
        assert status == 202, taken
        return str(taken["id"])

    async def outcome(self, notification_id: str) -> list[tuple[str, str, str | None]]:
        """Channel, state and reason of each of its deliveries, once none moves."""
        found = await self.gateway.until_at_rest(notification_id)
        return [(each["channel"], each["state"], each["reason"]) for each in found["deliveries"]]


def user(number: int) -> str:
    return f"U{number:032d}"


@pytest.fixture
async def world() -> AsyncIterator[SocialChannels]:
    sms = SmsSimulator(ACCOUNT, TOKEN, clock)
    whatsapp = WhatsAppSimulator("111", TOKEN, SECRET)
    line = LineSimulator(TOKEN, SECRET)
    whatsapp.templates["received", "en"] = SimulatedTemplate(APPROVED, "en")
    for each in (sms, whatsapp, line):
        await each.start()
    providers = [
        {"channel": "sms", "kind": "twilio", "name": "twilio", "options": {
            "account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": "+15005550006", "base_url": sms.url}},
        {"channel": "whatsapp", "kind": "cloud", "name": "meta", "options": {
            "phone_number_id": "111", "business_account_id": "222", "access_token": TOKEN, "app_secret": SECRET,
            "verify_token": "v", "base_url": whatsapp.url}},
        {"channel": "line", "kind": "messaging", "name": "line", "options": {
            "channel_access_token": TOKEN, "channel_secret": SECRET, "base_url": line.url}},
    ]  # fmt: skip
    async with up("2026-11-24T10:00:00-05:00", providers=providers, time_scale=60, receipt_hours=1) as gateway:
        whatsapp.callback_url = f"{gateway.url}/v1/receipts/meta"
        line.callback_url = f"{gateway.url}/v1/receipts/line"
        made = SocialChannels(gateway, sms, whatsapp, line)
        await _publish(made)
        yield made
    for each in (sms, whatsapp, line):
        await each.stop()


async def _publish(world: SocialChannels) -> None:
    """Texts of the two channels, and Meta's approval of one."""
    ledger = world.gateway.gateway.ledger
    _, key = await ledger.keys.create("acme", "texts", ["send", "read", "manage", "admin"], ledger.clock())
    world.gateway.headers["Authorization"] = f"Bearer {key}"
    _, live = await world.gateway.call("GET", "/v1/templates/payment-received/live")
    files = {**live["files"], "en-US/whatsapp.liquid": WORDS, "en-US/line.liquid": WORDS}
    body = {"templates": {"payment-received": files}, "comment": "channels", "publish": True, "confirm": True}
    status, answer = await world.gateway.call("POST", "/v1/templates/import", body)
    assert status == 200, answer
    catalog = world.gateway.gateway.templates.catalog
    version = catalog.resolve("acme", "payment-received", None, ledger.clock()).version
    key_of_template = ("acme", "meta", "payment-received", version, "en-US")
    approved = ProviderTemplate(
        key_of_template, "received", "en", APPROVED, SLOTS, TemplateStatus.APPROVED, timedelta(minutes=30)
    )
    await world.gateway.gateway.path.forms.put(approved)


async def test_a_template_that_pauses_mid_run_is_routed_round(world: SocialChannels) -> None:
    """The rest goes by the next step: nothing as free text, nothing twice, and the pause is on record."""
    await world.agree(*range(9))
    before = [await world.send(number, "whatsapp", "line") for number in range(3)]
    for each in before:
        assert (await world.outcome(each))[0] == ("whatsapp", "delivered", "delivered")
    world.whatsapp.templates["received", "en"].status = "PAUSED"  # found out by sending, before any callback
    after = [await world.send(number, "whatsapp", "line") for number in range(3, 7)]
    for each in after:
        await eventually(lambda: len(world.line.messages) == len(after))
        outcomes = await world.gateway.read(each)
        first = outcomes["deliveries"][0]
        assert (first["channel"], first["state"], first["reason"]) == ("whatsapp", "failed", "template_unavailable")
    [template] = await world.gateway.gateway.path.forms.listed("acme", "payment-received")
    assert (template.status, template.reason) == (TemplateStatus.PAUSED, "132015")
    assert [each.template for each in world.whatsapp.messages] == ["received"] * 3
    assert sorted(each.to for each in world.line.messages) == [user(number) for number in range(3, 7)]

    # Meta says that it may be used again.
    await world.whatsapp.set_template_status("received", "en", "APPROVED")
    assert (await world.outcome(await world.send(8, "whatsapp", "line")))[0][:2] == ("whatsapp", "delivered")


async def test_without_consent_to_whatsapp_the_next_channel_is_used(world: SocialChannels) -> None:
    """Nothing is handed to Meta for who has not agreed to it."""
    outcome = await world.outcome(await world.send(1, "whatsapp", "sms"))
    assert outcome == [("whatsapp", "suppressed", "no_consent"), ("sms", "delivered", "delivered")]
    assert world.whatsapp.messages == []


async def test_stop_by_sms_stops_whatsapp_on_the_same_number_and_nothing_else(world: SocialChannels) -> None:
    """A number is one person on both, whatever they agreed to; the user of LINE has said nothing."""
    await world.agree(1)
    assert (await world.outcome(await world.send(1, "sms")))[0][:2] == ("sms", "delivered")
    url = f"{world.gateway.url}/v1/inbound/twilio"
    form = {"MessageSid": "SM" + "1" * 32, "From": "+12025550101", "Body": "STOP"}
    headers = {"X-Twilio-Signature": sign(TOKEN, url, form), "Content-Type": "application/x-www-form-urlencoded"}
    async with world.gateway.http.post(url, data=urlencode(form), headers=headers) as answer:
        assert answer.status == 200
    stopped = await world.outcome(await world.send(1, "whatsapp"))
    assert stopped == [("whatsapp", "suppressed", "opted_out")]
    assert world.whatsapp.messages == []
    other = await world.send(1, "line")
    await eventually(lambda: [each.to for each in world.line.messages] == [user(1)])
    assert other


async def test_who_unfollows_on_line_stops_line_alone(world: SocialChannels) -> None:
    """Repeated and forged events change nothing more."""
    await world.agree(1)
    await world.send(1, "line")
    await eventually(lambda: len(world.line.messages) == 1)
    event = {"type": "unfollow", "webhookEventId": "e1", "source": {"type": "user", "userId": user(1)}}
    forged = {**event, "source": {"type": "user", "userId": user(2)}}
    async with world.gateway.http.post(
        world.line.callback_url, json={"events": [forged]}, headers={"X-Line-Signature": "x"}
    ) as answer:
        assert answer.status == 403
    for _ in range(2):
        await world.line.tell(event)
    assert await world.outcome(await world.send(1, "line")) == [("line", "suppressed", "opted_out")]
    assert (await world.outcome(await world.send(1, "sms")))[0][:2] == ("sms", "delivered")
    assert (await world.outcome(await world.send(1, "whatsapp")))[0][:2] == ("whatsapp", "delivered")
    await world.send(2, "line")
    await eventually(lambda: [each.to for each in world.line.messages] == [user(1), user(2)])
