"""A stop holds for the address, whoever is written to there; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, insert, select

from channels.base import Reply
from gateway import policy
from gateway.borrowers.one_click import OneClick
from gateway.core.facts import AddressFacts
from gateway.core.reasons import Intent, PolicyReason, Violation
from gateway.core.states import State
from gateway.core.verdicts import VerdictKind
from gateway.evidence.audit.auditor import Auditor
from gateway.evidence.audit.figures import Figures
from gateway.evidence.history import History
from gateway.operations.reviews import Reviews
from gateway.replies.store import ReplyStore
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.tables.borrowers import addresses
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import deliveries
from tests.support.rules.made_packs import MARK, packs
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, digest, draft, later, outgoing, people_on, store_on

POLICIES = Path(__file__).parents[3] / "templates" / "policies"
PHONE = "+12025550123"
RULES = packs(opt_out={"value": "suppress", "mark": MARK})
ADDRESS = digest("acme", "sms", PHONE)


async def known(database: Database, *tenants: str) -> None:
    rows = [
        {"id": each, "tenant": each, "name": "", "digest": each, "scopes": "", "created_at": NOW}
        for each in tenants or ("acme",)
    ]
    await database.write(lambda connection: connection.execute(api_keys.insert(), rows))


async def said(database: Database, intent: Intent, message: str = "SM1") -> None:
    reply = Reply("twilio", message, PHONE, "what they wrote")
    await ReplyStore(database, digest, lambda: later(100)).record(reply, "sms", PHONE, lambda *_: understood(intent))


async def facts_of(database: Database, tenant: str = "acme") -> AddressFacts:
    key = digest(tenant, "sms", PHONE)
    found = await store_on(database).facts([(tenant, "B-9")], [], [(tenant, "sms", key)], NOW)
    return found[(tenant, "B-9")].facts.addresses.get(key, AddressFacts())


async def undone(database: Database, delivery: str, at: datetime) -> bool:
    return await OneClick(database, people_on(database, at), lambda: at).undo(delivery)


async def sent_to(database: Database, borrower: str, key: str = "k1") -> str:
    store = store_on(database)
    [answer] = await store.accept([draft(key, borrower=borrower)], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    return work.delivery.id


async def test_a_stop_holds_for_a_borrower_who_comes_later(database: Database) -> None:
    """B-1 writes STOP; a message to B-2 at the same number is suppressed, until START."""
    await known(database)
    await sent_to(database, "B-1")
    await said(database, Intent.STOP)
    [answer] = await store_on(database).accept([draft("k2", borrower="B-2", case="C-2")], later(200))
    [work] = await store_on(database).claim([answer.first_delivery or ""], later(200), 60)

    def decided(facts: object) -> tuple[VerdictKind, PolicyReason]:
        made = work.notification
        verdict = policy.decide(made, "sms", facts, RULES, later(200), address_digest=ADDRESS)  # type: ignore[arg-type]
        return verdict.kind, verdict.reason

    assert decided(work.borrower.facts) == (VerdictKind.SUPPRESS, PolicyReason.OPTED_OUT)
    await said(database, Intent.START, "SM2")
    after = (await store_on(database).facts([("acme", "B-2")], [], [("acme", "sms", ADDRESS)], NOW))[("acme", "B-2")]
    assert decided(after.facts) == (VerdictKind.SEND, PolicyReason.PERMITTED)


async def test_a_stop_before_any_borrower_holds_for_every_tenant(database: Database) -> None:
    """Nobody is known at the number: every tenant shares the sender that was answered. START lifts it for all."""
    await known(database, "acme", "other")
    await said(database, Intent.STOP)
    assert [(await facts_of(database, each)).opted_out_at for each in ("acme", "other")] == [later(100)] * 2
    await said(database, Intent.START, "SM2")
    assert [(await facts_of(database, each)).opted_out_at for each in ("acme", "other")] == [None, None]


@pytest.mark.parametrize("intent", [Intent.OTHER, Intent.MAYBE_STOP, Intent.HELP])
async def test_words_that_are_no_certain_stop_leave_the_address(database: Database, intent: Intent) -> None:
    """A doubtful stop waits for a person, for the borrowers who are known; the address is told by their decision."""
    await known(database)
    await sent_to(database, "B-1")
    await said(database, intent)
    assert (await facts_of(database)).opted_out_at is None
    if intent is Intent.MAYBE_STOP:
        reviews = Reviews(database, digest, lambda: later(300))
        [item] = await reviews.waiting("acme", None, 10)
        await reviews.refuse("acme", item["id"], "it is a stop", "key:1")
        assert (await facts_of(database)).opted_out_at == later(300)


async def test_a_providers_opt_out_is_the_addresss_and_can_be_lifted(database: Database) -> None:
    """A carrier's code, a complaint or one click; lifted with the borrower's record, or for the address itself."""
    delivery = await sent_to(database, "B-1")
    people = people_on(database, later(100))
    await people.opt_out_delivery(delivery, "provider:twilio")
    assert (await facts_of(database)).opted_out_at == later(100)
    shown = await Reads(database).borrower("acme", "B-1")
    assert shown is not None
    assert [(each["channel"], each["source"]) for each in shown["opted_out_addresses"]] == [("sms", "provider:twilio")]
    [listed] = await Reads(database).suppressions("acme", 10)
    assert (listed["address_digest"], listed["opt_out_source"]) == (ADDRESS, "provider:twilio")
    await people.lift_opt_out("acme", "B-1", shown["opt_outs"][0]["id"], "key:1")
    assert (await facts_of(database)).opted_out_at is None
    assert await Reads(database).suppressions("acme", 10) == []
    await people.opt_out_delivery(delivery, "one_click")
    await people.set_suppression("acme", "sms", PHONE, "")
    assert (await facts_of(database)).opted_out_at is None


async def test_a_click_is_undone_for_a_day_and_nothing_else_with_it(database: Database) -> None:
    """By the link that recorded it, once; an earlier opt-out of the address, by a carrier's code, stays."""
    day = 86_400
    delivery, other = await sent_to(database, "B-1"), await sent_to(database, "B-2", "k2")
    await people_on(database, later(100)).opt_out_delivery(delivery, "one_click")
    assert not await undone(database, other, later(200))
    assert not await undone(database, delivery, later(100 + day + 1))
    assert await undone(database, delivery, later(100 + day))
    assert not await undone(database, delivery, later(100 + day))
    assert (await facts_of(database)).opted_out_at is None
    await people_on(database, later(2 * day)).opt_out_delivery(other, "provider:twilio")
    await people_on(database, later(2 * day + 1)).opt_out_delivery(delivery, "one_click")
    assert not await undone(database, delivery, later(2 * day + 2))
    assert (await facts_of(database)).opted_out_at == later(2 * day)


async def test_a_lenders_record_is_of_the_borrower_alone(database: Database) -> None:
    """A letter names a person: another borrower of the same number is not affected."""
    await people_on(database).add_opt_out("acme", "B-1", "sms", PHONE, "letter", "key:1")
    assert (await facts_of(database)).opted_out_at is None


@pytest.mark.parametrize("by", ["reply", "provider"])
async def test_a_stop_between_decision_and_hand_over_stops_another_borrower(database: Database, by: str) -> None:
    """B-2's message is decided, B-1 opts out, B-2's message does not start and is due to be decided anew."""
    await known(database)
    delivery = await sent_to(database, "B-1")
    store = store_on(database)
    [answer] = await store.accept([draft("k2", borrower="B-2")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    if by == "reply":
        await said(database, Intent.STOP)
    else:
        await people_on(database, later(100)).opt_out_delivery(delivery, "provider:twilio")
    assert not await store.start([outgoing(work)], NOW, 60)
    [again] = await store.claim([work.delivery.id], later(100), 60)
    assert again.borrower.facts.addresses[ADDRESS].opted_out_at == later(100)
    assert again.borrower.version > work.borrower.version


async def test_the_address_alone_stops_a_start(database: Database) -> None:
    """The process died after the opt-out's commit, before any borrower's version changed: nothing starts."""
    store = store_on(database)
    [answer] = await store.accept([draft("k2", borrower="B-2")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    row = {"tenant": "acme", "channel": "sms", "digest": ADDRESS, "opted_out_at": NOW}
    await database.write(lambda connection: connection.execute(addresses.insert(), [row]))
    assert not await store.start([outgoing(work)], NOW, 60)


async def test_nothing_starts_for_other_borrowers_after_a_stop_returns(database: Database) -> None:
    """Eight workers hand over 200 messages to as many borrowers of one number while one of them writes STOP."""
    number, store = 200, store_on(database)
    await known(database)
    drafts = [draft(f"k{n}", case=f"C-{n}", borrower=f"P-{n}") for n in range(number)]
    ids = [each.first_delivery or "" for each in await store.accept(drafts, NOW)]
    started: list[str] = []
    after: list[str] = []
    stopped = asyncio.Event()

    async def worker(mine: list[str]) -> None:
        for at in range(0, len(mine), 5):
            claimed = await store.claim(mine[at : at + 5], NOW, 0.2)
            going = [each for each in claimed if _free(each.borrower.facts.addresses)]
            was_stopped = stopped.is_set()
            (after if was_stopped else started).extend(await store.start([outgoing(each) for each in going], NOW, 0.2))

    async def stop() -> None:
        while len(started) < number // 10:  # noqa: ASYNC110 – in the middle of the race
            await asyncio.sleep(0.001)
        reply = Reply("twilio", "SM1", PHONE, "STOP")
        # Its clock is past the leases, so it does not wait for messages that no provider here will answer.
        await ReplyStore(database, digest, lambda: later(3600)).record(
            reply, "sms", PHONE, lambda *_: understood(Intent.STOP)
        )
        stopped.set()

    await asyncio.gather(stop(), *(worker(ids[n::8]) for n in range(8)))
    assert after == []
    query = select(func.count()).where(deliveries.c.state == State.SENDING)
    assert await database.read(lambda connection: connection.execute(query).scalar_one()) == len(started)


def _free(known_addresses: object) -> bool:
    return all(each.opted_out_at is None for each in known_addresses.values())  # type: ignore[attr-defined]


async def test_the_start_asks_for_the_address_in_the_same_round_trip(database: Database) -> None:
    """The check of the address costs a statement on SQLite, which is in-process, and no round trip elsewhere."""
    if database.is_sqlite:
        pytest.skip("there are no round trips in one process")
    store = store_on(database)
    [answer] = await store.accept([draft("k1")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    before = database.statements
    assert await store.start([outgoing(work)], NOW, 60)
    assert database.statements - before == 2  # what is asked, and what is written


async def test_the_audit_finds_a_contact_after_the_addresss_opt_out(database: Database) -> None:
    """By its own code: a message that went out a minute after somebody else's STOP, and none before it or after START.

    ``opted_in_at`` ends what is a breach.
    """
    auditor = Auditor(database, Figures.load(POLICIES))
    await sent_to(database, "B-2")
    since, until = NOW - timedelta(hours=1), NOW + timedelta(hours=1)

    async def found(**values: object) -> set[Violation]:
        row = {"tenant": "acme", "channel": "sms", "digest": ADDRESS, **values}

        def write(connection: Connection) -> None:
            connection.execute(delete(addresses))
            connection.execute(insert(addresses), [row])

        await database.write(write)
        ranges = [each async for each in auditor.between(since, until)]
        return {each.kind for one in ranges for each in one.findings}

    assert Violation.AFTER_OPT_OUT in await found(opted_out_at=later(-60))
    assert Violation.AFTER_OPT_OUT not in await found(opted_out_at=later(60))
    assert Violation.AFTER_OPT_OUT not in await found(opted_out_at=later(-60), opted_in_at=later(-30))


async def test_history_knows_the_addresss_opt_out_at_each_instant(database: Database) -> None:
    """A backtest decides with what was known then: opted out between STOP and START, and free before and after."""
    store = store_on(database)
    for at in (0, 120, 240):
        await store.accept([draft(f"k{at}", borrower=f"B-{at}", case=f"C-{at}", now=later(at))], later(at))
    row = {"tenant": "acme", "channel": "sms", "digest": ADDRESS, "opted_out_at": later(60), "opted_in_at": later(180)}
    await database.write(lambda connection: connection.execute(addresses.insert(), [row]))
    found = History(database).decisions(NOW, later(600), timedelta(days=1))
    known_then = {
        one.notification.borrower.id: one.facts.addresses[ADDRESS].opted_out_at async for page in found for one in page
    }
    assert known_then == {"B-0": None, "B-120": later(60), "B-240": None}


async def test_another_borrowers_chain_says_why(database: Database) -> None:
    """A carrier's opt-out of B-1's message: B-2, with a message waiting at the same number, has it in the timeline."""
    delivery = await sent_to(database, "B-1")
    await store_on(database).accept([draft("k2", borrower="B-2")], NOW)
    await people_on(database, later(100)).opt_out_delivery(delivery, "provider:twilio", wait=False)
    events = await Reads(database).timeline("acme", "B-2", 50)
    assert [each["actor"] for each in events if each["kind"] == "address_opted_out"] == ["provider:twilio"]
    own = await Reads(database).timeline("acme", "B-1", 50)
    assert "address_opted_out" not in {each["kind"] for each in own}
