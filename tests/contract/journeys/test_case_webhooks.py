"""What case systems are told of cases and journeys: types, ids and reasons, and nobody's name."""

from __future__ import annotations

import json
from decimal import Decimal

from sqlalchemy import select

from gateway.journeys.cases.record import CaseRecord, Payment
from gateway.storage.database import Database
from gateway.storage.tables.webhooks import webhook_messages
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.outbox import WebhookOutbox
from tests.support.journeys.cases import START
from tests.support.journeys.path import JourneyBench


async def test_a_case_is_told_from_its_entry_to_its_payment(database: Database) -> None:
    """In the order in which it happened, each with the case and, of a journey, the step."""
    bench = JourneyBench(database)
    endpoints = WebhookEndpoints(database, lambda *_: "secret", bench.clock)
    wanted = ["case.opened", "case.paid", "journey.entered", "journey.step", "journey.exited"]
    await endpoints.create("acme", "https://example.com/hook", wanted)
    await bench.live()
    await bench.case()
    await bench.run()
    await bench.feed(CaseRecord("C-1", payments={"p": Payment("p", Decimal("3913.00"), START)}))
    await bench.run()
    outbox = WebhookOutbox(database)
    for _ in range(3):  # PostgreSQL's tail is sure of an event at the second look
        await outbox.collect(bench.now)
    query = select(webhook_messages.c.type, webhook_messages.c.body).order_by(webhook_messages.c.sequence)
    rows = await database.read(lambda connection: connection.execute(query).all())
    assert [row.type for row in rows] == [
        "case.opened",
        "journey.entered",
        "journey.step",
        "case.paid",
        "journey.exited",
    ]
    data = [json.loads(row.body)["data"] for row in rows]
    assert {each["case_id"] for each in data} == {"C-1"}
    assert (data[2]["step"], data[2]["definition"]) == ("remind", "short")
    assert data[2]["notification_id"].startswith("ntf_")
    assert data[4]["reason"] == "paid"
    assert "3913.00" not in str(rows)
