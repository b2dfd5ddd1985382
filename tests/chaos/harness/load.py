"""The lender's side: clients that post at a steady rate, repeat until they are answered, and note every 202."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import aiohttp
import phonenumbers

_PATIENCE = 4.0  # seconds for one answer; then the client asks again, under the same key


class Kind(StrEnum):
    """What a request is there to show."""

    PLAIN = "plain"  # arrives, once
    MAIL = "mail"  # likewise, by e-mail
    ROUTE = "route"  # arrives by SMS, or by e-mail after it
    CAPPED = "capped"  # one of several to the same borrower: four hours lie between two contacts
    OPTING_OUT = "opting_out"  # the borrower says stop about when it goes out
    AT_NIGHT = "at_night"  # must never arrive
    CLOSING = "closing"  # the borrower's own window closes in these minutes
    OPENING = "opening"  # the borrower's own window opens in these minutes
    SOCIAL = "social"  # arrives by WhatsApp, or by SMS after it
    SOCIAL_STOP = "social_stop"  # by WhatsApp alone, and the borrower says stop by SMS about when it goes out
    JOURNEY = "journey"  # a case that enters a journey of one message
    PAYING = "paying"  # likewise, and it is paid about when the message goes out


_MIX = (
    *[Kind.PLAIN] * 10,
    *[Kind.MAIL] * 5,
    *[Kind.ROUTE] * 2,
    *[Kind.CAPPED] * 2,
    *[Kind.OPTING_OUT] * 2,
    Kind.AT_NIGHT,
    Kind.CLOSING,
    Kind.OPENING,
    *[Kind.SOCIAL] * 3,
    Kind.SOCIAL_STOP,
    *[Kind.JOURNEY] * 2,
    Kind.PAYING,
)
_SOCIAL = frozenset({Kind.SOCIAL, Kind.SOCIAL_STOP})
_STOPPING = frozenset({Kind.OPTING_OUT, Kind.SOCIAL_STOP})
OF_JOURNEYS = frozenset({Kind.JOURNEY, Kind.PAYING})


@dataclass
class Note:
    """One request, as its client remembers it."""

    kind: Kind
    key: str
    body: dict[str, Any]
    borrower: str
    phone: str
    mail: str
    window: tuple[datetime, datetime] | None = None
    id: str = ""
    accepted_at: datetime | None = None
    opted_out_at: datetime | None = None
    paid_at: datetime | None = None


@dataclass
class Clients:
    """Everything that was asked for."""

    urls: Sequence[str]
    token: str
    chance: random.Random
    until: datetime  # no request outlives it
    notes: list[Note] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    stopped: bool = False  # no further requests
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, per_second: float, seconds: float) -> None:
        """Post at a steady rate; answers are waited for elsewhere."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and not self.stopped:
            self._start(self._post(self._make()))
            await asyncio.sleep(1 / per_second)

    async def answered(self) -> None:
        """Until every request has its answer."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make(self) -> Note:
        number, chance = len(self.notes), self.chance
        kind = chance.choice(_MIX)
        borrower = f"C-{chance.randrange(20)}" if kind is Kind.CAPPED else f"B-{number}"
        phone = _PHONES[20 * 80 + number] if kind is not Kind.CAPPED else _PHONES[int(borrower[2:])]
        mail = f"{borrower.lower()}@example.com"
        person: dict[str, Any] = {
            "id": borrower,
            "name": "Chen Mei",
            "locale": "en-US",
            "jurisdiction": "zz",
            "time_zones": [_zone(12 if kind is not Kind.AT_NIGHT else 0)],
            "addresses": {"sms": phone, "email": mail, "whatsapp": phone},
        }
        window = _window(kind, chance)
        if window is not None:
            local = [f"{(each + timedelta(hours=_ahead(12))):%H:%M}" for each in window]
            person["windows"] = [local]
        route: list[Any] = ["sms"]
        if kind is Kind.MAIL:
            route = ["email"]
        elif kind is Kind.ROUTE:
            route = [{"channel": "sms", "wait": "PT30M", "until": "delivered"}, "email"]
        elif kind is Kind.SOCIAL:
            route = [{"channel": "whatsapp", "wait": "PT30M", "until": "delivered"}, "sms"]
        elif kind is Kind.SOCIAL_STOP:
            route = ["whatsapp"]
        body: dict[str, Any] = {
            "borrower": person,
            "case": {"id": f"case-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
            "template": "due-soon" if kind in _SOCIAL else "overdue-first",  # WhatsApp carries service messages alone
            "variables": {"amount": "39.00", "currency": "USD", "due_date": "2026-11-01"},
            "route": route,
        }
        if kind not in (Kind.PLAIN, Kind.MAIL, Kind.ROUTE, Kind.SOCIAL, *OF_JOURNEYS):
            body["expires_at"] = self.until.isoformat()
        if kind in OF_JOURNEYS:
            body = _case(person)
        note = Note(kind, f"key-{number}", body, borrower, phone, mail, window)
        self.notes.append(note)
        return note

    async def _post(self, note: Note) -> None:
        if note.kind in OF_JOURNEYS:
            await self._feed(note)
            return
        if note.kind in _SOCIAL:
            consent = {"category": "service", "channel": "whatsapp", "source": "branch form", "evidence": "archive"}
            await self._until_taken(f"/v1/borrowers/{note.borrower}/consents", consent, "POST")
        if note.kind in _STOPPING:
            self._start(self._opt_out(note))
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                status, answer = await self._call(http, "/v1/notifications", note.body, {"Idempotency-Key": note.key})
                if status in (200, 202):
                    note.id, note.accepted_at = answer["id"], datetime.now(UTC)
                    return
                if status in range(400, 500):
                    self.refused.append(status)
                    return
                await asyncio.sleep(0.2 + self.chance.random())

    async def _feed(self, note: Note) -> None:
        """Feed a case, and pay it a moment later where it is one that pays."""
        case_id = f"case-{note.key}"
        await self._until_taken(f"/v1/cases/{case_id}", note.body, "PUT")
        note.id, note.accepted_at = case_id, datetime.now(UTC)
        if note.kind is Kind.PAYING:
            await asyncio.sleep(self.chance.random() * 3)
            payment = {"id": "p", "amount": note.body["minimum_due"], "at": datetime.now(UTC).isoformat()}
            await self._until_taken(f"/v1/cases/{case_id}/payments", payment, "POST")
            note.paid_at = datetime.now(UTC)

    async def _until_taken(self, path: str, body: Any, method: str) -> None:
        """Call until it is answered with success; longer than the others, for a payment waits for what is in flight."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE * 3)) as http:
            while (status := (await self._call(http, path, body, {}, method))[0]) not in range(200, 300):
                if status in range(400, 500):
                    self.refused.append(status)
                await asyncio.sleep(0.2 + self.chance.random())

    async def _opt_out(self, note: Note) -> None:
        await asyncio.sleep(self.chance.random() * 3)
        body = {"channel": "sms", "address": note.phone, "source": "phone call"}
        timeout = aiohttp.ClientTimeout(total=_PATIENCE * 3)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                status, _ = await self._call(http, f"/v1/borrowers/{note.borrower}/opt-outs", body, {})
                if 200 <= status < 300:
                    note.opted_out_at = datetime.now(UTC)
                    return
                if status in range(400, 500):
                    self.refused.append(status)
                    return
                await asyncio.sleep(0.2 + self.chance.random())

    async def _call(
        self, http: aiohttp.ClientSession, path: str, body: Any, headers: dict[str, str], method: str = "POST"
    ) -> tuple[int, Any]:
        """The answer, or 0 where there is none."""
        headers = {**headers, "Authorization": f"Bearer {self.token}"}
        try:
            url = self.chance.choice(self.urls) + path
            async with http.request(method, url, json=body, headers=headers) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, None


def _case(person: dict[str, Any]) -> dict[str, Any]:
    """A case of this person that is overdue."""
    return {
        "as_of": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(),
        "borrower": person,
        "product": "card",
        "currency": "USD",
        "balance": "39.00",
        "minimum_due": "39.00",
        "due_date": "2026-11-01",
    }


def _ahead(hour: int) -> int:
    """By how many hours a zone is ahead of UTC in which it is about ``hour`` o'clock now."""
    return (hour - datetime.now(UTC).hour + 11) % 24 - 11


def _zone(hour: int) -> str:
    ahead = _ahead(hour)
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"  # POSIX counts westwards


def _window(kind: Kind, chance: random.Random) -> tuple[datetime, datetime] | None:
    """A window in whole minutes that closes, or opens, near now; in UTC."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    near = minute + timedelta(minutes=chance.randrange(1, 3))
    if kind is Kind.CLOSING:
        return near - timedelta(hours=2), near
    if kind is Kind.OPENING:
        return near, near + timedelta(hours=2)
    return None


def _phones() -> list[str]:
    """Numbers that are reserved for fiction (555-0100 to -0179), in every North American area that has them."""
    areas = []
    for area in range(201, 990):
        parsed = phonenumbers.parse(f"+1{area}5550100")
        if phonenumbers.is_valid_number(parsed):
            areas.append(area)
    return [f"+1{area}55501{last:02d}" for area in areas for last in range(80)]


_PHONES = _phones()
