"""Replies of one push, or of several at once, are recorded together: in few statements, each as if it came alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from channels.base import Reply
from gateway.core.codec import holds_from, opt_outs_from
from gateway.core.deliveries import RecordedReply
from gateway.core.errors import InvalidData
from gateway.core.notifications import Borrower
from gateway.core.reasons import HoldKind, Intent
from gateway.core.understanding import Understanding
from gateway.replies.store import ReplyStore
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import addresses, borrowers, inbound_messages, replies
from gateway.storage.tables.conversations import conversations
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import events
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, digest, draft, later, store_on

PEOPLE = 16


def phone(number: int) -> str:
    return f"+1202555{number:04}"


@pytest.fixture
async def ledger(database: Database) -> Database:
    """Borrowers B-0, B-1, …, each of whom was written to at a number of their own."""
    row = {"id": "k", "tenant": "acme", "name": "", "digest": "", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))
    requests = []
    for number in range(PEOPLE):
        request = draft(f"k{number}", borrower=f"B-{number}", case=f"C-{number}")
        [step] = request.steps
        step = replace(step, address_digest=digest("acme", "sms", phone(number)))
        requests.append(replace(request, steps=(step,)))
    await store_on(database).accept(requests, NOW)
    return database


def _classify(text: str, _borrower: Borrower) -> Understanding:
    """The text is the intent's word; after a colon the version that understood it."""
    word, _, version = text.partition(":")
    return replace(understood(Intent(word)), version=version)


async def _say(
    store: ReplyStore, said: Sequence[tuple[int, str, str]], window: str = ""
) -> list[list[RecordedReply] | BaseException]:
    """Of each borrower by number what is said in which message, all at once."""
    pushed = [
        store.record(Reply("twilio", message, phone(number), word), "sms", phone(number), _classify, window=window)
        for number, word, message in said
    ]
    return await asyncio.gather(*pushed, return_exceptions=True)


def _store(database: Database) -> ReplyStore:
    return ReplyStore(database, digest, lambda: later(100))


async def _count(database: Database, table: object) -> int:
    query = select(func.count()).select_from(table)  # type: ignore[arg-type]
    return await database.read(lambda connection: connection.execute(query).scalar_one())


@pytest.mark.parametrize("number", [1, PEOPLE])
async def test_as_many_statements_for_sixteen_replies_as_for_one(ledger: Database, number: int) -> None:
    """Eighteen, with SQLite's two BEGIN; five round trips of PostgreSQL. With a hold, a review and a stopped route."""
    before = ledger.statements
    await _say(_store(ledger), [(each, "danger", f"SM{each}") for each in range(number)])
    assert ledger.statements - before <= (18 if ledger.is_sqlite else 5)


async def test_windows_are_opened_in_the_same_transaction(ledger: Database) -> None:
    """One statement more on SQLite, no round trip more on PostgreSQL, however many wrote."""
    before = ledger.statements
    said = [(number, "danger", f"SM{number}") for number in range(PEOPLE)]
    await _say(_store(ledger), said, window="line")
    assert ledger.statements - before <= (19 if ledger.is_sqlite else 5)
    rows = await ledger.read(lambda connection: connection.execute(select(inbound_messages)).all())
    assert {row.digest for row in rows} == {digest("acme", "sms", phone(number)) for number in range(PEOPLE)}
    assert {(row.tenant, row.provider, row.last_at) for row in rows} == {("acme", "line", later(100))}


async def test_a_window_opens_for_whoever_wrote_and_never_moves_back(ledger: Database) -> None:
    """Also of an address that nobody was written to; the clock of another process may be behind."""
    await _say(_store(ledger), [(900, "balance", "SM1")], window="line")
    behind = ReplyStore(ledger, digest, lambda: later(40))
    await _say(behind, [(900, "balance", "SM2")], window="line")
    [row] = await ledger.read(lambda connection: connection.execute(select(inbound_messages)).all())
    assert (row.digest, row.last_at) == (digest("acme", "sms", phone(900)), later(100))


async def test_each_reply_has_all_that_follows_from_it(ledger: Database) -> None:
    """A hold, an event, a conversation and a confirmed address for each of those who wrote at once, and no more."""
    said = [(number, "danger" if number % 2 else "balance", f"SM{number}") for number in range(PEOPLE)]
    taken = await _say(_store(ledger), said)
    assert all(isinstance(each, list) and each[0].new for each in taken)
    rows = await ledger.read(lambda connection: connection.execute(select(borrowers.c.id, borrowers.c.holds)).all())
    held = {row.id for row in rows if [each.kind for each in holds_from(row.holds)] == [HoldKind.VULNERABLE]}
    assert held == {f"B-{number}" for number in range(PEOPLE) if number % 2}
    replied = select(func.count()).where(events.c.kind == "replied")
    assert await ledger.read(lambda connection: connection.execute(replied).scalar_one()) == PEOPLE
    assert await _count(ledger, conversations) == await _count(ledger, addresses) == PEOPLE


async def test_what_one_borrower_says_at_once_takes_effect_in_order(ledger: Database) -> None:
    """STOP and then START leave no opt-out, in one conversation; the same message twice is one."""
    said = [(1, "stop", "SM1"), (2, "stop", "SM2"), (1, "start", "SM3"), (2, "stop", "SM2"), (1, "balance", "SM4")]
    taken = await _say(_store(ledger), said)
    assert [each[0].new for each in taken if isinstance(each, list)] == [True, True, True, False, True]
    query = select(borrowers.c.id, borrowers.c.opt_outs).where(borrowers.c.id.in_(["B-1", "B-2"]))
    rows = await ledger.read(lambda connection: connection.execute(query).all())
    assert {row.id: len(opt_outs_from(row.opt_outs)) for row in rows} == {"B-1": 0, "B-2": 1}
    query = select(conversations.c.borrower_id, conversations.c.revision)
    found = await ledger.read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})
    assert found == {"B-1": 3, "B-2": 1}


async def test_one_that_can_not_be_stored_keeps_no_other_from_it(ledger: Database) -> None:
    """PostgreSQL refuses a version that is longer than its column; the others of the push are recorded."""
    said = [(number, f"danger:{'v' * 65 * (number == 5)}", f"SM{number}") for number in range(PEOPLE)]
    taken = await _say(_store(ledger), said)
    refused = [number for number, each in enumerate(taken) if isinstance(each, InvalidData)]
    assert refused == ([] if ledger.is_sqlite else [5])
    assert await _count(ledger, replies) == PEOPLE - len(refused)


async def test_others_get_a_turn_between_two_replies(ledger: Database) -> None:
    """Texts that are slow to understand come together, and keep nothing waiting for longer than one of them."""
    turns, seen = 0, []

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def classify(text: str, borrower: Borrower) -> Understanding:
        seen.append(turns)
        return _classify(text, borrower)

    store, running = _store(ledger), asyncio.create_task(other())
    replied = (Reply("twilio", f"SM{number}", phone(number), "balance") for number in range(4))
    await asyncio.gather(*(store.record(each, "sms", each.address, classify) for each in replied))
    running.cancel()
    assert len(seen) == len(set(seen)) == 4


async def test_two_processes_take_the_same_replies_once(ledger: Database) -> None:
    """The provider brings them to both at once, in different order: each is new once, and nothing deadlocks."""
    said = [(number, "stop" if number % 3 else "danger", f"SM{number}") for number in range(PEOPLE)]
    first, second = await asyncio.gather(_say(_store(ledger), said), _say(_store(ledger), said[::-1]))
    results = [each for each in (*first, *second[::-1]) if isinstance(each, list)]
    assert len(results) == 2 * PEOPLE
    assert sorted(one.borrower.id for [one] in results if one.new) == sorted(f"B-{number}" for number in range(PEOPLE))
    assert await _count(ledger, replies) == await _count(ledger, conversations) == PEOPLE
