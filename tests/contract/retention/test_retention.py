"""What leaves the ledger, and what stays, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.exc import DBAPIError

from channels.base import Accepted, Receipt, ReceiptStatus
from gateway.borrowers.addresses import know_address
from gateway.borrowers.inbox import Inbox
from gateway.cli.ledger.evidence import verify
from gateway.core.deliveries import Outgoing, ReceiptFor
from gateway.core.errors import Unavailable
from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.retention.archives import ArchiveBatch, ArchiveFile
from gateway.retention.erasing import RetentionPeriods
from gateway.retention.legal_holds import LegalHolds
from gateway.retention.retention import Retention
from gateway.retention.sizes import measure, vacuum
from gateway.storage.database import Database
from gateway.storage.rows import NOTIFICATION_BODY
from gateway.storage.tables.borrowers import addresses, borrowers, replies
from gateway.storage.tables.path import attempts, dedup_claims, deliveries, events, messages, notifications, receipts
from gateway.storage.tables.retention import archives, leaving, legal_holds
from tests.support.storage.ledgers import NOW, digest, draft, ended, outgoing, people_on, store_on
from tests.support.storage.settling import RECORDER

DAY = timedelta(days=1)
KEEP = RetentionPeriods(records=1096 * DAY, contents=0 * DAY, feed=365 * DAY, orphans=30 * DAY)
NEVER = asyncio.Event()


async def delivered(database: Database, key: str, *, days_ago: float, before: bool = False, **options: Any) -> str:
    """A reminder that was sent and delivered so long ago, with all rows that this leaves behind.

    ``before``: as long as processes of the version before may read it.
    """
    then = NOW - timedelta(days=days_ago)
    store = store_on(database)
    database.backward_compatible = before
    [answer] = await store.accept([draft(key, now=then, **options)], then)
    [work] = await store.claim([answer.first_delivery or ""], then, 60)
    ready: Outgoing = outgoing(work)
    await store.start([ready], then, 60)
    await store.settle([ended(work, Accepted(f"SM-{key}"))], RECORDER.after_attempt, RECORDER.after_receipt)
    receipt = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, f"SM-{key}"))
    await store.receive([receipt], then, RECORDER.after_receipt)
    changed = {"accepted_at": then, "updated_at": then}
    aged = update(notifications).where(notifications.c.id == answer.id).values(changed)
    await database.write(lambda connection: connection.execute(aged))
    return answer.id


def retention(database: Database, keep: RetentionPeriods = KEEP) -> Retention:
    return Retention(database, keep, lambda: NOW, contact_horizon=9 * DAY)


async def rows(database: Database, table: Any) -> int:
    return await database.read(
        lambda connection: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
    )


async def ids(database: Database) -> list[str]:
    query = select(notifications.c.id).order_by(notifications.c.id)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def test_old_records_leave_with_all_that_belongs_to_them(database: Database, tmp_path: Path) -> None:
    """After three years a reminder goes with its deliveries, attempts, receipts, events, claim; a younger stays."""
    await delivered(database, "old", days_ago=1200, borrower="B-1", case="C-1", before=True)
    young = await delivered(database, "young", days_ago=1000, borrower="B-2", case="C-2", before=True)
    # As an earlier version stored them, and as they stay where they came before their message was known.
    parked = select(deliveries.c.id, literal("twilio"), deliveries.c.id, literal("sent"), deliveries.c.created_at)
    names = ["digest", "provider", "delivery_id", "status", "received_at"]
    await database.write(lambda connection: connection.execute(insert(receipts).from_select(names, parked)))
    due = await retention(database).due()
    removed = await retention(database).prune(tmp_path, most=100, stop=NEVER)
    assert (due.records, removed.records) == (1, 1)
    assert await ids(database) == [young]
    for table in (deliveries, attempts, messages, receipts, dedup_claims):
        assert await rows(database, table) == 1, table.name
    assert await rows(database, leaving) == 0
    assert (await verify(database, tmp_path)).broken == []
    again = await retention(database).prune(tmp_path, most=100, stop=NEVER)
    assert (again.records, again.events, again.archived) == (0, 0, "")


async def test_the_archive_has_what_left(database: Database, tmp_path: Path) -> None:
    """Compressed JSON lines, one for each reminder, with its request, its deliveries and its whole chain of events."""
    old = await delivered(database, "old", days_ago=1200)
    before = await database.read(
        lambda connection: [row.hash for row in connection.execute(select(events).where(events.c.subject == old))]
    )
    removed = await retention(database).prune(tmp_path, most=100, stop=NEVER)
    with gzip.open(tmp_path / removed.archived, "rt", encoding="utf-8") as file:
        subjects = [json.loads(line) for line in file]
    (record,) = [each for each in subjects if "notifications" in each]
    assert json.loads(record["notifications"][0]["body"])["borrower"]["name"] == "Chen Mei"
    assert [each["provider_message_id"] for each in record["deliveries"]] == ["SM-old"]
    assert [len(each["words"]) > len("hello") for each in record["attempts"]] == [True]
    assert [each["hash"] for each in record["events"]] == before
    assert (tmp_path / removed.archived).stat().st_mode & 0o077 == 0


async def test_a_changed_archive_is_found(database: Database, tmp_path: Path) -> None:
    """Verifying tells a changed file, a missing one, a changed row and a missing one from archives that are whole."""
    for number in range(3):
        await delivered(database, f"k{number}", days_ago=1200 + number, borrower=f"B-{number}", case=f"C-{number}")
    for _ in range(3):
        await retention(database).prune(tmp_path, most=1, stop=NEVER)
    assert (await verify(database, tmp_path)).broken == []
    file = tmp_path / min(os.listdir(tmp_path))
    content = file.read_bytes()
    file.write_bytes(gzip.compress(gzip.decompress(content).replace(b"Chen Mei", b"Chen Hua"), mtime=0))
    assert any("changed" in detail or "read" in detail for _, detail in (await verify(database, tmp_path)).broken)
    file.unlink()
    assert any("missing" in detail for _, detail in (await verify(database, tmp_path)).broken)
    assert (await verify(database)).broken == []
    file.write_bytes(content)
    second = archives.c.number == 2
    await database.write(lambda connection: connection.execute(update(archives).where(second).values(events=0)))
    assert ("archive 2", "its row was changed") in (await verify(database)).broken
    await database.write(lambda connection: connection.execute(delete(archives).where(second)))
    assert ("archive 3", "the row before it is missing") in (await verify(database)).broken


async def test_nothing_on_legal_hold_leaves(database: Database, tmp_path: Path) -> None:
    """A borrower's or a case's hold keeps its records and their contents; once released they go."""
    mine = await delivered(database, "a", days_ago=1200, borrower="B-1", case="C-1")
    case = await delivered(database, "b", days_ago=1200, borrower="B-2", case="C-2")
    await delivered(database, "c", days_ago=1200, borrower="B-3", case="C-3")
    holds = LegalHolds(database, lambda: NOW)
    first = await holds.put("acme", "B-1", "", "lawsuit", "cli:test")
    await holds.put("acme", "", "C-2", "complaint", "cli:test")
    await holds.put("other", "", "", "another tenant's", "cli:test")
    keep = RetentionPeriods(1096 * DAY, 30 * DAY, 365 * DAY, 30 * DAY)
    assert (await retention(database, keep).prune(None, most=100, stop=NEVER)).records == 1
    assert await ids(database) == sorted([mine, case])
    assert all("Chen Mei" in body for body in await bodies(database))
    assert await holds.release(first, "cli:test")
    assert not await holds.release(first, "cli:test")
    assert (await retention(database, keep).prune(None, most=100, stop=NEVER)).records == 1
    assert await ids(database) == [case]
    assert [each["borrower_id"] for each in await holds.list(released=True) if each["released_at"]] == ["B-1"]


async def test_a_hold_that_comes_while_a_batch_is_archived_keeps_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read before the hold, and is removed after it: so it stays, and another of the borrower with it."""
    first = await delivered(database, "a", days_ago=1201, borrower="B-1", case="C-1")
    second = await delivered(database, "b", days_ago=1200, borrower="B-2", case="C-2")
    hold = {"id": "hld_1", "tenant": "acme", "borrower_id": "B-1", "reason": "lawsuit", "actor": "cli", "since": NOW}
    append, archived = ArchiveFile.append, []

    def on_the_way(file: ArchiveFile, batch: ArchiveBatch) -> dict[str, Any]:
        with database.engine.begin() as connection:
            connection.execute(insert(legal_holds), [hold])
        archived.append(batch)
        return append(file, batch)

    monkeypatch.setattr(ArchiveFile, "append", on_the_way)
    assert (await retention(database).prune(tmp_path, most=100, stop=NEVER)).records == 0
    assert (len(archived), await ids(database)) == (1, [first, second])
    monkeypatch.undo()
    assert (await retention(database).prune(tmp_path, most=100, stop=NEVER)).records == 1
    assert await ids(database) == [first]


@pytest.mark.parametrize(("most", "left"), [(100, 0), (3, 2)])
async def test_batches_follow_each_other(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, left: int
) -> None:
    """The next is read while one is removed: each record leaves once, in order, and no more than is asked for."""
    monkeypatch.setattr("gateway.retention.retention.BATCH", 2)
    for number in range(5):
        await delivered(database, f"k{number}", days_ago=1200 - number, borrower=f"B-{number}", case=f"C-{number}")
    known = await ids(database)
    removed = await retention(database).prune(tmp_path, most=most, stop=NEVER)
    assert (removed.records, await ids(database)) == (5 - left, known[5 - left :])
    assert (await verify(database, tmp_path)).broken == []
    with gzip.open(tmp_path / removed.archived, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert [each["notifications"][0]["id"] for each in records if "notifications" in each] == known[: 5 - left]


async def bodies(database: Database) -> list[str]:
    query = select(NOTIFICATION_BODY).order_by(notifications.c.id)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def test_a_debt_that_is_still_collected_keeps_its_records(database: Database) -> None:
    """Three years are counted from the last activity about the case, not from each reminder."""
    await delivered(database, "first", days_ago=1500, case="C-1")
    await delivered(database, "second", days_ago=100, case="C-1")
    assert (await retention(database).prune(None, most=100, stop=NEVER)).records == 0


async def test_what_is_under_way_stays_whatever_its_age(database: Database) -> None:
    """A reminder that has not come to its end is not removed, nor are its contents erased."""
    then = NOW - 1500 * DAY
    await store_on(database).accept([draft("waiting", now=then)], then)
    keep = RetentionPeriods(1096 * DAY, 30 * DAY, 365 * DAY, 30 * DAY)
    removed = await retention(database, keep).prune(None, most=100, stop=NEVER)
    assert (removed.records, removed.contents) == (0, 0)


async def test_contents_are_erased_from_records_that_stay(database: Database) -> None:
    """Names, addresses, variables and metadata go; ids, states and the chain of events stay, and stay whole."""
    then = NOW - 100 * DAY
    await store_on(database).accept([draft("waiting", now=then, borrower="B-9", case="C-9")], then)
    old = await delivered(database, "old", days_ago=90)
    await delivered(database, "young", days_ago=10, borrower="B-2", case="C-2")
    keep = RetentionPeriods(1096 * DAY, 30 * DAY, 365 * DAY, 30 * DAY)
    assert (await retention(database, keep).prune(None, most=100, stop=NEVER)).contents == 1
    found = [json.loads(body) for body in await bodies(database)]
    assert [each["borrower"]["name"] for each in found] == ["Chen Mei", "", "Chen Mei"]
    assert (found[1]["borrower"]["addresses"], found[1]["variables"]) == ({}, {})
    assert found[1]["borrower"]["id"] == "B-1"
    assert (await verify(database)).broken == []
    view = await store_on(database).claim([old], NOW, 60)
    assert view == []
    # The one that was under way ends later: it is not forgotten because the run went past it.
    done = update(notifications).where(notifications.c.idempotency_key == "waiting")
    await database.write(lambda connection: connection.execute(done.values(state="expired", updated_at=NOW - 90 * DAY)))
    assert (await retention(database, keep).due()).contents >= 1
    assert (await retention(database, keep).prune(None, most=100, stop=NEVER)).contents == 1
    assert (await retention(database, keep).prune(None, most=100, stop=NEVER)).contents == 0


async def test_a_no_is_remembered_when_all_else_is_gone(database: Database, tmp_path: Path) -> None:
    """A borrower's chain goes with the last record, but not while an opt-out or a hold has to be respected."""
    for number in (1, 2, 3):
        await delivered(database, f"k{number}", days_ago=1200, borrower=f"B-{number}", case=f"C-{number}")
    people = people_on(database, NOW - 1150 * DAY)
    await people.put_hold("acme", "B-1", Hold(HoldKind.DISPUTE, NOW - 1150 * DAY), "", "cli")
    await people.lift_hold("acme", "B-1", HoldKind.DISPUTE, "cli")
    await people.add_opt_out("acme", "B-2", "sms", "+12025550123", "cli", "cli")
    await people.put_hold("acme", "B-3", Hold(HoldKind.CEASE, NOW - 1150 * DAY), "", "cli")
    removed = await retention(database).prune(tmp_path, most=100, stop=NEVER)
    assert (removed.records, removed.borrowers) == (3, 1)
    left = await database.read(
        lambda connection: {
            row.id: (row.opt_outs != "[]", row.event_hash != "") for row in connection.execute(select(borrowers))
        }
    )
    assert left == {"B-1": (False, False), "B-2": (True, True), "B-3": (False, True)}
    assert (await verify(database, tmp_path)).broken == []


async def test_an_addresss_opt_out_stays_when_its_messages_are_gone(database: Database, tmp_path: Path) -> None:
    """As a keyed digest, while it stands; one that START lifted goes with the last message."""
    key = ("acme", "sms", digest("acme", "sms", "+12025550123"))
    for opted_in_at, left in ((None, 1), (NOW, 0)):
        await delivered(database, f"k{left}", days_ago=1200, borrower=f"B-{left}", case=f"C-{left}")
        said = {"opted_out_at": NOW - 1150 * DAY, "opted_in_at": opted_in_at}
        await database.write(partial(know_address, key=key, **said))
        await retention(database).prune(tmp_path, most=100, stop=NEVER)
        assert await rows(database, addresses) == left


async def test_feed_orphans_words_and_addresses(database: Database) -> None:
    """Feed messages, receipts of nobody and borrowers' words go by their own ages; a suppressed address stays."""
    published: list[Any] = []

    async def publish(*names: str) -> None:
        published.append(names)

    old = NOW - 400 * DAY
    await Inbox(database, lambda: old, publish).put(
        "acme", "B-1", f"dlv_{int(old.timestamp() * 1000):012x}" + "0" * 20, "t", "x"
    )
    words = {
        "id": f"rep_{int(old.timestamp() * 1000):012x}" + "0" * 20,
        "digest": "d",
        "tenant": "acme",
        "borrower_id": "B-1",
        "delivery_id": "",
        "channel": "sms",
        "provider": "twilio",
        "intent": "other",
        "text": "I lost my job",
        "received_at": old,
    }
    orphan = {"digest": "o", "provider": "twilio", "status": "delivered", "received_at": old}
    used = {"tenant": "acme", "channel": "sms"}
    known = [
        {**used, "digest": digest("acme", "sms", "+12025550123"), "suppressed": ""},
        {**used, "digest": "elsewhere", "suppressed": "invalid_address"},
    ]
    for table, row in ((replies, words), (receipts, orphan), (addresses, known[0]), (addresses, known[1])):
        await database.write(lambda connection, table=table, row=row: connection.execute(insert(table), [row]))
    await delivered(database, "old", days_ago=1200)
    keep = RetentionPeriods(1096 * DAY, 300 * DAY, 365 * DAY, 30 * DAY)
    assert asdict(await retention(database, keep).due()) | {"borrowers": 0, "events": 0} == {
        "records": 1,
        "borrowers": 0,
        "events": 0,
        "contents": 1,
        "replies": 1,
        "reports": 0,
        "feed": 1,
        "orphans": 1,
        "archived": "",
    }
    removed = await retention(database, keep).prune(None, most=100, stop=NEVER)
    assert (removed.feed, removed.orphans, removed.replies) == (1, 1, 1)
    assert await database.read(lambda connection: list(connection.execute(select(addresses.c.digest)).scalars())) == [
        "elsewhere"
    ]


async def test_events_are_append_only_outside_of_a_prune(database: Database) -> None:
    """Whoever deletes events by hand is refused by the database itself; the chain would tell, too."""
    await delivered(database, "k", days_ago=1)
    with pytest.raises(Unavailable):
        await database.write(lambda connection: connection.execute(delete(events)))
    assert await rows(database, events) > 3


async def test_a_record_that_moved_is_left_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late receipt between reading and removing: nothing of the batch goes, and the ledger has what came."""
    old = await delivered(database, "old", days_ago=1200)
    real = asyncio.to_thread

    async def meanwhile(function: Any, *arguments: Any) -> Any:
        done = await real(function, *arguments)
        late = ReceiptFor(Receipt("twilio", ReceiptStatus.READ, "SM-old"))
        await store_on(database).receive([late], NOW, RECORDER.after_receipt)
        return done

    monkeypatch.setattr(asyncio, "to_thread", meanwhile)
    removed = await retention(database).prune(tmp_path, most=100, stop=NEVER)
    monkeypatch.undo()
    assert removed.records == 0
    assert await ids(database) == [old]
    assert (await verify(database, tmp_path)).broken == []


async def test_a_death_after_the_archive_was_written_loses_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is on disk and the ledger unchanged; the next run removes it, and the archives verify."""
    await delivered(database, "old", days_ago=1200)

    def dies(*_arguments: Any) -> None:
        raise DBAPIError("", None, RuntimeError())

    monkeypatch.setattr("gateway.retention.archives.record", dies)
    with pytest.raises(Unavailable):
        await retention(database).prune(tmp_path, most=100, stop=NEVER)
    monkeypatch.undo()
    assert len(await ids(database)) == 1
    assert (await retention(database).prune(tmp_path, most=100, stop=NEVER)).records == 1
    assert (await verify(database, tmp_path)).broken == []


async def test_room_is_measured_and_given_back(database: Database) -> None:
    """Every table that has rows takes room, indexes with it; vacuuming works beside whoever uses the ledger."""
    await delivered(database, "k", days_ago=1)
    found = {each.table: each for each in await database.read(measure)}
    assert found["events"].rows > 3
    assert all(each.bytes > 0 for each in found.values() if each.rows)
    await asyncio.to_thread(vacuum, database.engine)
    assert await rows(database, events) == found["events"].rows
