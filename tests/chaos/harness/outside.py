"""The providers of the chaos run: real servers that misbehave at the word, and remember what arrived, and when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web
from aiosmtpd.smtp import Envelope

from channels.email.sink import SmtpSink
from channels.sms.simulator import SmsSimulator
from channels.twilio.shapes import Stored, error
from channels.whatsapp.simulator import WhatsAppMessage, WhatsAppSimulator

ACCOUNT = "AC" + "0" * 32
TEMPLATE = ("due_soon", "en")  # of WhatsApp: name and language
_SENDER = "111"


@dataclass(frozen=True)
class Arrival:
    """A message as a provider took it: when, for whom."""

    at: datetime
    channel: str
    address: str
    free_text: bool = False  # where the provider wants a template of its own


@dataclass(slots=True)
class Whims:
    """What goes wrong at the provider now; all of it off by default."""

    refuse: int = 0  # this HTTP status, or its like in SMTP, for every request
    down: bool = False  # connections are closed, by HTTP without an answer
    mute_after_accepting: bool = False  # the message is taken, and the answer never comes
    shuffle: float = 0.0  # seconds: each receipt waits a random part of it
    repeat: int = 0  # each receipt so many times more
    forge: bool = False  # before each receipt a false one, saying the opposite, not signed by us

    async def wait(self, chance: random.Random) -> None:
        """Before a receipt."""
        if self.shuffle:
            await asyncio.sleep(chance.random() * self.shuffle)


@dataclass
class FaultySms(SmsSimulator):
    """The simulated Twilio with whims."""

    whims: Whims = field(default_factory=Whims)
    arrivals: list[Arrival] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)
    forged_taken: int = 0

    async def _create(self, request: web.Request) -> web.StreamResponse:
        await self._misbehave(request)
        if self.whims.refuse == 429:
            return error(429, 20429, "Too Many Requests", {"Retry-After": "1"})
        if self.whims.refuse:
            return web.Response(status=self.whims.refuse, text="upstream unavailable")
        mute = self.whims.mute_after_accepting
        answer = await super()._create(request)
        if mute:
            await asyncio.sleep(self.hang_seconds)
        return answer

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._misbehave(request)
        return await super()._list(request)

    async def _misbehave(self, request: web.Request) -> None:
        if self.whims.down:
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable

    def _store(self, to: str, body: str, sender: str, callback: str, reference: str) -> Stored:
        self.arrivals.append(Arrival(datetime.now(UTC), "sms", to))
        return super()._store(to, body, sender, callback, reference)

    async def _post(self, url: str, body: bytes, headers: Any) -> bool:
        whims = self.whims
        await whims.wait(self.chance)
        if whims.forge:
            false = body.replace(b"delivered", b"undelivered").replace(b"=sent", b"=undelivered")
            headers_of_none = {**headers, "X-Twilio-Signature": "Zm9yZ2Vk"}
            self.forged_taken += await _taken(self._session, url, false, headers_of_none)
        for _ in range(whims.repeat):
            await super()._post(url, body, headers)
        return await super()._post(url, body, headers)


async def _taken(session: aiohttp.ClientSession | None, url: str, body: bytes, headers: Any) -> bool:
    assert session is not None
    try:
        async with session.post(url, data=body, headers=headers) as answer:
            return answer.status < 300
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


@dataclass
class FaultyMail(SmtpSink):
    """The SMTP server with whims, and with the time of each mail."""

    whims: Whims = field(default_factory=Whims)
    arrivals: list[Arrival] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)
    hang_seconds: float = 30.0
    forged_taken: int = 0

    def refuse(self, recipient: str) -> str | None:
        if self.whims.down:
            return "421 4.3.2 going down"
        if self.whims.refuse:
            return "450 4.7.28 not so fast" if self.whims.refuse == 429 else "451 4.3.0 error in processing"
        return super().refuse(recipient)

    async def before_answer(self) -> None:
        if self.whims.mute_after_accepting:
            await asyncio.sleep(self.hang_seconds)

    async def _post(self, raw: bytes, headers: dict[str, str]) -> bool:
        whims = self.whims
        await whims.wait(self.chance)
        if whims.forge:
            false = raw.replace(b"Action: delivered\r\nStatus: 2.1.5", b"Action: failed\r\nStatus: 5.1.1")
            headers_of_none = {**headers, "Authorization": "Bearer forged"}
            self.forged_taken += await _taken(self._session, self.dsn_url, false, headers_of_none)
        for _ in range(whims.repeat):
            await super()._post(raw, headers)
        return await super()._post(raw, headers)

    def keep(self, envelope: Envelope, reference: str, notify: str) -> None:
        self.arrivals.append(Arrival(datetime.now(UTC), "email", envelope.rcpt_tos[0]))
        super().keep(envelope, reference, notify)


class FaultyWhatsApp(WhatsAppSimulator):
    """The simulated Cloud API with whims. Nobody has written to it, so all it may be sent is its template."""

    def __init__(self, callback_url: str, chance: random.Random) -> None:
        super().__init__(_SENDER, "meta-token", "meta-secret", callback_url)
        self.whims = Whims()
        self.arrivals: list[Arrival] = []
        self.chance = chance
        self.forged_taken = 0
        # A state that overtakes another is made up for by the gateway's poll, in ten minutes: longer than a run.
        self._one_state_at_a_time = asyncio.Lock()

    def pause(self) -> None:
        """Pause the template, and say so."""
        self.later(self._tell_state("PAUSED"))

    def resume(self) -> None:
        """Approve it again, and say so."""
        self.later(self._tell_state("APPROVED"))

    async def _tell_state(self, state: str) -> None:
        async with self._one_state_at_a_time:
            await self.set_template_status(*TEMPLATE, state)

    async def _create(self, request: web.Request) -> web.Response:
        if self.whims.down:
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable
        if self.whims.refuse == 429:
            return web.json_response({"error": {"code": 130429}}, status=429)
        if self.whims.refuse:
            return web.Response(status=self.whims.refuse, text="upstream unavailable")
        mute = self.whims.mute_after_accepting
        answer = await super()._create(request)
        if mute:
            await asyncio.sleep(self._hang)
        return answer

    def _accept(self, body: Mapping[str, Any]) -> WhatsAppMessage:
        stored = super()._accept(body)
        self.arrivals.append(Arrival(datetime.now(UTC), "whatsapp", f"+{stored.to}", free_text=not stored.template))
        return stored

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
        whims = self.whims
        await whims.wait(self.chance)
        if whims.forge:
            false = body.replace(b'"delivered"', b'"failed"').replace(b'"sent"', b'"failed"')
            headers_of_none = {**headers, "X-Hub-Signature-256": f"sha256={0:064}"}
            self.forged_taken += await _taken(self._session, url, false, headers_of_none)
        for _ in range(whims.repeat):
            await super()._post(url, body, headers)
        return await super()._post(url, body, headers)


def provider_entries(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    """The gateway's providers, reached at the ports of "sms", "mail" and "whatsapp"."""
    sms = {
        "account_sid": ACCOUNT,
        "auth_token": "sms-token",
        "from_number": "+15005550006",
        "base_url": f"http://127.0.0.1:{ports['sms']}",
        "timeout_seconds": 2,
        "lookup_settle_seconds": 3,
    }
    mail = {
        "host": "127.0.0.1",
        "port": ports["mail"],
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
        "callback_token": "mail-token",
        "timeout_seconds": 2,
        "data_timeout_seconds": 2,
    }
    meta = {
        "phone_number_id": _SENDER,
        "business_account_id": _SENDER,
        "access_token": "meta-token",
        "app_secret": "meta-secret",
        "verify_token": "meta-secret",
        "base_url": f"http://127.0.0.1:{ports['whatsapp']}",
        "timeout_seconds": 2,
    }
    return [
        {"channel": "sms", "kind": "twilio", "name": "sim", "options": sms},
        {"channel": "email", "kind": "smtp", "name": "mail", "options": mail},
        {"channel": "whatsapp", "kind": "cloud", "name": "meta", "options": meta},
    ]
