"""Building blocks for tests on the ledger: digests, drafts and verdicts as the stages would make them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, create_engine, insert, select

from channels.base import Accepted, Content, Message, SendFailure
from gateway.app.settings import Settings
from gateway.app.storage import open_ledger
from gateway.app.templates import load_templates
from gateway.borrowers.store import BorrowerStore
from gateway.core.codec import fingerprint
from gateway.core.deliveries import Attempt, ClaimedDelivery, Outgoing
from gateway.core.notifications import Borrower, Case, Category, Notification, Step, new_id
from gateway.core.reasons import PolicyReason
from gateway.core.requests import DecidedRequest, StepDecision
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.journeys.cases.record import CaseRecord, Closing
from gateway.journeys.cases.store import CaseStore
from gateway.stages.route_rules import route_rules
from gateway.storage.database import Database
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.store import Store
from gateway.storage.tables.templates import template_versions
from gateway.storage.upgrade.migrate import migrate
from tests.support.providers.channel_profiles import PROFILES

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
SEND = Verdict(VerdictKind.SEND, PolicyReason.PERMITTED)


def digest(tenant: str, channel: str, address: str) -> str:
    return hashlib.sha256(f"{tenant}|{channel}|{address}".encode()).hexdigest()[:32]


@cache
def _empty() -> bytes:
    """The file of an empty ledger."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        engine = create_engine(f"sqlite:///{path}")
        migrate(engine)
        engine.dispose()
        return path.read_bytes()


def empty_sqlite(folder: Path) -> str:
    """The URL of an empty ledger in ``folder``, where a gateway finds it too; not migrated each time, which is slow."""
    (folder / "ledger.db").write_bytes(_empty())
    return f"sqlite:///{folder}/ledger.db"


@cache
def _templates() -> tuple[Mapping[str, Any], ...]:
    """What a first start leaves in a ledger: the templates that ship, and that they were found good."""

    async def start(folder: str) -> None:
        async with open_ledger(Settings(data_dir=Path(folder))) as ledger:
            await load_templates(ledger, PROFILES)

    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as aside:  # for a loop may run here already
        url = empty_sqlite(Path(folder))
        aside.submit(lambda: asyncio.run(start(folder))).result()
        with _connected(url) as connection:
            return tuple(row._asdict() for row in connection.execute(select(template_versions)))


def begun(url: str) -> str:
    """The ledger at this URL, empty till now, as after a first start: the next one has no templates to check."""
    with _connected(url) as connection:
        connection.execute(insert(template_versions), _templates())
    return url


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def store_on(
    database: Database, releases_per_second: float = 0, contact_horizon: timedelta = timedelta(days=31)
) -> Store:
    releases = DeferralSpreader(releases_per_second)
    return Store(database, route_rules(digest), lambda operation: nullcontext(), releases, contact_horizon)


def people_on(database: Database, now: datetime = NOW) -> BorrowerStore:
    return BorrowerStore(database, digest, lambda: now)


def draft(
    key: str,
    *,
    borrower: str = "B-1",
    dedup: str | None = None,
    route: tuple[Step, ...] = (Step("sms"), Step("email")),
    verdict: Verdict = SEND,
    raw: Mapping[str, Any] | None = None,
    now: datetime = NOW,
    expires_at: datetime | None = None,
    case: str = "C-1",
) -> DecidedRequest:
    notification = Notification(
        id=new_id("ntf", now),
        tenant="acme",
        idempotency_key=key,
        dedup_key=dedup or key,
        borrower=Borrower(
            borrower, "Chen Mei", "zh-TW", "tw", ("Asia/Taipei",), {"sms": "+12025550123", "email": "b@example.com"}
        ),
        case=Case(case, "card", date(2026, 11, 1), "first_reminder"),
        template="overdue-first",
        template_version="1",
        variables={"amount": "3913.00"},
        route=route,
        category=Category.COLLECTIONS,
        accepted_at=now,
        expires_at=expires_at,
    )
    step = StepDecision(0, route[0].channel, digest("acme", route[0].channel, "+12025550123"), verdict)
    return DecidedRequest(notification, fingerprint(raw or {"key": key}), (step,))


def outgoing(work: ClaimedDelivery, provider: str = "twilio") -> Outgoing:
    return Outgoing(work, Content("hello"), SEND, provider)


def ended(
    work: ClaimedDelivery, result: Accepted | SendFailure, at: datetime = NOW, *, began: datetime | None = None
) -> Attempt:
    """The attempt after those that ``work`` knows of, as a worker brings it home: the provider answered at ``at``."""
    delivery, borrower = work.delivery, work.notification.borrower.id
    content = outgoing(work).content
    message = Message(delivery.id, delivery.attempt + 1, "acme", borrower, "", content, "", "", None, "collections")
    return Attempt(work, "twilio", message, began or at, at, result)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def close_case(database: Database, case_id: str, now: datetime = NOW) -> int:
    """Close a case of the tenant acme as paid; how many messages that cancelled."""
    store = CaseStore(database, digest, lambda: now)
    [fed] = await store.feed("acme", [CaseRecord(case_id, closing=Closing("paid", now))], "case-system")
    return fed.cancelled
