"""Rows that the busy paths read without locks: what another process changes before they are written is never lost.

The functions that decide are called between the reading and the writing, so the other process acts in them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, select, update

from channels.base import Accepted, Receipt, ReceiptStatus
from gateway.core.deliveries import ClaimedDelivery, ReceiptFor
from gateway.core.notifications import Step
from gateway.core.states import State
from gateway.stages.route_rules import route_rules
from gateway.storage.database import Database
from gateway.storage.receipts import record
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.path import attempts, deliveries, events, notifications
from tests.support.storage.ledgers import NOW, digest, draft, ended, later, outgoing, store_on
from tests.support.storage.settling import RECORDER

ROUTE = (Step("sms", timedelta(minutes=30)), Step("email"))
RULES = route_rules(digest)


@pytest.fixture
async def ledger(empty_postgresql: str) -> AsyncIterator[Database]:
    """An empty ledger on PostgreSQL: on SQLite nobody writes between the reading and the writing."""
    database = Database(empty_postgresql)
    yield database
    await database.close()


def _meanwhile(database: Database, decide: Callable[..., Any], change: Any) -> tuple[Callable[..., Any], list[int]]:
    """``decide``, before whose first answer another process makes the change; and a list that has each call."""
    calls: list[int] = []

    def deciding(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            with database.engine.begin() as other:
                other.execute(change)
        return decide(*arguments)

    return deciding, calls


async def _claimed(database: Database) -> ClaimedDelivery:
    [accepted] = await store_on(database).accept([draft("k", route=ROUTE)], NOW)
    assert accepted.first_delivery is not None
    [work] = await store_on(database).claim([accepted.first_delivery], NOW, 60)
    return work


async def _one(database: Database, *columns: Any) -> Any:
    """The only delivery with its notification."""
    joined = select(*columns).select_from(deliveries)
    query = joined.join(notifications, notifications.c.id == deliveries.c.notification_id)
    return await database.read(lambda connection: connection.execute(query).one())


async def _count(database: Database, table: Table) -> int:
    query = select(func.count()).select_from(table)
    return int(await database.read(lambda connection: connection.execute(query).scalar_one()))


async def _settled(database: Database, change: Any) -> tuple[Any, int]:
    """An accepted attempt, recorded while ``change`` is made; what is there then, and how often it was decided."""
    work = await _claimed(database)
    await store_on(database).start([outgoing(work)], NOW, 60)
    decide, calls = _meanwhile(database, RECORDER.after_attempt, change)
    await store_on(database).settle([ended(work, Accepted("SM1"))], decide, RECORDER.after_receipt)
    found = await _one(database, notifications.c.state, notifications.c.stopped, deliveries.c.receipts)
    return found, len(calls)


async def test_the_stop_of_a_route_while_an_attempt_is_recorded_stays(ledger: Database) -> None:
    found, decided = await _settled(ledger, update(notifications).values(stopped="opt_out"))
    assert (found.state, found.stopped, decided) == (State.SENT, "opt_out", 2)


async def test_the_mark_of_a_receipt_while_an_attempt_is_recorded_stays(ledger: Database) -> None:
    found, decided = await _settled(ledger, update(deliveries).values(receipts="mark"))
    assert (found.state, found.receipts, decided) == (State.SENT, "mark", 2)


async def test_what_nobody_changed_is_decided_once(ledger: Database) -> None:
    found, decided = await _settled(ledger, update(borrowers).values(version=7))
    assert (found.state, decided) == (State.SENT, 1)


async def test_a_borrower_who_changes_before_an_attempt_begins_is_decided_anew(ledger: Database) -> None:
    """Neither the attempt nor its event is there, and the delivery is due at once."""
    work = await _claimed(ledger)
    store = store_on(ledger)
    change = update(borrowers).values(version=borrowers.c.version + 1)
    start, calls = _meanwhile(ledger, store._rules.start, change)
    store._rules = replace(store._rules, start=start)
    assert await store.start([outgoing(work)], NOW, 60) == set()
    assert len(calls) == 2
    assert await store.due(NOW, 10) == [work.delivery.id]
    assert (await _count(ledger, attempts), await _count(ledger, events)) == (0, 1)


async def test_a_receipt_that_another_process_took_meanwhile_is_a_duplicate(ledger: Database) -> None:
    work = await _claimed(ledger)
    await store_on(ledger).start([outgoing(work)], NOW, 60)
    await store_on(ledger).settle([ended(work, Accepted("SM1"))], RECORDER.after_attempt, RECORDER.after_receipt)
    arrived = ReceiptFor(Receipt("twilio", ReceiptStatus.SENT, "SM1"), work.delivery.id, 1)
    taken: list[str] = []

    def deciding(*arguments: Any) -> Any:
        if not taken:
            with ledger.engine.begin() as other:
                results, _ = record(other, RULES, [arrived], later(5), RECORDER.after_receipt, lock=True)
            taken.extend(results)
        return RECORDER.after_receipt(*arguments)

    assert await store_on(ledger).receive([arrived], later(6), deciding) == (["duplicate"], [])
    assert taken == ["recorded"]


async def test_a_state_that_is_looked_for_is_marked_whoever_writes_it(database: Database) -> None:
    """As versions do that know nothing of the mark."""
    await store_on(database).accept([draft("k")], NOW)
    for state, mark in ((State.FAILED, "failed"), (State.SENT, ""), (State.REVIEW, "review")):
        for table in (notifications, deliveries):
            change = update(table).values(state=state)
            await database.write(partial(Connection.execute, statement=change))
            assert (await _one(database, table.c.attention)).attention == mark
