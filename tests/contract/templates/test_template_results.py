"""What became of a version, counted in the ledger: each measure of one tenant, and nothing of a borrower."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, insert

from gateway.core.states import State
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import cases, replies
from gateway.storage.tables.path import deliveries, events, notifications
from tests.support.storage.ledgers import NOW
from tests.support.templates.template_services import TEMPLATE, TemplateHarness

HOUR = timedelta(hours=1)
SECRET = "B-SECRET"


class _Requests:
    """Requests written as the path leaves them, one message each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = 0

    def add(self, version: str, *, tenant: str = "acme", state: State = State.SENT, **what: Any) -> None:
        """``what``: read, reply, opted_out, complained (bool), paid (after so long), and ``sent`` False for none."""
        self._number += 1
        at, number = NOW - HOUR, self._number
        milliseconds = int(at.timestamp() * 1000)
        identifier, delivery = f"ntf_{milliseconds:012x}{number:020x}", f"dlv_{number}"
        who = {"tenant": tenant, "borrower_id": f"{SECRET}-{number}", "case_id": f"C-{number}"}
        self._insert(
            notifications,
            id=identifier,
            **who,
            idempotency_key=identifier,
            fingerprint="f",
            dedup_key=identifier,
            stage="s",
            category="collections",
            template=TEMPLATE,
            template_version=version,
            state=state,
            step=0,
            accepted_at=at,
            updated_at=at,
            body="{}",
        )
        sent = at if what.get("sent", True) else None
        read = at + HOUR if what.get("read") else None
        self._insert(
            deliveries,
            id=delivery,
            notification_id=identifier,
            **who,
            step=0,
            channel="sms",
            address_digest="d",
            state=state,
            sent_at=sent,
            read_at=read,
            created_at=at,
        )
        if what.get("reply"):
            self._insert(
                replies,
                id=f"rpl_{number}",
                digest=f"d{number}",
                tenant=tenant,
                borrower_id=who["borrower_id"],
                delivery_id=delivery,
                channel="sms",
                provider="p",
                intent="thanks",
                text="thanks",
                received_at=at,
            )
        if what.get("opted_out"):
            self._event(who, "opted_out", None, at + what["opted_out"], {})
        if what.get("complained"):
            self._event(who, "receipt", delivery, at + HOUR, {"status": "complained"})
        if what.get("paid"):
            closed = {"closed_at": at + what["paid"], "closed_reason": "paid"}
            self._insert(cases, tenant=tenant, id=who["case_id"], **closed)

    def _event(self, who: dict[str, str], kind: str, delivery: str | None, at: Any, detail: dict[str, str]) -> None:
        self._insert(
            events,
            tenant=who["tenant"],
            subject=f"borrower:{who['borrower_id']}",
            borrower_id=who["borrower_id"],
            delivery_id=delivery,
            at=at,
            kind=kind,
            actor="gateway",
            detail=json.dumps(detail),
            previous_hash="0",
            hash=f"{self._number}{kind}",
        )

    def _insert(self, table: Any, **values: Any) -> None:
        self._connection.execute(insert(table), [values])


async def test_each_measure_counts_what_it_says(database: Database) -> None:
    """Of one version and tenant; what was never sent is no message, and what happened long after is not after it."""
    harness = TemplateHarness(database)
    number = await harness.published()
    now, before = harness.live(), harness.catalog.resolve("other", TEMPLATE, None, harness.clock()).version

    def write(connection: Connection) -> None:
        made = _Requests(connection)
        made.add(now, state=State.DELIVERED, read=True, reply=True, paid=HOUR)
        made.add(now, state=State.DELIVERED, opted_out=HOUR, complained=True)
        made.add(now, opted_out=timedelta(days=15), paid=timedelta(days=15))
        made.add(now, state=State.SUPPRESSED, sent=False, paid=HOUR)
        made.add(now, tenant="other", state=State.DELIVERED, reply=True)
        for _ in range(2):
            made.add(before, state=State.DELIVERED)

    await database.write(write)
    found = await harness.results.read("acme", TEMPLATE, number)
    measured = {each.measure: (each.number, each.of) for each in found.shares}
    assert measured == {
        "delivered": (2, 3),
        "read": (1, 3),
        "replied": (1, 3),
        "opted_out": (1, 3),
        "complained": (1, 3),
        "paid": (1, 3),
    }
    assert (found.before, found.complete, found.counts.by_channel) == (before, True, {"sms": 3})
    assert found.segments == 3  # one each, by the sample
    assert [each.before for each in found.shares] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert all(each.too_few for each in found.shares)
    assert SECRET not in repr(asdict(found))
    built_in = await harness.results.read("acme", TEMPLATE, 0)
    assert (built_in.counts.sent, built_in.before) == (2, "")
