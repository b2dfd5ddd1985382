"""Cases in the ledger, on SQLite and PostgreSQL: feeds in any order, and what follows from them at once."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from gateway.core.codec import holds_from
from gateway.core.reasons import HoldKind
from gateway.core.states import State
from gateway.journeys.cases.record import CaseRecord, Closing, Payment, Promise, RepaymentPlan
from gateway.journeys.cases.store import CaseStore
from gateway.retention.erasing import Eraser, RemovalCounts, RetentionPeriods
from gateway.storage.database import Database
from gateway.storage.events import link, linked
from gateway.storage.tables.borrowers import borrowers, cases
from gateway.storage.tables.journeys import case_records
from gateway.storage.tables.path import deliveries, events
from tests.support.journeys.cases import snapshot
from tests.support.storage.ledgers import NOW, digest, draft, store_on

PAID = CaseRecord("C-1", payments={"p1": Payment("p1", Decimal("3913.00"), NOW)})
KNOWN = CaseRecord("C-1", snapshot(as_of=NOW - timedelta(days=1)))
PROMISED = CaseRecord("C-1", promises={"r1": Promise("r1", Decimal("100"), date(2026, 11, 30), NOW)})
PLANNED = CaseRecord("C-1", plans={"l1": RepaymentPlan("l1", Decimal("700"), 6, date(2026, 12, 10), NOW)})


def store_of(database: Database) -> CaseStore:
    return CaseStore(database, digest, lambda: NOW)


async def _all(database: Database, query: Any) -> list[Any]:
    return await database.read(lambda connection: list(connection.execute(query)))


async def _kinds(database: Database) -> list[str]:
    query = select(events.c.kind).where(events.c.subject == "case:acme/C-1").order_by(events.c.seq)
    return [row.kind for row in await _all(database, query)]


async def _holds(database: Database) -> set[HoldKind]:
    rows = await _all(database, select(borrowers.c.holds))
    return {each.kind for row in rows for each in holds_from(row.holds)}


async def test_a_payment_of_all_that_is_due_stops_what_is_pending(database: Database) -> None:
    """When the answer comes, the message is cancelled, and what is asked for later is suppressed."""
    store, known = store_on(database), store_of(database)
    await known.feed("acme", [KNOWN], "key:1")
    await store.accept([draft("k1")], NOW)
    [part] = await known.feed("acme", [CaseRecord("C-1", payments={"p0": Payment("p0", Decimal(1), NOW)})], "key:1")
    assert (part.changed, part.cancelled) == (True, 0)
    [done] = await known.feed("acme", [PAID], "key:1")
    assert done.cancelled == 1
    assert [row.state for row in await _all(database, select(deliveries.c.state))] == [State.CANCELLED]
    assert [row.closed_reason for row in await _all(database, select(cases))] == ["paid"]
    assert (await _kinds(database))[-2:] == ["case.payment", "case.paid"]


async def test_the_same_feed_again_changes_nothing(database: Database) -> None:
    """No event, and nothing cancelled twice."""
    known = store_of(database)
    parts = [KNOWN, PAID, PROMISED, PLANNED]
    await known.feed("acme", parts, "key:1")
    before = await _all(database, select(case_records))
    again = await known.feed("acme", parts, "key:1")
    assert [each.changed for each in again] == [False] * 4
    assert await _all(database, select(case_records)) == before


async def test_every_order_of_a_feed_ends_in_the_same_ledger(database: Database) -> None:
    """The record, the flag of the case and the holds are the same, whatever came first."""
    parts = [KNOWN, PAID, PROMISED, PLANNED]
    ends = set()
    for number, order in enumerate(itertools.permutations(parts)):
        case_id = f"C-{number}"
        borrower = replace(KNOWN.snapshot.borrower, id=f"B-{number}") if KNOWN.snapshot else None
        for part in order:
            own = replace(part, id=case_id)
            if own.snapshot is not None:
                own = replace(own, snapshot=replace(own.snapshot, borrower=borrower))
            await store_of(database).feed("acme", [own], "key:1")
        [row] = await _all(database, select(case_records.c.body).where(case_records.c.id == case_id))
        [flag] = await _all(database, select(cases.c.closed_reason).where(cases.c.id == case_id))
        holds = await _all(database, select(borrowers.c.holds).where(borrowers.c.id == f"B-{number}"))
        standing = frozenset(each.kind for one in holds for each in holds_from(one.holds))
        ends.add((row.body.replace(case_id, "C").replace(f"B-{number}", "B"), flag.closed_reason, standing))
    assert len(ends) == 1
    assert ends.pop()[1:] == ("paid", frozenset())


async def test_a_promise_and_a_plan_hold_collections(database: Database) -> None:
    """The hold is in force when the feed answers; a plan that has ended holds no more."""
    known = store_of(database)
    await known.feed("acme", [KNOWN, PROMISED], "key:1")
    assert await _holds(database) == {HoldKind.PROMISE_TO_PAY}
    await known.feed("acme", [PLANNED], "key:1")
    assert await _holds(database) == {HoldKind.PROMISE_TO_PAY, HoldKind.PLAN_IN_PLACE}
    ended = replace(PLANNED.plans["l1"], ended_at=NOW + timedelta(days=1))
    await known.feed("acme", [CaseRecord("C-1", plans={"l1": ended})], "key:1")
    assert await _holds(database) == {HoldKind.PROMISE_TO_PAY}


async def test_what_is_due_again_may_be_reminded_of_again(database: Database) -> None:
    """A later snapshot with something due takes the flag back; a case that was closed stays closed."""
    known = store_of(database)
    await known.feed("acme", [KNOWN, PAID], "key:1")
    later = CaseRecord("C-1", snapshot(as_of=NOW + timedelta(days=9)))
    await known.feed("acme", [later], "key:1")
    assert [row.closed_at for row in await _all(database, select(cases))] == [None]
    await known.feed("acme", [CaseRecord("C-1", closing=Closing("sold", NOW))], "key:1")
    await known.feed("acme", [CaseRecord("C-1", snapshot(as_of=NOW + timedelta(days=20)))], "key:1")
    assert [row.closed_reason for row in await _all(database, select(cases))] == ["sold"]


async def test_concurrent_feeds_of_one_case_lose_nothing(database: Database) -> None:
    """Twenty payments at once: all of them are in the record, and the chain is whole."""
    known = store_of(database)
    parts = [CaseRecord("C-1", payments={f"p{n}": Payment(f"p{n}", Decimal(1), NOW)}) for n in range(20)]
    await asyncio.gather(*(known.feed("acme", [each], "key:1") for each in parts))
    found = await known.find("acme", "C-1")
    assert found is not None
    assert len(found.payments) == 20
    rows = await _all(database, select(events).where(events.c.subject == "case:acme/C-1").order_by(events.c.seq))
    assert all(link(row) == row["hash"] for row in linked(row._mapping for row in rows))
    assert (await _all(database, select(case_records.c.event_hash)))[0].event_hash == rows[-1].hash


async def test_a_thousand_cases_are_fed_together(database: Database) -> None:
    """In one transaction, each with its first event."""
    parts = [CaseRecord(f"C-{number}", snapshot()) for number in range(1000)]
    before = database.statements
    fed = await store_of(database).feed("acme", parts, "key:1")
    assert [each.record.id for each in fed] == [each.id for each in parts]
    assert database.statements - before < 20


async def test_what_a_case_says_of_a_person_is_erased_in_time(database: Database) -> None:
    """Name and addresses of a case of which nothing was heard for the period; what it owes and its chain stay."""
    known = store_of(database)
    await known.feed("acme", [KNOWN, PROMISED], "key:1")
    keep = RetentionPeriods(timedelta(0), timedelta(days=30), timedelta(0), timedelta(0))
    for days, erased in ((29, 0), (31, 1), (32, 0)):
        removed = RemovalCounts()
        await Eraser(database, keep, NOW + timedelta(days=days)).run(asyncio.Event(), removed)
        assert removed.contents == erased
    found = await known.find("acme", "C-1")
    assert found is not None
    assert found.snapshot is not None
    assert (found.snapshot.borrower.name, dict(found.snapshot.borrower.addresses)) == ("", {})
    assert found.snapshot.balance == Decimal("3913.00")
    assert set(found.promises) == {"r1"}
