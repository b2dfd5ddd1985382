"""The whole life of many reminders in this process, in fixed batches, so that what it costs the ledger is the same
every time: accepted, handed over to a provider that takes everything, reported sent and then delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from channels.base import Accepted, Capability, Message, Receipt, ReceiptStatus
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings
from gateway.core.notifications import Borrower, Case, Step
from gateway.core.requests import NotificationRequest

# As many as 32 connections bring while a batch is written; a worker's batch; a provider's connections. Our choice.
_ACCEPTED_AT_ONCE = 32
_SENT_AT_ONCE = 100
_RECEIPTS_AT_ONCE = 16
TENANT = "acme"
SECRET = "for-this-measurement-only-0123456789"
_CLIENT = "key:Jk3x9QmPz2aa"


@dataclass
class AcceptingProvider:
    """A provider that takes everything, and remembers the ids that it gave."""

    name: str = "sms"
    channel: str = "sms"
    capability: Capability = Capability(concurrency=_SENT_AT_ONCE)  # noqa: RUF009 – frozen
    given: list[str] = field(default_factory=list)

    async def send(self, message: Message) -> Accepted:
        self.given.append(f"SM{message.delivery_id[4:]:0<32}")  # as long as Twilio's
        return Accepted(self.given[-1])

    async def close(self) -> None:
        """Nothing to release."""


def a_request(number: int) -> NotificationRequest:
    """Reminder ``number``, of a borrower of its own, in a zone where it is about noon."""
    ahead = 12 - datetime.now(UTC).hour
    borrower = Borrower(
        id=f"B-{number:08d}",
        name="Chen Mei Ling",
        locale="zh-TW",
        jurisdiction="zz",
        time_zones=(f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT",),
        addresses={"sms": f"+886912{number:06d}", "email": f"b{number}@example.com"},
    )
    return NotificationRequest(
        idempotency_key=f"portfolio-2026-11-{number:08d}",
        borrower=borrower,
        case=Case(f"C-{number:08d}", "card", date(2026, 11, 1), "first_reminder"),
        template="overdue-first",
        template_version=None,
        variables={"amount": f"{number}.00", "currency": "TWD", "due_date": "2026-11-01"},
        route=(Step("sms", timedelta(minutes=30)), Step("email")),
        category=None,
        send_at=None,
        expires_at=None,
        dedup_key=None,
        metadata={"batch": "2026-11", "branch": "taipei-07"},
        raw={"number": number},
    )


class ReminderLife:
    """Takes reminders through the pipeline's verbs, each verb for all of them before the next."""

    def __init__(self, gateway: Gateway, provider: AcceptingProvider) -> None:
        self._gateway = gateway
        self._pipeline, self._receiver = gateway.path.pipeline, gateway.path.receiver
        self._provider = provider

    async def accept(self, numbers: Iterable[int]) -> None:
        """Accept them, so many in a transaction as come together on a busy API."""
        waiting = list(numbers)
        for start in range(0, len(waiting), _ACCEPTED_AT_ONCE):
            requests = [a_request(number) for number in waiting[start : start + _ACCEPTED_AT_ONCE]]
            await self._pipeline.accept(TENANT, requests, _CLIENT)

    async def send(self) -> None:
        """Hand over all that is due."""
        while due := await self._gateway.path.store.due(self._gateway.ledger.clock(), _SENT_AT_ONCE):
            await self._pipeline.dispatch(due)

    async def receipts(self) -> None:
        """Two for each message that was handed over since the last call: sent, and some time later delivered."""
        given, self._provider.given = self._provider.given, []
        for start in range(0, len(given), _RECEIPTS_AT_ONCE):
            ids = given[start : start + _RECEIPTS_AT_ONCE]
            for status in (ReceiptStatus.SENT, ReceiptStatus.DELIVERED):
                await self._receiver.handle_provider_push("sms", [Receipt("sms", status, each) for each in ids], ())

    async def flush_statistics(self) -> None:
        """End the idle sessions: a session's statistics are complete only when it has ended."""
        await asyncio.to_thread(self._gateway.ledger.database.engine.dispose)

    @property
    def round_trips(self) -> int:
        """Statements sent to the database so far, those sent together counted as one."""
        return self._gateway.ledger.database.statements


@asynccontextmanager
async def reminder_life(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[tuple[Gateway, ReminderLife]]:
    """A gateway on a migrated ledger, with the one provider, and what takes reminders through it."""
    sms = {"account_sid": "AC" + "0" * 32, "auth_token": "x", "from_number": "+15005550006"}
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        secret_key=SECRET,
        data_dir=folder,
        releases_per_second=0,
        providers=[{"channel": "sms", "kind": "twilio", "name": "sms", "options": sms}],
    )
    async with open_gateway(settings) as gateway:
        provider = AcceptingProvider()
        gateway.providers.by_name["sms"] = provider  # type: ignore[index]
        yield gateway, ReminderLife(gateway, provider)
