"""What case systems are to be told, from the events to the last attempt, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update

from channels.base import Accepted as ProviderAccepted
from gateway.core.deliveries import Transition
from gateway.core.notifications import Step
from gateway.core.reasons import PolicyReason
from gateway.core.states import State, WebhookOutcome
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.storage.database import Database
from gateway.storage.schema import webhook_endpoints, webhook_messages
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.outbox import DeliveryResult, WebhookMessage, WebhookOutbox
from tests.support.ledgers import NOW, draft, ended, later, outgoing, people_on, store_on

URL = "https://cases.example.com/hooks"


def endpoints_on(database: Database, now: datetime = NOW) -> WebhookEndpoints:
    return WebhookEndpoints(database, lambda endpoint, version: f"{endpoint}.{version}", lambda: now)


async def collected(outbox: WebhookOutbox, now: datetime = NOW) -> int:
    """Everything that can be collected; a reader that has just begun looks twice."""
    total = 0
    for _ in range(4):
        total += await outbox.collect(now) or 0
    return total


async def failed_delivery(database: Database, key: str = "k1", **options: Any) -> str:
    """A message that is sent and proves undeliverable; the route's next step is opened."""
    store = store_on(database)
    [answer] = await store.accept([draft(key, **options)], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    await store.settle(
        [ended(work, ProviderAccepted("SM1"))],
        lambda delivery, _notification, _attempt: Transition(delivery.id, "sent", NOW, to=State.SENT),
        lambda *_all: None,
    )
    await store.apply([Transition(work.delivery.id, "receipt", NOW, to=State.UNDELIVERED, reason="unreachable")])
    return answer.id


async def messages(database: Database) -> list[Any]:
    query = select(webhook_messages).order_by(webhook_messages.c.endpoint_id, webhook_messages.c.sequence)
    return list(await database.read(lambda connection: connection.execute(query).all()))


async def test_what_happens_is_told_in_order_with_ids_and_reasons_alone(database: Database) -> None:
    """Each change of state once, numbered; nothing of the borrower but ids."""
    endpoint = await endpoints_on(database).create("acme", URL, [])
    notification = await failed_delivery(database)
    await people_on(database, later(5)).add_opt_out("acme", "B-1", "email", None, "letter", "api")
    await collected(WebhookOutbox(database))
    found = await messages(database)
    assert [(each.sequence, each.type) for each in found] == [
        (1, "delivery.sent"),
        (2, "delivery.undelivered"),
        (3, "borrower.opted_out"),
    ]
    body = json.loads(found[1].body)
    assert (body["type"], body["timestamp"]) == ("delivery.undelivered", "2026-11-24T10:00:00.000Z")
    delivery = body["data"].pop("delivery_id")
    assert delivery.startswith("dlv_")
    assert body["data"] == {
        "borrower_id": "B-1",
        "channel": "sms",
        "reason": "unreachable",
        "sequence": 2,
        "notification_id": notification,
        "case_id": "C-1",
        "state": "undelivered",
    }
    assert json.loads(found[2].body)["data"] == {
        "borrower_id": "B-1",
        "channel": "email",
        "reason": None,
        "sequence": 3,
    }
    assert all(private not in each.body for each in found for private in ("Chen", "+1202", "example.com", "3913"))
    assert endpoint["secret"] == f"{endpoint['id']}.1"


async def test_an_event_leads_to_one_message_for_each_endpoint_that_wants_it(database: Database) -> None:
    """Other tenants hear nothing; who wants some types hears those; a second look and a second worker add nothing."""
    endpoints = endpoints_on(database)
    every = await endpoints.create("acme", URL, [])
    some = await endpoints.create("acme", URL, ["delivery.undelivered"])
    await endpoints.create("other", URL, [])
    await failed_delivery(database)
    workers = [WebhookOutbox(database) for _ in range(4)]
    await asyncio.gather(*(collected(each) for each in workers))
    await asyncio.gather(*(collected(each) for each in workers))
    told = [(each.endpoint_id, each.sequence, each.type) for each in await messages(database)]
    assert sorted(told) == sorted(
        [
            (every["id"], 1, "delivery.sent"),
            (every["id"], 2, "delivery.undelivered"),
            (some["id"], 1, "delivery.undelivered"),
        ]
    )


async def test_an_endpoint_hears_from_its_beginning_on(database: Database) -> None:
    """What happened before is in the ledger, for who asks."""
    await failed_delivery(database)
    await endpoints_on(database).create("acme", URL, [])
    await collected(WebhookOutbox(database))
    assert await messages(database) == []


async def test_without_endpoints_nothing_is_looked_at(database: Database) -> None:
    """A ledger whose tenants want to hear nothing pays one small query."""
    outbox = WebhookOutbox(database)
    await failed_delivery(database)

    async def statements(work: Callable[[], Awaitable[object]]) -> int:
        before = database.statements
        for _ in range(4):  # a new connection says something first
            before, _ = database.statements, await work()
        return database.statements - before

    one = await statements(lambda: database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()))
    assert await statements(lambda: outbox.collect(NOW)) == one
    assert await outbox.collect(NOW) is None


async def test_an_event_that_is_committed_late_is_not_passed_over(database: Database) -> None:
    """PostgreSQL: a transaction takes its numbers, is overtaken by another, and commits; its event is told as well."""
    if database.is_sqlite:
        return  # one writer: nobody is overtaken
    await endpoints_on(database).create("acme", URL, [])
    outbox = WebhookOutbox(database)
    await collected(outbox)
    with database.engine.connect() as slow:
        copied = (
            "INSERT INTO events (tenant, subject, borrower_id, at, kind, actor, previous_hash, hash) VALUES "
            "('acme', 'borrower:acme/B-9', 'B-9', 1, 'opted_out', 'api', '', :hash)"
        )
        slow.execute(text(copied), {"hash": "slow"})
        await failed_delivery(database)
        await collected(outbox)
        assert await messages(database) == []  # the slow one may still commit, and comes first
        slow.commit()
    await collected(outbox)
    assert [each.type for each in await messages(database)] == [
        "borrower.opted_out",
        "delivery.sent",
        "delivery.undelivered",
    ]


async def told(outbox: WebhookOutbox, found: list[WebhookMessage], outcome: WebhookOutcome, now: datetime) -> None:
    await outbox.record([DeliveryResult(each, outcome, 200) for each in found], now)


async def test_of_one_notification_the_next_is_told_when_the_one_before_has_arrived(database: Database) -> None:
    """A failed message holds back those that follow about the same notification, and no others."""
    await endpoints_on(database).create("acme", URL, [])
    await failed_delivery(database, "k1")
    await failed_delivery(database, "k2", borrower="B-2")
    outbox = WebhookOutbox(database)
    await collected(outbox)
    first = await outbox.claim(NOW, 10)
    assert [json.loads(each.body)["data"]["sequence"] for each in first] == [1, 3]
    assert await outbox.claim(NOW, 10) == []
    await told(outbox, first[:1], WebhookOutcome.DELIVERED, NOW)
    await told(outbox, first[1:], WebhookOutcome.REFUSED, NOW)
    second = await outbox.claim(NOW, 10)
    assert [json.loads(each.body)["data"]["sequence"] for each in second] == [2]


async def test_a_worker_that_dies_with_a_message_leaves_it_to_the_next(database: Database) -> None:
    """The lease runs out and it is told again, under the same id; what the dead one says then changes nothing."""
    await endpoints_on(database).create("acme", URL, ["delivery.sent"])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    [lost] = await outbox.claim(NOW, 10)
    assert await outbox.claim(later(59), 10) == []
    [again] = await outbox.claim(later(61), 10)
    assert (again.id, again.attempts) == (lost.id, 2)
    await told(outbox, [lost], WebhookOutcome.REFUSED, later(62))
    await told(outbox, [again], WebhookOutcome.DELIVERED, later(62))
    [row] = await messages(database)
    assert (row.state, row.attempts, row.status) == ("delivered", 2, 200)
    assert await outbox.waiting(later(63)) == (0, 0.0)


async def test_attempts_span_about_three_days(database: Database) -> None:
    """Ten attempts, each later than the one before; then it has failed, and can be told again on request."""
    endpoints = endpoints_on(database)
    endpoint = await endpoints.create("acme", URL, ["delivery.sent"])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    now, tries = NOW, 0
    while True:
        found = await outbox.claim(now, 10)
        if not found:
            break
        tries += 1
        await told(outbox, found, WebhookOutcome.REFUSED, now)
        [row] = await messages(database)
        if row.state == "failed":
            break
        assert row.due_at > now
        now = row.due_at
    assert tries == 10
    assert timedelta(days=2.5) < now - NOW < timedelta(days=4)
    assert await endpoints.replay("acme", endpoint["id"], failed=True) == 1
    [again] = await outbox.claim(now, 10)
    assert again.attempts == 1
    assert await endpoints.replay("other", endpoint["id"], failed=True) is None


async def test_an_endpoint_that_does_not_work_rests_and_others_go_on(database: Database) -> None:
    """Seconds at first, minutes later. One that is gone is told nothing until it is enabled."""
    endpoints = endpoints_on(database)
    broken = await endpoints.create("acme", URL, ["delivery.sent"])
    works = await endpoints.create("acme", URL, ["delivery.sent"])
    await failed_delivery(database, "k1")
    await failed_delivery(database, "k2", borrower="B-2")
    outbox = WebhookOutbox(database)
    await collected(outbox)
    for each in await outbox.claim(NOW, 10):
        outcome = WebhookOutcome.UNREACHABLE if each.endpoint_id == broken["id"] else WebhookOutcome.DELIVERED
        await told(outbox, [each], outcome, NOW)
    again = await outbox.claim(later(0.5), 10)
    assert again == []
    rests = select(webhook_endpoints.c.failures).where(webhook_endpoints.c.id == works["id"])
    assert await database.read(lambda connection: connection.execute(rests).scalar()) == 0
    found = await outbox.claim(later(30), 10)
    assert {each.endpoint_id for each in found} == {broken["id"]}
    await told(outbox, found, WebhookOutcome.GONE, later(30))
    assert await outbox.claim(later(90_000), 10) == []
    shown = await endpoints.find("acme", broken["id"])
    assert shown is not None
    assert shown["disabled_reason"] == "gone"
    assert await endpoints.enable("acme", broken["id"])
    assert len(await outbox.claim(later(90_000), 10)) == 2


async def test_for_a_day_after_a_change_both_secrets_sign(database: Database) -> None:
    """The receiver changes its secret when it likes."""
    endpoints = endpoints_on(database)
    endpoint = await endpoints.create("acme", URL, ["delivery.sent"])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    rotated = await endpoints.rotate("acme", endpoint["id"])
    assert rotated is not None
    assert rotated["secret"] == f"{endpoint['id']}.2"
    [message] = await outbox.claim(NOW, 10)
    assert message.secret_versions == (2, 1)
    [message] = await outbox.claim(NOW + timedelta(days=1), 10)
    assert message.secret_versions == (2,)


async def test_the_log_is_of_one_tenant_and_goes_with_the_endpoint(database: Database) -> None:
    """The latest first, by state; deleted with its endpoint, and forgotten after a month where it is settled."""
    endpoints = endpoints_on(database)
    endpoint = await endpoints.create("acme", URL, [])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    await told(outbox, await outbox.claim(NOW, 10), WebhookOutcome.DELIVERED, NOW)
    assert [each["sequence"] for each in await endpoints.log("acme", endpoint["id"], None, 10, None)] == [2, 1]
    assert [each["sequence"] for each in await endpoints.log("acme", endpoint["id"], "delivered", 10, None)] == [1]
    assert [each["sequence"] for each in await endpoints.log("acme", endpoint["id"], None, 10, 2)] == [1]
    assert await endpoints.log("other", endpoint["id"], None, 10, None) == []
    await outbox.forget(NOW + timedelta(days=31))
    assert [each.sequence for each in await messages(database)] == [2]
    assert not await endpoints.delete("other", endpoint["id"])
    assert await endpoints.delete("acme", endpoint["id"])
    assert await messages(database) == []


async def test_a_duplicate_and_a_deferral_are_told_as_what_they_are(database: Database) -> None:
    """A second request with the same meaning is suppressed as a whole; a verdict has its reason."""
    await endpoints_on(database).create("acme", URL, [])
    waiting = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=later(3600))
    route = (Step("sms"),)
    await store_on(database).accept([draft("a", dedup="same", verdict=waiting, route=route)], NOW)
    await store_on(database).accept([draft("b", dedup="same", verdict=waiting, route=route)], NOW)
    await collected(WebhookOutbox(database))
    found = [(each.type, json.loads(each.body)["data"]["reason"]) for each in await messages(database)]
    assert found == [("delivery.deferred", "outside_window"), ("notification.suppressed", "duplicate")]


async def test_many_events_are_collected_in_several_goes(database: Database) -> None:
    """More events than are looked at at once: none is left out, and the numbers have no gap."""
    await endpoints_on(database).create("acme", URL, [])
    waiting = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=later(3600))
    drafts = [draft(f"k{n}", borrower=f"B-{n}", verdict=waiting) for n in range(400)]
    await store_on(database).accept(drafts, NOW)
    outbox = WebhookOutbox(database)
    assert await collected(outbox) == 800
    assert [each.sequence for each in await messages(database)] == list(range(1, 401))
    await database.write(lambda connection: connection.execute(update(webhook_endpoints).values(disabled_at=NOW)))
    assert await outbox.claim(NOW, 10) == []
