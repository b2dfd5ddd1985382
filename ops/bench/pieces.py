"""The pieces by themselves: decisions, renders, and the ledger's verbs in batches as a worker has them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from measuring import Measurement, cpu_rate, wall_rate

from channels import registry
from channels.base import Accepted, Content, Message, Receipt, ReceiptStatus
from gateway.core.codec import fingerprint
from gateway.core.deliveries import Attempt, ClaimedDelivery, Outgoing, ReceiptFor
from gateway.core.facts import Contact, Facts
from gateway.core.notifications import Borrower, Case, Category, Notification, Step, new_id
from gateway.core.reasons import PolicyReason
from gateway.core.requests import DecidedRequest, StepDecision
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.policy import decide, load_packs
from gateway.stages.route_rules import route_rules
from gateway.stages.schedule import RetrySchedule
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.database import Database
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.store import Store
from gateway.storage.upgrade.migrate import migrate
from gateway.templates import Catalog, Lender

Item = TypeVar("Item")

_TEMPLATES = Path(__file__).parents[2] / "templates"
_NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)  # ten in the morning in Taipei
_SEND = Verdict(VerdictKind.SEND, PolicyReason.PERMITTED)
_BATCH = 200  # GATEWAY_BATCH_SIZE's default
_PLACES = (
    ("tw", ("Asia/Taipei",)),
    ("us", ("America/New_York", "America/Los_Angeles")),
    ("in", ("Asia/Kolkata",)),
    ("uk", ("Europe/London",)),
    ("cn", ("Asia/Shanghai",)),
    ("elsewhere", ("Europe/Paris",)),
)


def measure_pieces(rounds: int, size: int) -> dict[str, Measurement]:
    """Rates of the pieces, over ``size`` items a round."""
    return {
        "decisions": cpu_rate(_decisions(size), rounds),
        "renders_sms": cpu_rate(_renders(size), rounds),
        **asyncio.run(_ledger(size, rounds)),
    }


def _notification(number: int, jurisdiction: str = "tw", zones: tuple[str, ...] = ("Asia/Taipei",)) -> Notification:
    borrower = Borrower(
        f"B-{number}", f"Name {number}", "en-US", jurisdiction, zones, {"sms": f"+1202555{number % 10_000:04d}"}
    )
    key = f"bench-{number}"
    amount = f"{number % 5_000}.{number % 100:02d}"
    return Notification(
        id=new_id("ntf", _NOW),
        tenant="bench",
        idempotency_key=key,
        dedup_key=key,
        borrower=borrower,
        case=Case(f"C-{number}", "card", date(2026, 11, 1), "first_reminder"),
        template="overdue-first",
        template_version="1",
        variables={"amount": amount, "currency": "USD", "due_date": f"2026-10-{number % 28 + 1:02d}"},
        route=(Step("sms"),),
        category=Category.COLLECTIONS,
        accepted_at=_NOW,
    )


def _decisions(size: int) -> Callable[[], int]:
    """Borrowers of all packs, at any hour of two weeks, with up to five contacts of the last month."""
    chance, packs = random.Random(1), load_packs(_TEMPLATES / "policies")
    cases = []
    for number in range(size):
        now = _NOW + timedelta(seconds=chance.randrange(14 * 86_400))
        contacts = tuple(
            Contact(now - timedelta(hours=chance.randrange(1, 700)), "sms", "C", "digest", "another")
            for _ in range(chance.randrange(6))
        )
        cases.append((_notification(number, *chance.choice(_PLACES)), Facts(contacts=contacts), now))

    def work() -> int:
        for notification, facts, now in cases:
            decide(notification, "sms", facts, packs, now, text="Reply STOP", address_digest="digest")
        return size

    return work


def _renders(size: int) -> Callable[[], int]:
    """A reminder whose template is at hand, with the variables of another borrower each time."""
    catalog = Catalog.load(
        _TEMPLATES,
        lender=Lender("Example Bank", "+1 202 555 0100", "https://example.com/help"),
        profiles=registry.profiles(registry.discover()),
    )
    template = catalog.resolve("", "overdue-first", None, datetime.now(UTC))
    requests = [_notification(number) for number in range(size)]

    def work() -> int:
        for each in requests:
            template.render("sms", each.borrower.locale, each.variables, each.borrower.name)
        return size

    return work


async def _ledger(size: int, rounds: int) -> dict[str, Measurement]:
    """Each verb of the ledger on SQLite with full sync, in batches of 200, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/ledger.db")
        await asyncio.to_thread(migrate, database.engine)
        horizon = load_packs(_TEMPLATES / "policies").contact_horizon
        store = Store(database, route_rules(_digest), lambda operation: nullcontext(), DeferralSpreader(0), horizon)
        path = _Path(store, size)
        found = {
            "ledger_accept": await wall_rate(path.accept, rounds),
            "ledger_claim": await wall_rate(path.claim, rounds),
            "ledger_start": await wall_rate(path.start, rounds),
            "ledger_settle": await wall_rate(path.settle, rounds),
            "ledger_receive": await wall_rate(path.receive, rounds),
        }
        await database.close()
        return found


class _Path:
    """The same deliveries through one verb after the other; each round has its own."""

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._size = size
        self._ids: dict[int, list[str]] = {}
        self._works: dict[int, list[ClaimedDelivery]] = {}
        self._settler = OutcomeRecorder(RetrySchedule(timedelta(hours=72), timedelta(seconds=30), 6), {})

    async def accept(self, number: int) -> int:
        drafts = [_draft(_notification(number * self._size + each)) for each in range(self._size)]
        self._ids[number] = [
            str(answer.first_delivery) for batch in _batches(drafts) for answer in await self._store.accept(batch, _NOW)
        ]
        return self._size

    async def claim(self, number: int) -> int:
        batches = _batches(self._ids[number])
        self._works[number] = [work for batch in batches for work in await self._store.claim(batch, _NOW, 600)]
        return self._size

    async def start(self, number: int) -> int:
        outgoing = [Outgoing(work, Content("hello"), _SEND, "sms") for work in self._works[number]]
        for batch in _batches(outgoing):
            await self._store.start(batch, _NOW, 600)
        return self._size

    async def settle(self, number: int) -> int:
        attempts = [_attempt(work) for work in self._works[number]]
        for batch in _batches(attempts):
            await self._store.settle(batch, self._settler.after_attempt, self._settler.after_receipt)
        return self._size

    async def receive(self, number: int) -> int:
        receipts = [
            ReceiptFor(Receipt("sms", ReceiptStatus.DELIVERED, f"SM{each}"), each, 1) for each in self._ids[number]
        ]
        for batch in _batches(receipts):
            await self._store.receive(batch, _NOW + timedelta(seconds=5), self._settler.after_receipt)
        return self._size


def _digest(tenant: str, channel: str, address: str) -> str:
    return hashlib.sha256(f"{tenant}|{channel}|{address}".encode()).hexdigest()[:32]


def _draft(notification: Notification) -> DecidedRequest:
    digest = _digest("bench", "sms", str(notification.address("sms")))
    step = StepDecision(0, "sms", digest, _SEND)
    return DecidedRequest(notification, fingerprint({"key": notification.idempotency_key}), (step,))


def _attempt(work: ClaimedDelivery) -> Attempt:
    delivery = work.delivery.id
    message = Message(delivery, 1, "bench", "B", "", Content("hello"), "", "", None, "collections")
    return Attempt(work, "sms", message, _NOW, _NOW + timedelta(seconds=1), Accepted(f"SM{delivery}"))


def _batches(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
