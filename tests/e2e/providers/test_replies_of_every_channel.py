"""What borrowers write comes to one place, whatever carries it: each channel in its provider's form, on the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from channels.email.reports import reply_address
from channels.twilio.shapes import sign
from tests.support.providers.every_provider import SECRET, URL_SECRET, OtherSides, other_sides
from tests.support.waiting import eventually
from tests.support.whole_gateway import REQUEST, Running, up

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORDS = "我還欠多少錢"


@dataclass
class ReplyingWorld:
    """A gateway with every provider that ships, and the other side of each."""

    gateway: Running
    sides: OtherSides

    async def written_to(self, borrower: str, channel: str, address: str) -> str:
        """Have a message accepted for that address; its delivery's id. No provider has to have sent it."""
        who = {**REQUEST["borrower"], "id": borrower, "locale": "en-US", "addresses": {channel: address}}
        case = {**REQUEST["case"], "id": f"C-{borrower}"}
        variables = {"amount": "12.00", "currency": "USD", "paid_on": "2026-11-24"}
        body = {**REQUEST, "borrower": who, "case": case, "route": [channel]}
        body |= {"template": "payment-received", "variables": variables}
        status, taken = await self.gateway.call("POST", "/v1/notifications", body)
        assert status == 202, taken
        found = await self.gateway.read(taken["id"])
        return str(found["deliveries"][0]["id"])

    async def post(self, path: str, body: bytes, **headers: str) -> None:
        """What a provider posts."""
        async with self.gateway.http.post(self.gateway.url + path, data=body, headers=headers) as answer:
            assert answer.status in (200, 204), await answer.text()

    async def twilio(self, provider: str, prefix: str, address: str) -> None:
        form = {"MessageSid": f"SM-{provider}", "From": f"{prefix}{address}", "Body": WORDS}
        url = f"{self.gateway.url}/v1/inbound/{provider}"
        headers = {"X-Twilio-Signature": sign(SECRET, url, form), "Content-Type": "application/x-www-form-urlencoded"}
        await self.post(f"/v1/inbound/{provider}", urlencode(form).encode(), **headers)

    async def feed(self, borrower: str) -> None:
        """As the lender's app does, once the message is in the feed."""
        signer, until = self.gateway.gateway.ledger.signer, self.gateway.gateway.ledger.clock() + timedelta(hours=1)
        own = {"Authorization": f"Bearer {signer.borrower_token('acme', borrower, until)}"}

        async def items() -> Any:
            return (await self.gateway.call("GET", "/v1/inbox", **own))[1]["items"]

        [item] = await eventually(items)
        path = f"/v1/inbox/{item['id']}/reply"
        for _ in range(2):  # sent again after a lost answer
            status, answer = await self.gateway.call("POST", path, {"id": "a", "text": WORDS}, **own)
            assert (status, answer) == (200, {"answer": ""})
        status, _ = await self.gateway.call("POST", "/v1/inbox/999999/reply", {"id": "a", "text": WORDS}, **own)
        assert status == 404

    async def page(self, delivery_id: str) -> None:
        """As the borrower does on the page behind a message's link."""
        token = self.gateway.gateway.ledger.signer.message_token(delivery_id)
        form = {"text": WORDS, "form": "a"}
        url = f"{self.gateway.url}/m/{token}/reply"
        async with self.gateway.http.post(url, data=form, allow_redirects=False) as answer:
            assert answer.status == 303

    async def conversation(self, borrower: str) -> dict[str, Any] | None:
        _, found = await self.gateway.call("GET", f"/v1/conversations?borrower_id={borrower}")
        if not found["conversations"]:
            return None
        [one] = found["conversations"]
        _, whole = await self.gateway.call("GET", f"/v1/conversations/{one['id']}")
        return dict(whole)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[ReplyingWorld]:
    async with other_sides() as sides, up(
        "2026-11-24T10:00:00+08:00", providers=sides.providers(), time_scale=3600
    ) as gateway:  # fmt: skip
        sides.report_to(gateway.url)
        await _publish(gateway)
        yield ReplyingWorld(gateway, sides)


async def _publish(gateway: Running) -> None:
    """Texts for the channels that the built-in message has none for."""
    ledger = gateway.gateway.ledger
    _, key = await ledger.keys.create("acme", "texts", ["send", "read", "manage", "admin"], ledger.clock())
    gateway.headers["Authorization"] = f"Bearer {key}"
    _, live = await gateway.call("GET", "/v1/templates/payment-received/live")
    words = "{{ lender.name }}: we received {{ amount | money: currency }}.\n"
    files = {**live["files"], "en-US/rcs.liquid": words, "en-US/wechat.liquid": words}
    body = {"templates": {"payment-received": files}, "comment": "channels", "publish": True, "confirm": True}
    status, answer = await gateway.call("POST", "/v1/templates/import", body)
    assert status == 200, answer


Write = Callable[[ReplyingWorld, str, str], Awaitable[None]]  # with the address and the delivery's id


async def _aliyun(world: ReplyingWorld, address: str, delivery_id: str) -> None:
    said = [{"phone_number": address[3:], "sequence_id": 17, "content": WORDS, "send_time": "2026-11-24 10:00:00"}]
    await world.post(f"/v1/receipts/aliyun/{URL_SECRET}", json.dumps(said).encode())


async def _tencent(world: ReplyingWorld, address: str, delivery_id: str) -> None:
    said = {"nationcode": "86", "mobile": address[3:], "text": WORDS, "time": 1764000000, "sign": "行", "extend": ""}
    await world.post(f"/v1/receipts/tencent/{URL_SECRET}", json.dumps(said).encode())


async def _line(world: ReplyingWorld, address: str, delivery_id: str) -> None:
    world.sides.line.callback_url = f"{world.gateway.url}/v1/receipts/line-push"
    message = {"type": "text", "id": "m1", "text": WORDS}
    await world.sides.line.tell({"type": "message", "source": {"type": "user", "userId": address}, "message": message})


async def _mail(world: ReplyingWorld, address: str, delivery_id: str) -> None:
    to = reply_address(world.gateway.gateway.ledger.signer.reference(delivery_id, 1), "lender.example")
    head = f"To: {to}\r\nFrom: Chen <{address}>\r\nSubject: Re: Payment\r\nMessage-ID: <1@example.com>\r\n"
    head += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    await world.post("/v1/inbound/mail", f"{head}\r\n{WORDS}\r\n".encode(), Authorization=f"Bearer {SECRET}")


async def _smpp(world: ReplyingWorld, address: str, delivery_id: str) -> None:
    await eventually(lambda: world.sides.smsc.session is not None)
    await world.sides.smsc.says(WORDS.encode("utf-16-be"), 8)


EVERY_WAY: dict[str, tuple[str, str, Write]] = {
    "twilio-sms": ("sms", "+12025550111", lambda world, to, _: world.twilio("twilio-sms", "", to)),
    "smpp": ("sms", "+12025550100", _smpp),
    "aliyun": ("sms", "+8613800138000", _aliyun),
    "tencent": ("sms", "+8613800138001", _tencent),
    "mail": ("email", "chen@example.com", _mail),
    "app": ("inapp", "B-app", lambda world, to, _: world.feed(to)),
    "own-page": ("email", "mei@example.com", lambda world, _, delivery_id: world.page(delivery_id)),
    "whatsapp-cloud": ("whatsapp", "+12025550122", lambda world, to, _: world.sides.whatsapp.write_as(to, WORDS)),
    "whatsapp-twilio": (
        "whatsapp", "+12025550133", lambda world, to, _: world.twilio("twilio-whatsapp", "whatsapp:", to),
    ),
    "rcs": ("rcs", "+12025550144", lambda world, to, _: world.twilio("twilio-rcs", "", to)),
    "line": ("line", f"U{1:032d}", _line),
    "wechat": (
        "wechat", f"o{1:027d}",
        lambda world, to, _: world.sides.wechat.tell(to, {"MsgType": "text", "Content": WORDS, "MsgId": "1"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", EVERY_WAY)
async def test_a_reply_of_every_channel_is_a_conversation(world: ReplyingWorld, way: str) -> None:
    """One conversation of that borrower and case, with the channel, the words, and the address that wrote; once."""
    channel, address, write = EVERY_WAY[way]
    borrower = f"B-{way}"
    delivery_id = await world.written_to(borrower, channel, address)
    await write(world, address, delivery_id)
    found = await eventually(lambda: world.conversation(borrower))
    assert (found["case_id"], found["channel"], found["intent"]) == (f"C-{borrower}", channel, "balance")
    said = [each for each in found["entries"] if each["kind"] == "reply"]
    assert [(each["text"], each["channel"], each["address"]) for each in said] == [(WORDS, channel, address)]


async def test_a_reply_to_an_older_message_is_about_its_case(world: ReplyingWorld) -> None:
    """Of two cases of one borrower, the one whose message is answered; what comes with a number alone: the latest."""
    delivery_id = await world.written_to("B-two", "email", "two@example.com")
    who = {**REQUEST["borrower"], "id": "B-two", "addresses": {"email": "two@example.com"}}
    body = {**REQUEST, "borrower": who, "case": {**REQUEST["case"], "id": "C-later"}, "route": ["email"]}
    status, _ = await world.gateway.call("POST", "/v1/notifications", body)
    assert status == 202
    await world.page(delivery_id)
    found = await eventually(lambda: world.conversation("B-two"))
    assert found["case_id"] == "C-B-two"
