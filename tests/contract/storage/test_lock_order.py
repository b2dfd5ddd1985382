"""Rows are locked in one order everywhere, so transactions wait for each other and never deadlock; on PostgreSQL.

Each test holds a row as another process would, lets the work under test run until it waits for a lock, and then takes
the row that comes next in the order: dedup claims, borrowers, notifications, deliveries, each by id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Select, insert, select, text, update

from channels.base import Accepted, Reply
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.deliveries import ClaimedDelivery
from gateway.core.facts import Hold
from gateway.core.notifications import Step
from gateway.core.reasons import HoldKind, Intent, PolicyReason
from gateway.core.states import State
from gateway.operations.controls import Controls
from gateway.operations.dead_letters import DeadLetterFilter, DeadLetters
from gateway.replies.store import ReplyStore
from gateway.stages.schedule import RetrySchedule
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import dedup_claims, deliveries, notifications
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, digest, draft, ended, later, outgoing, people_on, store_on
from tests.support.waiting import LIMIT_SECONDS

RECORDER = OutcomeRecorder(RetrySchedule(timedelta(hours=72), timedelta(seconds=30), 6), {})
_BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@pytest.fixture
async def ledger(empty_postgresql: str) -> AsyncIterator[Database]:
    """An empty ledger on PostgreSQL: SQLite has one writer and no row locks."""
    database = Database(empty_postgresql)
    yield database
    await database.close()


async def _crossing(database: Database, first: Select[Any], second: Select[Any], work: Coroutine[Any, Any, Any]) -> Any:
    """Hold ``first`` until ``work`` waits for it, then take ``second``; a deadlock is an error of one of the two."""
    with database.engine.connect() as other:
        other.execute(first.with_for_update()).all()
        task = asyncio.create_task(work)
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await database.read(lambda connection: connection.execute(_BLOCKED).scalar_one()):
                assert not task.done(), "it waited for nothing"
                await asyncio.sleep(0.02)
        await asyncio.to_thread(lambda: other.execute(second.with_for_update()).all())
        other.commit()
    async with asyncio.timeout(LIMIT_SECONDS):
        return await task


async def _accepted(database: Database, key: str, at: datetime = NOW, **options: Any) -> tuple[str, str]:
    """The ids of a reminder and of its first delivery."""
    [answer] = await store_on(database).accept([draft(key, now=at, **options)], at)
    assert answer.first_delivery is not None
    return answer.id, answer.first_delivery


async def _claimed(database: Database, ids: list[str]) -> list[ClaimedDelivery]:
    return await store_on(database).claim(ids, later(60), 60)


async def _set(database: Database, delivery_id: str, **values: Any) -> None:
    changed = update(deliveries).where(deliveries.c.id == delivery_id).values(**values)

    def write(connection: Connection) -> None:
        connection.execute(changed)

    await database.write(write)


def _delivery(key: str) -> Select[Any]:
    return select(deliveries.c.id).where(deliveries.c.id == key)


def _notification(key: str) -> Select[Any]:
    return select(notifications.c.id).where(notifications.c.id == key)


def _borrower(key: str) -> Select[Any]:
    return select(borrowers.c.id).where(borrowers.c.id == key)


async def test_postponed_deliveries_are_locked_by_id(ledger: Database) -> None:
    """A worker gives deliveries back in the order of its batch, which is another than the ids'."""
    _, first = await _accepted(ledger, "one")
    _, second = await _accepted(ledger, "two", later(1), borrower="B-2")
    works = {work.delivery.id: work for work in await _claimed(ledger, [first, second])}
    back = store_on(ledger).postpone([works[second], works[first]], later(90))
    await _crossing(ledger, _delivery(first), _delivery(second), back)
    assert await store_on(ledger).due(later(89), 10) == []
    assert await store_on(ledger).due(later(90), 10) == [first, second]


async def test_a_change_of_a_borrower_locks_notifications_before_deliveries(ledger: Database) -> None:
    """What waits for the borrower is evaluated again: a deferred delivery, and one in review for the same hold."""
    await people_on(ledger).put_hold("acme", "B-1", Hold(HoldKind.DISPUTE, NOW), "", "test")
    first, deferred = await _accepted(ledger, "deferred")
    second, reviewed = await _accepted(ledger, "reviewed", later(1))
    await _set(ledger, deferred, state=State.DEFERRED)
    await _set(ledger, reviewed, state=State.REVIEW, reason=PolicyReason.HOLD)
    batch = select(notifications.c.id).where(notifications.c.id.in_([first, second])).order_by(notifications.c.id)
    assert await _crossing(
        ledger, batch, _delivery(deferred), people_on(ledger).lift_hold("acme", "B-1", HoldKind.DISPUTE, "test")
    )


async def test_the_end_of_a_pause_locks_deliveries_by_id(ledger: Database) -> None:
    """What a pause held up is in the table in another order than that of the ids."""
    controls = Controls(ledger, lambda: NOW)
    pause = await controls.set(SwitchKind.PAUSE, SwitchScope.ALL, "", "acme", "test", "test", None)
    _, second = await _accepted(ledger, "two", later(1))
    _, first = await _accepted(ledger, "one", NOW)
    for key in (second, first):
        await _set(ledger, key, paused=pause["id"])
    assert await _crossing(ledger, _delivery(first), _delivery(second), controls.end(pause["id"], "test")) == 2


async def _reply(database: Database, text: str = "STOP") -> Any:
    replies = ReplyStore(database, digest, lambda: later(120))
    reply = Reply("twilio", "IN-1", "+12025550123", text)
    return await replies.record(reply, "sms", "+12025550123", lambda *_: understood(Intent.STOP))


async def _with_a_tenant(database: Database) -> None:
    row = {"id": "k", "digest": "d", "tenant": "acme", "name": "", "scopes": "send", "created_at": NOW}
    await database.write(lambda connection: connection.execute(insert(api_keys), [row]))


async def test_a_reply_locks_the_borrowers_of_a_shared_number_by_id(ledger: Database) -> None:
    """The borrower who was written to first is not the first by id."""
    await _with_a_tenant(ledger)
    await _accepted(ledger, "two", borrower="B-2")
    await _accepted(ledger, "one", later(1), borrower="B-1")
    assert len(await _crossing(ledger, _borrower("B-1"), _borrower("B-2"), _reply(ledger))) == 2


async def test_a_reply_locks_all_notifications_that_it_changes_by_id(ledger: Database) -> None:
    """It stops the route of the latest message and has an earlier, deferred one evaluated again."""
    await _with_a_tenant(ledger)
    first, deferred = await _accepted(ledger, "deferred")
    second, _ = await _accepted(ledger, "latest", later(1))
    await _set(ledger, deferred, state=State.DEFERRED)
    assert await _crossing(ledger, _notification(first), _notification(second), _reply(ledger))


async def test_a_redrive_locks_claims_before_notifications(ledger: Database) -> None:
    """Accepting holds a claim while it waits for borrowers; a dead letter's claim is locked before its rows."""
    first, delivery = await _accepted(ledger, "dead", route=(Step("sms"),))
    [work] = await _claimed(ledger, [delivery])
    store = store_on(ledger)
    await store.start([outgoing(work)], later(60), 60)
    await store.settle([ended(work, Accepted("SM1"), later(61))], RECORDER.after_attempt, RECORDER.after_receipt)
    await _set(ledger, delivery, state=State.FAILED)
    failed = update(notifications).where(notifications.c.id == first).values(state=State.FAILED)
    await ledger.write(lambda connection: connection.execute(failed))
    redriven = DeadLetters(ledger, digest, lambda: later(90)).redrive(
        "acme", DeadLetterFilter(ids=[first]), "test", "test", dry_run=False
    )
    claim = select(dedup_claims.c.dedup_key).where(dedup_claims.c.dedup_key == "dead")
    [letter] = await _crossing(ledger, claim, _notification(first), redriven)
    assert letter["outcome"] == "redriven"
