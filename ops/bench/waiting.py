"""Puts reminders into the ledger as the API would have: drafted by the real stages, stored by the real store.

By hundreds of thousands, for measuring what a backlog does; so no HTTP is involved.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import reminders
from shape import SECRET, TENANT, Shape
from sqlalchemy import Connection

from channels import registry
from gateway.core.codec import fingerprint
from gateway.core.facts import Facts
from gateway.core.notifications import Borrower, Case, Category, Notification, Step, new_id
from gateway.core.reasons import PolicyReason
from gateway.core.requests import DecidedRequest, StepDecision
from gateway.core.security.signing import Signer
from gateway.core.verdicts import VerdictKind
from gateway.policy import decide, load_packs
from gateway.stages.route_rules import route_rules
from gateway.storage.bulk import inserting
from gateway.storage.database import Database
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.statements import execute_pipelined
from gateway.storage.store import Store
from gateway.storage.tables.path import deliveries
from gateway.templates import Catalog, Lender

TEMPLATES = Path(__file__).parents[2] / "templates"
_BATCH = 1000
_LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")


class Filler:
    """Fills one shape's ledger."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._digest = Signer(SECRET.encode()).digest
        self._packs = load_packs(TEMPLATES / "policies")
        catalog = Catalog.load(TEMPLATES, lender=_LENDER, profiles=registry.profiles(registry.discover()))
        self._version = catalog.resolve(TENANT, "overdue-first", None, datetime.now(UTC)).version

    def due(self, count: int, first: int, route: str = "sms") -> None:
        """``count`` reminders that are to go out now."""
        asyncio.run(self._fill(range(first, first + count), route, deferred=False))

    def deferred(self, count: int, first: int) -> None:
        """``count`` reminders that wait for later hours of the next days."""
        asyncio.run(self._fill(range(first, first + count), "sms", deferred=True))

    async def _fill(self, numbers: range, route: str, *, deferred: bool) -> None:
        database = self._shape.database()
        rules, horizon = route_rules(self._digest), self._packs.contact_horizon
        store = Store(database, rules, lambda operation: nullcontext(), DeferralSpreader(0), horizon)
        try:
            for start in range(0, len(numbers), _BATCH):
                now = datetime.now(UTC)
                drafts = [self._draft(number, route, now, deferred) for number in numbers[start : start + _BATCH]]
                await store.accept(drafts, now)
        finally:
            await database.close()

    def _draft(self, number: int, route: str, now: datetime, deferred: bool) -> DecidedRequest:
        notification = self.notification(number, route, now)
        address = notification.address(route) or ""
        digest = self._digest(TENANT, route, address)
        verdict = decide(notification, route, Facts(), self._packs, now, text="Reply STOP", address_digest=digest)
        if verdict.kind is not VerdictKind.SEND:
            raise RuntimeError(f"reminder {number} may not go out now: {verdict.reason}")
        if deferred:
            later = now + timedelta(seconds=3600 + random.Random(number).randrange(5 * 86_400))
            reason = PolicyReason.OUTSIDE_WINDOW
            verdict = replace(verdict, kind=VerdictKind.DEFER, reason=reason, until=later, valid_until=None)
        return DecidedRequest(notification, fingerprint({"number": number}), (StepDecision(0, route, digest, verdict),))

    def notification(self, number: int, route: str, now: datetime) -> Notification:
        """Reminder ``number``, as load.py's body would have become one."""
        addresses = {
            "sms": reminders.phone(number),
            "email": f"b{number}@example.com",
            "inapp": f"B-{number}",
        }
        return Notification(
            id=new_id("ntf", now),
            tenant=TENANT,
            idempotency_key=f"filled-{number}",
            dedup_key=f"filled-{number}",
            borrower=Borrower(f"B-{number}", "Chen Mei", "en-US", "zz", (reminders.noon(),), addresses),
            case=Case(f"C-{number}", "card", date(2026, 11, 1), "first_reminder"),
            template="overdue-first",
            template_version=self._version,
            variables={
                "amount": f"{number % 5_000 + 1}.{number % 100:02d}",
                "currency": "USD",
                "due_date": "2026-11-01",
            },
            route=(Step(route),),
            category=Category.COLLECTIONS,
            accepted_at=now,
        )


async def contacts(database: Database, count: int, borrower: int) -> None:
    """Give one borrower ``count`` contacts of the last months, as finished deliveries."""
    now = datetime.now(UTC)
    rows = [
        {
            "id": new_id("dlv", now),
            "notification_id": new_id("ntf", now),
            "tenant": TENANT,
            "borrower_id": f"B-{borrower}",
            "case_id": f"C-{borrower}",
            "step": 0,
            "channel": "sms",
            "address_digest": "0" * 32,
            "state": "delivered",
            "attempt": 1,
            "provider": "sms",
            "contacted_at": now - timedelta(days=2) - timedelta(days=number * 1000 / count),
            "created_at": now - timedelta(days=1002),
        }
        for number in range(count)
    ]
    for start in range(0, count, _BATCH):
        await database.write(partial(_insert, rows[start : start + _BATCH]))


def _insert(rows: list[dict[str, Any]], connection: Connection) -> None:
    execute_pipelined(connection, inserting(connection, deliveries, rows))
