"""What is due, and whose message a provider names, by tables that triggers keep beside the deliveries."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, inspect, select, text, update

from channels.base import Accepted, Receipt, ReceiptStatus, TransientFailure
from channels.base import ProviderReason as Reason
from gateway.core.deliveries import ReceiptFor
from gateway.core.notifications import Step
from gateway.storage.database import Database
from gateway.storage.tables.operations import processes
from gateway.storage.tables.path import attempts, deliveries, due_deliveries
from gateway.storage.upgrade.migrate import RETIRED, migrate, retire, rollback_possible
from tests.support.storage.ledgers import NOW, draft, ended, later, outgoing, store_on
from tests.support.storage.settling import RECORDER

pytestmark = pytest.mark.oldest_postgresql

ROUTE = (Step("sms", timedelta(minutes=30)), Step("email"))


async def _same(database: Database) -> int:
    """How many deliveries are due at some time, which the table has to have, and no others."""
    due = select(deliveries.c.due_at, deliveries.c.id).where(deliveries.c.due_at.is_not(None))
    expected = await database.read(lambda connection: set(map(tuple, connection.execute(due))))
    listed = select(due_deliveries.c.due_at, due_deliveries.c.delivery_id)
    assert await database.read(lambda connection: set(map(tuple, connection.execute(listed)))) == expected
    return len(expected)


async def _execute(database: Database, statement: Any) -> None:
    await database.write(partial(Connection.execute, statement=statement))


async def test_the_table_has_what_is_due_whoever_writes(database: Database) -> None:
    """Through the life of a route, and where a delivery is changed, given no time, or removed by SQL alone."""
    store = store_on(database)
    await store.accept([draft("one", route=ROUTE), draft("two", borrower="B-2", case="C-2")], NOW)
    assert await _same(database) == 2
    first, second = await store.claim(await store.due(NOW, 10), NOW, 60)
    await store.start([outgoing(first), outgoing(second)], NOW, 60)
    assert await _same(database) == 2
    failed = ended(second, TransientFailure(Reason.PROVIDER_UNAVAILABLE))
    await store.settle([ended(first, Accepted("SM1")), failed], RECORDER.after_attempt, RECORDER.after_receipt)
    assert (await _same(database), await store.due(NOW, 10)) == (2, [])
    delivered = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM1"))
    await store.receive([delivered], later(1), RECORDER.after_receipt)
    assert await _same(database) == 1
    for change, left in (
        (update(deliveries).values(due_at=later(5)), 2),
        (update(deliveries).values(due_at=later(5), reason="x"), 2),
        (update(deliveries).where(deliveries.c.id == first.delivery.id).values(due_at=None), 1),
        (delete(deliveries), 0),
    ):
        await _execute(database, change)
        assert await _same(database) == left


async def test_an_id_that_a_receipt_brings_names_its_message(database: Database) -> None:
    """The worker is lost before it could record the provider's id; a signed receipt has it, and the next only that."""
    store = store_on(database)
    await store.accept([draft("k", route=ROUTE)], NOW)
    [work] = await store.claim(await store.due(NOW, 10), NOW, 60)
    await store.start([outgoing(work)], NOW, 60)
    signed = ReceiptFor(Receipt("twilio", ReceiptStatus.SENT, "SM9"), work.delivery.id, 1)
    assert (await store.receive([signed], later(1), RECORDER.after_receipt))[0] == ["moved"]
    assert await store.owner("twilio", "SM9") == work.delivery.id
    named = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM9"))
    assert (await store.receive([named], later(2), RECORDER.after_receipt))[0] == ["moved"]
    found = await database.read(lambda each: each.execute(select(attempts.c.provider_message_id)).scalars().all())
    assert list(found) == ["SM9"]


async def test_indexes_of_the_version_before_go_when_its_processes_have(new_postgresql: str) -> None:
    """A process of another version that is alive keeps them; one of this version does not."""
    database = Database(new_postgresql)
    await asyncio.to_thread(migrate, database.engine)
    for name, column in zip(RETIRED, ("due_at", "provider_message_id"), strict=True):
        await _execute(database, text(f"CREATE INDEX {name} ON deliveries ({column})"))
    row = {"id": "prc_1", "kind": "api", "version": "before", "started_at": NOW, "seen_at": NOW, "providers": "{}"}
    await _execute(database, insert(processes).values(row))

    def there(connection: Connection) -> set[str]:
        return {each["name"] or "" for each in inspect(connection).get_indexes("deliveries")} & set(RETIRED)

    await _execute(database, text("UPDATE processes SET seen_at = extract(epoch FROM now()) * 1000000"))
    assert await asyncio.to_thread(retire, database.engine, "this") == RETIRED
    assert await database.read(there) == set(RETIRED)
    assert await database.read(rollback_possible)
    await _execute(database, text("UPDATE processes SET version = 'this'"))
    assert await asyncio.to_thread(retire, database.engine, "this") == ()
    assert await database.read(there) == set()
    assert not await database.read(rollback_possible)
    await database.close()
