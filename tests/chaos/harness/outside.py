"""The providers of the chaos run: real servers that misbehave at the word, and remember what arrived, and when."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import Envelope

from channels.email.sink import SmtpSink
from channels.sms.simulator import SmsSimulator
from channels.sms.twilio_shapes import Stored, error


@dataclass(frozen=True)
class Arrival:
    """A message as a provider took it: when, for whom."""

    at: datetime
    channel: str
    address: str


@dataclass(slots=True)
class Whims:
    """What goes wrong at the provider now; all of it off by default."""

    refuse: int = 0  # this HTTP status for every request
    down: bool = False  # connections are closed without an answer
    mute_after_accepting: bool = False  # the message is taken, and the answer never comes
    shuffle: float = 0.0  # seconds: each receipt waits a random part of it
    repeat: int = 0  # each receipt so many times more
    forge: bool = False  # before each receipt a false one, saying the opposite, not signed by us


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
        if whims.shuffle:
            await asyncio.sleep(self.chance.random() * whims.shuffle)
        if whims.forge:
            false = body.replace(b"delivered", b"undelivered").replace(b"=sent", b"=undelivered")
            self.forged_taken += await self._taken(url, false, {**headers, "X-Twilio-Signature": "Zm9yZ2Vk"})
        for _ in range(whims.repeat):
            await super()._post(url, body, headers)
        return await super()._post(url, body, headers)

    async def _taken(self, url: str, body: bytes, headers: Any) -> bool:
        assert self._session is not None
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                return answer.status < 300
        except (OSError, TimeoutError):
            return False


@dataclass
class WatchedSink(SmtpSink):
    """The SMTP server, with the time of each mail."""

    arrivals: list[Arrival] = field(default_factory=list)

    def keep(self, envelope: Envelope, reference: str, notify: str) -> None:
        self.arrivals.append(Arrival(datetime.now(UTC), "email", envelope.rcpt_tos[0]))
        super().keep(envelope, reference, notify)
