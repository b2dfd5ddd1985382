"""One reminder through each provider, from POST to the last receipt: ops/channels-tried.md is what this test saw.

After an intended change: ``REWRITE_TRIED=1 pytest tests/e2e/test_every_provider.py``; read the diff.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any

from channels.base import TemplateStatus
from channels.email.sink import SmtpSink
from channels.line.simulator import LineSimulator
from channels.sms.simulator import SmsSimulator
from channels.sms.smpp_text import decoded
from channels.wechat.simulator import WeChatSimulator
from channels.whatsapp.simulator import SimulatedTemplate, WhatsAppSimulator
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.provider_templates import ProviderTemplate, Slot
from tests.support.chinese_sms import AliyunServer, TencentServer
from tests.support.fake_servers import clock
from tests.support.smsc import Smsc
from tests.support.waiting import eventually
from tests.support.whole_gateway import REQUEST, Running, up

PAGE = Path(__file__).parents[2] / "ops" / "channels-tried.md"
HEAD = """# Tried: one reminder through each provider

A whole gateway, and each provider's server on loopback, which checks signatures and shapes.
`tests/e2e/test_every_provider.py` sends each row by `POST /v1/notifications`, waits for the last receipt, and compares
this page with what it saw; `REWRITE_TRIED=1` writes it. LINE reports nothing of a push message, so its end is that
nothing is proven.

| provider | address | state | reason | read | what the other side saw |
|---|---|---|---|---|---|
"""
ACCOUNT, SECRET, URL_SECRET = "AC" + "0" * 32, "secret-of-providers", "secret-of-the-url"
AES_KEY = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"  # of wechatpy's test
WORDS = "{{ lender.name }}: we received {{ amount | money: currency }}.\n"
APPROVED = "Example Bank: we received {{amount}}."
SLOTS = (Slot("amount", "{{ amount | money: currency }}"),)
CHANNELS = ("sms", "whatsapp", "rcs", "line", "line_notification", "wechat")
# What each provider calls its template; the others take free text.
TEMPLATES = {"aliyun": "SMS_1", "tencent": "100", "meta": "received", "twilio-whatsapp": "HX1", "wechat": "T1",
             "line-notification": "received"}  # fmt: skip


@dataclass
class OtherSides:
    """The other side of every provider."""

    sms: SmsSimulator
    smsc: Smsc
    aliyun: AliyunServer
    tencent: TencentServer
    whatsapp: WhatsAppSimulator
    line: LineSimulator
    wechat: WeChatSimulator
    mail: SmtpSink

    def providers(self) -> list[dict[str, Any]]:
        twilio = {"account_sid": ACCOUNT, "auth_token": SECRET, "from_number": "+15005550006", "base_url": self.sms.url}
        line = {"channel_access_token": SECRET, "channel_secret": SECRET, "base_url": self.line.url}
        chinese = {"sign_name": "行", "callback_secret": URL_SECRET}
        made: list[tuple[str, str, str, dict[str, Any]]] = [
            ("sms", "twilio", "twilio-sms", twilio),
            ("sms", "smpp", "smpp", {"host": "127.0.0.1", "port": self.smsc.port, "system_id": "lender",
                                     "password": SECRET[:8], "source_address": "12345"}),
            ("sms", "aliyun", "aliyun", {**chinese, "access_key_id": "key-id", "access_key_secret": SECRET,
                                         "base_url": self.aliyun.url}),
            ("sms", "tencent", "tencent", {**chinese, "secret_id": "key-id", "secret_key": SECRET, "sdk_app_id": "1400",
                                           "base_url": self.tencent.url}),
            ("whatsapp", "cloud", "meta", {"phone_number_id": "111", "business_account_id": "222",
                                           "access_token": SECRET, "app_secret": SECRET, "verify_token": SECRET,
                                           "base_url": self.whatsapp.url}),
            ("whatsapp", "twilio", "twilio-whatsapp", twilio),
            ("rcs", "twilio", "twilio-rcs", twilio),
            ("line", "messaging", "line-push", line),
            ("line_notification", "messaging", "line-notification", line),
            ("wechat", "service_account", "wechat", {"app_id": "wx1", "app_secret": SECRET, "token": SECRET,
                                                     "encoding_aes_key": AES_KEY, "base_url": self.wechat.url}),
            ("email", "smtp", "mail", {"host": "127.0.0.1", "port": self.mail.port, "tls": "none",
                                       "domain": "lender.example", "from_address": "no-reply@lender.example",
                                       "callback_token": SECRET}),
        ]  # fmt: skip
        return [{"channel": c, "kind": k, "name": name, "options": options} for c, k, name, options in made]

    def report_to(self, url: str) -> None:
        """Where each provider's callbacks go; Twilio's URL is in each message, SMPP has its connection."""
        receipts = f"{url}/v1/receipts"
        self.aliyun.callback_url = f"{receipts}/aliyun/{URL_SECRET}"
        self.tencent.callback_url = f"{receipts}/tencent/{URL_SECRET}"
        self.whatsapp.callback_url = f"{receipts}/meta"
        self.line.callback_url = f"{receipts}/line-notification"
        self.wechat.callback_url = f"{receipts}/wechat"
        self.mail.dsn_url = f"{receipts}/mail"

    def seen(self, provider: str) -> list[tuple[str, str]]:
        """What a provider's server took: to whom, and what they read."""
        match provider:
            case "twilio-sms" | "twilio-rcs":
                return [(each.to.removeprefix("rcs:"), each.body) for each in self.sms.messages.values()]
            case "twilio-whatsapp":
                found = self.sms.messages.values()
                return [(each.to.removeprefix("whatsapp:"), f"content HX1: {each.body}") for each in found]
            case "smpp":
                return [
                    (f"+{each.destination_addr}", decoded(0, each.esm_class, bytes(each.short_message)))
                    for each in self.smsc.submitted
                ]
            case "aliyun" | "tencent":
                taken = (self.aliyun if provider == "aliyun" else self.tencent).taken
                return [(f"+{each.to.removeprefix('+')}", _template(each.template, each.values)) for each in taken]
            case "meta":
                return [(f"+{each.to}", _template(each.template, each.text)) for each in self.whatsapp.messages]
            case "line-push":
                return [(each.to, each.text) for each in self.line.messages]
            case "line-notification":
                known = {hashlib.sha256(address.encode()).hexdigest(): address for _, _, address in CASES}
                taken_here = [each for each in self.line.messages if each.template]
                return [(known[each.to], _template(each.template, each.text)) for each in taken_here]
            case "wechat":
                return [(each.openid, _template(each.template, each.values)) for each in self.wechat.messages]
            case _:
                return [(each.recipient, _subject(each.raw)) for each in self.mail.mails]


def _template(name: str, values: object) -> str:
    return f"template {name}: {values}"


def _subject(raw: bytes) -> str:
    return f"subject: {message_from_bytes(raw, policy=policy.default)['subject']}"


@asynccontextmanager
async def _other_sides() -> AsyncIterator[OtherSides]:
    sides = OtherSides(
        SmsSimulator(ACCOUNT, SECRET, clock, contents={"HX1": "Example Bank: we received {{amount}}."}),
        Smsc(),
        AliyunServer("key-id", SECRET),
        TencentServer("key-id", SECRET),
        WhatsAppSimulator("111", SECRET, SECRET),
        LineSimulator(SECRET, SECRET),
        WeChatSimulator("wx1", SECRET, SECRET, AES_KEY),
        SmtpSink(clock, dsn_token=SECRET),
    )
    sides.whatsapp.templates["received", "en"] = SimulatedTemplate(APPROVED, "en")
    sides.aliyun.templates["SMS_1"] = sides.tencent.templates["100"] = ("amount",)
    sides.line.templates["received"] = sides.wechat.templates["T1"] = frozenset({"amount"})
    async with AsyncExitStack() as stack:
        for each in vars(sides).values():
            await each.start()
            stack.push_async_callback(each.stop)
        yield sides


async def _publish(gateway: Running) -> None:
    """The texts of all channels, and what each provider calls its template."""
    ledger = gateway.gateway.ledger
    _, key = await ledger.keys.create("acme", "texts", ["send", "read", "manage", "admin"], ledger.clock())
    gateway.headers["Authorization"] = f"Bearer {key}"
    _, live = await gateway.call("GET", "/v1/templates/payment-received/live")
    files = {**live["files"], **{f"en-US/{channel}.liquid": WORDS for channel in CHANNELS}}
    body = {"templates": {"payment-received": files}, "comment": "channels", "publish": True, "confirm": True}
    status, answer = await gateway.call("POST", "/v1/templates/import", body)
    assert status == 200, answer
    version = gateway.gateway.templates.catalog.resolve("acme", "payment-received", None, ledger.clock()).version
    for provider, reference in TEMPLATES.items():
        place = ("acme", provider, "payment-received", version, "en-US")
        ttl = timedelta(minutes=30)
        made = ProviderTemplate(place, reference, "en", APPROVED, SLOTS, TemplateStatus.APPROVED, ttl)
        await gateway.gateway.path.forms.put(made)


async def _sent(gateway: Running, number: int, channel: str, address: str) -> str:
    """POST one service message; its id."""
    if channel == "whatsapp":
        consent = {"category": "service", "channel": channel, "source": "branch form", "evidence": "archive"}
        status, given = await gateway.call("POST", f"/v1/borrowers/B-{number}/consents", consent)
        assert status == 201, given
    borrower = {**REQUEST["borrower"], "id": f"B-{number}", "locale": "en-US", "addresses": {channel: address}}
    body = {
        **REQUEST,
        "borrower": borrower,
        "case": {**REQUEST["case"], "id": f"C-{number}"},
        "template": "payment-received",
        "variables": {"amount": "12.00", "currency": "USD", "paid_on": "2026-11-24"},
        "route": [channel],
    }
    status, taken = await gateway.call("POST", "/v1/notifications", body)
    assert status == 202, taken
    return str(taken["id"])


async def _begun(gateway: Running, notification_id: str) -> bool:
    return bool((await gateway.read(notification_id))["deliveries"][0]["attempt"])


async def _read(gateway: Running, notification_id: str) -> bool:
    return (await gateway.read(notification_id))["deliveries"][0]["read_at"] is not None


async def _seen(gateway: Running, sides: OtherSides, number: int) -> list[str]:
    """What the borrower of a case reads."""
    provider, _, address = CASES[number]
    if provider == "feed":
        items, _ = await gateway.gateway.providers.inbox.page("acme", f"B-{number}")
        return [each.text for each in items]
    return [text for to, text in sides.seen(provider) if to == address]


# Provider, channel, address; where two of one channel follow each other, each is pinned to its own.
CASES = (
    ("twilio-sms", "sms", "+12025550101"),
    ("twilio-sms", "sms", "+12025550199"),
    ("smpp", "sms", "+12025550102"),
    ("smpp", "sms", "+13125550199"),
    ("aliyun", "sms", "+8613800138000"),
    ("aliyun", "sms", "+8613800138090"),
    ("tencent", "sms", "+8613800138001"),
    ("tencent", "sms", "+8613800139090"),
    ("meta", "whatsapp", "+12025550188"),
    ("meta", "whatsapp", "+12025550190"),
    ("twilio-whatsapp", "whatsapp", "+12025550103"),
    ("twilio-whatsapp", "whatsapp", "+16465550199"),
    ("twilio-rcs", "rcs", "+12025550104"),
    ("twilio-rcs", "rcs", "+12125550199"),
    ("line-push", "line", f"U{1:032d}"),
    ("line-push", "line", f"U{95:032d}"),
    ("line-notification", "line_notification", "+12025550105"),
    ("wechat", "wechat", f"o{1:027d}"),
    ("wechat", "wechat", f"o{91:027d}"),
    ("mail", "email", "chen@example.com"),
    ("mail", "email", "dsnfail@example.com"),
    ("feed", "inapp", "B-21"),
)


async def test_one_reminder_through_each_provider_from_post_to_the_last_receipt() -> None:
    """State, reason, and what the other side saw, once each, are as they were read."""
    async with _other_sides() as sides, up(
        "2026-11-24T10:00:00+08:00", providers=sides.providers(), receipt_hours=6, time_scale=3600
    ) as gateway:  # fmt: skip
        sides.report_to(gateway.url)
        sides.tencent.now = lambda: gateway.gateway.ledger.clock().timestamp()
        await _publish(gateway)
        controls, rows, pins, sent = gateway.gateway.path.controls, [], {}, {}
        for number, (provider, channel, address) in enumerate(CASES):
            if pins.get(channel, ("", ""))[0] != provider:
                if channel in pins:
                    await controls.end(pins[channel][1], "test")
                pinned = await controls.set(SwitchKind.PIN, SwitchScope.PROVIDER, provider, "acme", "try", "test", None)
                pins[channel] = (provider, pinned["id"])
            sent[number] = await _sent(gateway, number, channel, address)
            await eventually(partial(_begun, gateway, sent[number]))
        for number, (provider, channel, address) in enumerate(CASES):
            found = await gateway.until_at_rest(sent[number])
            [delivery] = found["deliveries"]
            assert delivery["provider"] == provider
            if provider == "meta" and delivery["state"] == "delivered":
                await eventually(partial(_read, gateway, sent[number]))
                [delivery] = (await gateway.read(sent[number]))["deliveries"]
            seen = "; ".join(await _seen(gateway, sides, number)) or "nothing"
            read = "yes" if delivery["read_at"] else ""
            shortened = address.partition("@")[0] if channel == "email" else f"…{address[-2:]}"
            rows.append((provider, shortened, delivery["state"], delivery["reason"], read, seen))
    shown = HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if os.environ.get("REWRITE_TRIED"):
        PAGE.write_text(shown, "utf-8")
    assert shown == PAGE.read_text("utf-8"), "if this is meant, see the top of this file"
