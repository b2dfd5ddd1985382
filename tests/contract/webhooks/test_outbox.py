"""The transactional outbox of webhooks, from events to the last attempt, on SQLite and on PostgreSQL."""

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
from gateway.storage.tables.webhooks import webhook_endpoints, webhook_messages
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.outbox import DeliveryResult, WebhookMessage, WebhookOutbox
from tests.support.storage.ledgers import NOW, draft, ended, later, outgoing, people_on, store_on

URL = "https://cases.example.com/hooks"


def endpoints_on(database: Database, now: datetime = NOW) -> WebhookEndpoints:
    return WebhookEndpoints(database, lambda endpoint, version, _: f"{endpoint}.{version}", lambda: now)


async def collected(outbox: WebhookOutbox, now: datetime = NOW) -> int:
    """Collect everything; a cursor reader that has just started needs two reads."""
    total = 0
    for _ in range(4):
        total += await outbox.collect(now) or 0
    return total


async def failed_delivery(database: Database, key: str = "k1", **options: Any) -> str:
    """A message that is sent and reported undelivered; the next route step starts."""
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


async def test_messages_are_in_order_and_have_ids_and_reasons_only(database: Database) -> None:
    """Each change of state gives one numbered message; it has no borrower data but ids."""
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
    assert all(
        private not in each.body for each in found for private in ("Chen", "+1202", "example.com", "3913.00", "3,913")
    )
    assert endpoint["secret"] == f"{endpoint['id']}.1"


async def test_an_event_gives_one_message_per_subscribed_endpoint(database: Database) -> None:
    """Other tenants get nothing; types are filtered; collecting again, or in a second worker, adds nothing."""
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


async def test_an_endpoint_gets_events_from_its_creation_on(database: Database) -> None:
    """Events from before its creation give no messages."""
    await failed_delivery(database)
    await endpoints_on(database).create("acme", URL, [])
    await collected(WebhookOutbox(database))
    assert await messages(database) == []


async def test_without_endpoints_no_events_are_read(database: Database) -> None:
    """A ledger without endpoints costs one small query."""
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


async def test_an_event_that_is_committed_late_is_not_skipped(database: Database) -> None:
    """PostgreSQL: a transaction that commits after one with higher sequence numbers still gives its messages."""
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


async def claimed(outbox: WebhookOutbox, now: datetime) -> list[WebhookMessage]:
    """Lease what is due at every endpoint, as a worker does it."""
    due = await outbox.endpoints_due(now, (), 100)
    found = [each for endpoint in due for each in await outbox.claim(endpoint, now, 10)]
    return sorted(found, key=lambda each: json.loads(each.body)["data"]["sequence"])


async def record_all(
    outbox: WebhookOutbox, found: list[WebhookMessage], outcome: WebhookOutcome, now: datetime
) -> None:
    await outbox.record([DeliveryResult(each, outcome, 200) for each in found], now)


async def test_messages_of_one_notification_are_delivered_in_order(database: Database) -> None:
    """A failed message blocks the later ones of the same notification, and no others."""
    await endpoints_on(database).create("acme", URL, [])
    await failed_delivery(database, "k1")
    await failed_delivery(database, "k2", borrower="B-2")
    outbox = WebhookOutbox(database)
    await collected(outbox)
    first = await claimed(outbox, NOW)
    assert [json.loads(each.body)["data"]["sequence"] for each in first] == [1, 3]
    assert await claimed(outbox, NOW) == []
    await record_all(outbox, first[:1], WebhookOutcome.DELIVERED, NOW)
    await record_all(outbox, first[1:], WebhookOutcome.REFUSED, NOW)
    second = await claimed(outbox, NOW)
    assert [json.loads(each.body)["data"]["sequence"] for each in second] == [2]


async def test_the_message_of_a_dead_worker_is_leased_again(database: Database) -> None:
    """When the lease expires, another worker delivers it under the same id; a late result of the first is ignored."""
    await endpoints_on(database).create("acme", URL, ["delivery.sent"])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    [lost] = await claimed(outbox, NOW)
    assert await claimed(outbox, later(59)) == []
    [again] = await claimed(outbox, later(61))
    assert (again.id, again.attempts) == (lost.id, 2)
    await record_all(outbox, [lost], WebhookOutcome.REFUSED, later(62))
    await record_all(outbox, [again], WebhookOutcome.DELIVERED, later(62))
    [row] = await messages(database)
    assert (row.state, row.attempts, row.status) == ("delivered", 2, 200)
    assert await outbox.waiting(later(63)) == (0, 0.0)


async def test_attempts_span_about_three_days(database: Database) -> None:
    """Ten attempts with growing backoff; then the message has failed, and can be replayed."""
    endpoints = endpoints_on(database)
    endpoint = await endpoints.create("acme", URL, ["delivery.sent"])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    now, tries = NOW, 0
    while True:
        found = await claimed(outbox, now)
        if not found:
            break
        tries += 1
        await record_all(outbox, found, WebhookOutcome.REFUSED, now)
        [row] = await messages(database)
        if row.state == "failed":
            break
        assert row.due_at > now
        now = row.due_at
    assert tries == 10
    assert timedelta(days=2.5) < now - NOW < timedelta(days=4)
    assert await endpoints.replay("acme", endpoint["id"], failed=True) == 1
    [again] = await claimed(outbox, now)
    assert again.attempts == 1
    assert await endpoints.replay("other", endpoint["id"], failed=True) is None


async def test_a_failing_endpoint_is_paused_and_others_go_on(database: Database) -> None:
    """The pause grows from seconds to minutes. An endpoint that answered 410 gets nothing until it is enabled."""
    endpoints = endpoints_on(database)
    broken = await endpoints.create("acme", URL, ["delivery.sent"])
    works = await endpoints.create("acme", URL, ["delivery.sent"])
    await failed_delivery(database, "k1")
    await failed_delivery(database, "k2", borrower="B-2")
    outbox = WebhookOutbox(database)
    await collected(outbox)
    for each in await claimed(outbox, NOW):
        outcome = WebhookOutcome.UNREACHABLE if each.endpoint_id == broken["id"] else WebhookOutcome.DELIVERED
        await record_all(outbox, [each], outcome, NOW)
    again = await claimed(outbox, later(0.5))
    assert again == []
    rests = select(webhook_endpoints.c.failures).where(webhook_endpoints.c.id == works["id"])
    assert await database.read(lambda connection: connection.execute(rests).scalar()) == 0
    found = await claimed(outbox, later(30))
    assert {each.endpoint_id for each in found} == {broken["id"]}
    await record_all(outbox, found, WebhookOutcome.GONE, later(30))
    assert await claimed(outbox, later(90_000)) == []
    shown = await endpoints.find("acme", broken["id"])
    assert shown is not None
    assert shown["disabled_reason"] == "gone"
    assert await endpoints.enable("acme", broken["id"])
    assert len(await claimed(outbox, later(90_000))) == 2


async def test_a_failing_endpoint_gets_one_message_and_healthy_ones_come_first(database: Database) -> None:
    """After its pause a failing endpoint is probed with one message, when the healthy endpoints have their places."""
    endpoints = endpoints_on(database)
    broken = await endpoints.create("acme", URL, ["delivery.sent"])
    works = await endpoints.create("acme", URL, ["delivery.sent"])
    for number in range(3):
        await failed_delivery(database, f"k{number}", borrower=f"B-{number}")
    outbox = WebhookOutbox(database)
    await collected(outbox)
    found = await outbox.claim(broken["id"], NOW, 10)
    assert len(found) == 3
    await record_all(outbox, found, WebhookOutcome.UNREACHABLE, NOW)
    assert await outbox.endpoints_due(later(60), (), 1) == [works["id"]]
    assert await outbox.endpoints_due(later(60), (), 2) == [works["id"], broken["id"]]
    assert await outbox.endpoints_due(later(60), [works["id"]], 1) == [broken["id"]]
    assert len(await outbox.claim(broken["id"], later(60), 10)) == 1


async def test_both_secrets_sign_for_a_day_after_a_rotation(database: Database) -> None:
    """Receivers can change their copy of the secret at any time of that day."""
    endpoints = endpoints_on(database)
    endpoint = await endpoints.create("acme", URL, ["delivery.sent"])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    rotated = await endpoints.rotate("acme", endpoint["id"])
    assert rotated is not None
    assert rotated["secret"] == f"{endpoint['id']}.2"
    [message] = await claimed(outbox, NOW)
    assert message.secret_versions == ((2, 1), (1, 1))
    [message] = await claimed(outbox, NOW + timedelta(days=1))
    assert message.secret_versions == ((2, 1),)


async def test_the_log_is_of_one_tenant_and_goes_with_the_endpoint(database: Database) -> None:
    """The delivery log: latest first, by state; deleted with its endpoint, settled messages after a month."""
    endpoints = endpoints_on(database)
    endpoint = await endpoints.create("acme", URL, [])
    await failed_delivery(database)
    outbox = WebhookOutbox(database)
    await collected(outbox)
    await record_all(outbox, await claimed(outbox, NOW), WebhookOutcome.DELIVERED, NOW)
    assert [each["sequence"] for each in await endpoints.log("acme", endpoint["id"], None, 10, None)] == [2, 1]
    assert [each["sequence"] for each in await endpoints.log("acme", endpoint["id"], "delivered", 10, None)] == [1]
    assert [each["sequence"] for each in await endpoints.log("acme", endpoint["id"], None, 10, 2)] == [1]
    assert await endpoints.log("other", endpoint["id"], None, 10, None) == []
    await outbox.delete_old(NOW + timedelta(days=31))
    assert [each.sequence for each in await messages(database)] == [2]
    assert not await endpoints.delete("other", endpoint["id"])
    assert await endpoints.delete("acme", endpoint["id"])
    assert await messages(database) == []


async def test_a_duplicate_and_a_deferral_have_their_own_types(database: Database) -> None:
    """A duplicate is suppressed as a whole notification; a deferral has its reason."""
    await endpoints_on(database).create("acme", URL, [])
    waiting = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=later(3600))
    route = (Step("sms"),)
    await store_on(database).accept([draft("a", dedup="same", verdict=waiting, route=route)], NOW)
    await store_on(database).accept([draft("b", dedup="same", verdict=waiting, route=route)], NOW)
    await collected(WebhookOutbox(database))
    found = [(each.type, json.loads(each.body)["data"]["reason"]) for each in await messages(database)]
    assert found == [("delivery.deferred", "outside_window"), ("notification.suppressed", "duplicate")]


async def test_many_events_are_collected_in_several_transactions(database: Database) -> None:
    """More events than one transaction reads: none is skipped, and the numbers have no gap."""
    await endpoints_on(database).create("acme", URL, [])
    waiting = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=later(3600))
    drafts = [draft(f"k{n}", borrower=f"B-{n}", verdict=waiting) for n in range(400)]
    await store_on(database).accept(drafts, NOW)
    outbox = WebhookOutbox(database)
    assert await collected(outbox) == 800
    assert [each.sequence for each in await messages(database)] == list(range(1, 401))
    await database.write(lambda connection: connection.execute(update(webhook_endpoints).values(disabled_at=NOW)))
    assert await claimed(outbox, NOW) == []
