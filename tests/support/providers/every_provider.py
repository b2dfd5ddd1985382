"""The other side of every provider that ships: servers on loopback, and what they took."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any

from channels.email.sink import SmtpSink
from channels.line.simulator import LineSimulator
from channels.sms.simulator import SmsSimulator
from channels.sms.smpp_text import decoded
from channels.wechat.simulator import WeChatSimulator
from channels.whatsapp.simulator import SimulatedTemplate, WhatsAppSimulator
from tests.support.providers.chinese_sms import AliyunServer, TencentServer
from tests.support.providers.fake_servers import clock
from tests.support.providers.smsc import Smsc

ACCOUNT, SECRET, URL_SECRET = "AC" + "0" * 32, "secret-of-providers", "secret-of-the-url"
AES_KEY = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"  # of wechatpy's test
APPROVED = "Example Bank: we received {{amount}}."


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

    def seen(self, provider: str, address: str) -> list[str]:
        """What a provider's server took for this address, as its person reads it."""
        return [text for to, text in self._taken(provider) if to in (address, digest_of(address))]

    def _taken(self, provider: str) -> list[tuple[str, str]]:
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
                by_template = [each for each in self.line.messages if each.template]
                return [(each.to, _template(each.template, each.text)) for each in by_template]
            case "wechat":
                return [(each.openid, _template(each.template, each.values)) for each in self.wechat.messages]
            case _:
                return [(each.recipient, _subject(each.raw)) for each in self.mail.mails]


def digest_of(number: str) -> str:
    """What LINE is given of a number."""
    return hashlib.sha256(number.encode()).hexdigest()


def _template(name: str, values: object) -> str:
    return f"template {name}: {values}"


def _subject(raw: bytes) -> str:
    return f"subject: {message_from_bytes(raw, policy=policy.default)['subject']}"


@asynccontextmanager
async def other_sides() -> AsyncIterator[OtherSides]:
    """All of them, started, with the template that each knows."""
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
