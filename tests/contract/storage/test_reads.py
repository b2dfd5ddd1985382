"""Feeds, keys and queries, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio

from gateway.borrowers.inbox import Inbox
from gateway.core.facts import Hold
from gateway.core.notifications import Step
from gateway.core.reasons import HoldKind
from gateway.core.security.signing import Signer
from gateway.core.states import State
from gateway.identity.keys import Keys
from gateway.storage.database import Database
from gateway.storage.reads import Filter, Reads
from tests.support.storage.ledgers import NOW, draft, later, people_on, store_on
from tests.support.waiting import LIMIT_SECONDS


class Heard:
    """Counts the wake-ups of each borrower."""

    def __init__(self) -> None:
        self.of: list[str] = []

    async def publish(self, _tenant: str, borrower_id: str) -> None:
        self.of.append(borrower_id)


async def test_a_feed_is_put_once_listed_followed_and_archived(database: Database) -> None:
    """One message per delivery whoever repeats it, in order; a wake-up only for what is new."""
    heard = Heard()
    inbox = Inbox(database, lambda: NOW, heard.publish)
    puts = [inbox.put("acme", f"B-{number % 2}", f"dlv_{number % 10}", f"{number}", "x") for number in range(20)]
    assert sum(await asyncio.gather(*puts)) == 10
    assert await inbox.put("acme", "B-1", "dlv_1", "again", "x") is False
    assert set(heard.of) == {"B-0", "B-1"}
    items, unread = await inbox.page("acme", "B-1", limit=3)
    assert (len(items), unread) == (3, 5)
    assert [item.id for item in items] == sorted((item.id for item in items), reverse=True)
    rest, _ = await inbox.page("acme", "B-1", before=items[-1].id)
    assert await inbox.last("acme", "B-1") == items[0].id
    followed, _ = await inbox.after("acme", "B-1", rest[-1].id)
    assert [item.id for item in followed] == sorted(item.id for item in [*items, *rest[:-1]])
    assert await inbox.archive("acme", "B-1", items[0].id)
    assert await inbox.archive("acme", "B-1", items[0].id)
    assert not await inbox.archive("rival", "B-1", items[1].id)
    archived, unread = await inbox.page("acme", "B-1", archived=True)
    assert ([item.archived_at for item in archived], unread) == ([NOW], 4)
    assert len(await inbox.unread("acme", "B-1", 10)) == await inbox.unread_count("acme", "B-1") == 4


async def test_puts_of_two_processes_appear_in_order(database: Database) -> None:
    """Whoever follows a feed by its ids misses nothing, though two processes put into it at once."""
    heard = Heard()
    one, two = (Inbox(database, lambda: NOW, heard.publish) for _ in range(2))
    position, seen = 0, set()

    async def follow() -> None:
        nonlocal position
        while len(seen) < 200:
            items, _ = await one.after("acme", "B-1", position)
            seen.update(item.title for item in items)
            position = items[-1].id if items else position
            await asyncio.sleep(0.005)  # a stream asks when it is told; here it is told nothing

    async def put(inbox: Inbox, name: str) -> None:
        for number in range(100):
            await inbox.put("acme", "B-1", f"{name}-{number}", f"{name}-{number}", "x")

    async with asyncio.timeout(LIMIT_SECONDS):
        await asyncio.gather(follow(), put(one, "a"), put(two, "b"))
    assert len(seen) == 200


async def test_keys_are_found_and_revoked(database: Database) -> None:
    """A key is found by its id until, and after, it is revoked."""
    keys = Keys(database, Signer(b"0123456789abcdef"))
    key_id, key = await keys.create("acme", "ci", ["send", "read"], NOW)
    found = await keys.find(key_id)
    assert found is not None
    assert (found.tenant, found.created_at, found.revoked_at) == ("acme", NOW, None)
    assert keys.matches(found, key.rpartition("_")[2])
    assert [await keys.revoke(key_id, later(5)) for _ in range(2)] == [True, False]
    [listed] = await keys.list("acme")
    assert listed.revoked_at == later(5)


async def test_queries_answer_for_one_tenant(database: Database) -> None:
    """Lists, records and counts of what two notifications and a hold left behind."""
    store, people, reads = store_on(database), people_on(database), Reads(database)
    first, second = await store.accept([draft("k1"), draft("k2", case="C-2", route=(Step("email"),))], NOW)
    await people.put_hold("acme", "B-1", Hold(HoldKind.DISPUTE, NOW), "letter of 3 May", "key:x")
    ids = sorted((first.id, second.id), reverse=True)
    assert [each["id"] for each in await reads.notifications("acme", Filter(borrower_id="B-1"), 10)] == ids
    assert [each["id"] for each in await reads.notifications("acme", Filter(), 10, before=ids[0])] == ids[1:]
    assert await reads.notifications("acme", Filter(since=later(1)), 10) == []
    assert await reads.notifications("rival", Filter(), 10) == []
    shown = await reads.notification("acme", first.id)
    assert shown is not None
    assert (shown["deliveries"][0]["channel"], shown["verdict"]["verdict"]) == ("sms", "send")
    assert await reads.notification("rival", first.id) is None
    record = await reads.borrower("acme", "B-1")
    assert record is not None
    assert record["holds"][0]["kind"] == "dispute"
    assert await reads.borrower("rival", "B-1") is None
    timeline = await reads.timeline("acme", "B-1", 100)
    assert sorted(each["kind"] for each in timeline) == ["accepted", "accepted", "hold_set"]
    assert timeline[-1]["notification_id"] is None
    counted = await reads.summary("acme")
    assert (counted["notifications"], counted["states"]) == (2, {State.ACCEPTED: 2})
    assert counted["deliveries"] == {"email": {"accepted": 1}, "sms": {"accepted": 1}}
    assert counted["sent"] == {}


async def test_one_notification_takes_a_query_per_table(database: Database) -> None:
    """Five statements, and SQLite's BEGIN, however many deliveries and events there are."""
    store, reads = store_on(database), Reads(database)
    [made] = await store.accept([draft("k1")], NOW)
    before = database.statements
    await reads.notification("acme", made.id)
    assert database.statements - before == 5 + database.is_sqlite
