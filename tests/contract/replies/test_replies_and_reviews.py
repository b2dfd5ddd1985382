"""What borrowers write and what reviewers decide, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from channels.base import Reply
from gateway import policy
from gateway.core.codec import opt_outs_from
from gateway.core.deliveries import RecordedReply
from gateway.core.errors import NotApprovable
from gateway.core.facts import Contact, Facts, Hold
from gateway.core.notifications import Borrower, Notification, Step
from gateway.core.reasons import HoldKind, Intent, PolicyReason
from gateway.core.states import State
from gateway.core.understanding import OpenReviews, Understanding, Urgency
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.operations.reviews import ReviewPosition, Reviews
from gateway.replies.store import ReplyStore
from gateway.stages.admit import admit
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.tables.borrowers import addresses, borrowers, replies
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import deliveries
from tests.support.rules.made_packs import cap, packs
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, SEND, digest, draft, ended, later, outgoing, people_on, store_on
from tests.support.storage.settling import RECORDER

PHONE = "+12025550123"
REVIEW = Verdict(VerdictKind.REVIEW, PolicyReason.HOLD)


async def known(database: Database) -> None:
    row = {"id": "k", "tenant": "acme", "name": "", "digest": "", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))


async def sent(database: Database, key: str = "k1", **options: object) -> str:
    store = store_on(database)
    [answer] = await store.accept([draft(key, **options)], NOW)  # type: ignore[arg-type]
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    return work.delivery.id


async def said(database: Database, intent: Intent, message: str = "SM1") -> list[RecordedReply]:
    reply = Reply("twilio", message, PHONE, "what they wrote")
    found = ReplyStore(database, digest, lambda: later(100))

    def classify(_text: str, _borrower: Borrower) -> Understanding:
        return understood(intent)

    return await found.record(reply, "sms", PHONE, classify)


async def opt_outs(database: Database, borrower: str = "B-1") -> list[tuple[str | None, bool]]:
    query = select(borrowers.c.opt_outs).where(borrowers.c.id == borrower)
    text = await database.read(lambda connection: connection.execute(query).scalar_one())
    return [(each.opt_out.channel, each.opt_out.provisional) for each in opt_outs_from(text)]


async def rows(database: Database, query: object) -> list[object]:
    return await database.read(lambda connection: list(connection.execute(query).scalars()))  # type: ignore[call-overload]


async def test_a_stop_is_kept_once_however_often_it_comes(database: Database) -> None:
    """The provider repeats the message, and the borrower repeats the word: one opt-out, each message stored once."""
    await known(database)
    await sent(database)
    [first] = await said(database, Intent.STOP)
    [again] = await said(database, Intent.STOP)
    [other] = await said(database, Intent.STOP, "SM2")
    assert (first.new, again.new, other.new) == (True, False, True)
    assert await opt_outs(database) == [("sms", False)]
    assert len(await rows(database, select(replies.c.id))) == 2


@pytest.mark.parametrize("message", ["9" * 300, "nul\x00", "lone\ud800"])
async def test_a_stop_counts_whatever_is_in_it(database: Database, message: str) -> None:
    """An endless id or characters that no column holds don't keep a stop from being taken, once, nor the next reply."""
    await known(database)
    await sent(database)
    reply = Reply("smsc", message, PHONE, f"STOP {message}")
    found = ReplyStore(database, digest, lambda: later(100))
    for new in (True, False):
        [taken] = await found.record(reply, "sms", PHONE, lambda *_: understood(Intent.STOP))
        assert (taken.intent, taken.new) == (Intent.STOP, new)
    assert await opt_outs(database) == [("sms", False)]
    [other] = await said(database, Intent.STOP, "SM2")
    assert other.new


async def test_the_longest_ids_can_be_held_and_opted_out(database: Database) -> None:
    """A borrower's id of 128 characters under a tenant of 64, as the API allows: the record of it fits."""
    tenant, borrower = "t" * 64, "b" * 128
    people = people_on(database)
    await people.put_hold(tenant, borrower, Hold(HoldKind.DISPUTE, NOW), "", "test")
    assert await people.add_opt_out(tenant, borrower, "sms", PHONE, "letter", "test")
    assert await opt_outs(database, borrower) == [("sms", False)]


async def test_a_number_of_two_borrowers_stops_for_both(database: Database) -> None:
    """Nobody knows which of them wrote."""
    await known(database)
    await sent(database, "k1")
    await sent(database, "k2", borrower="B-2")
    taken = await said(database, Intent.STOP)
    assert {each.borrower.id for each in taken} == {"B-1", "B-2"}
    assert await opt_outs(database, "B-2") == [("sms", False)]


async def test_a_stranger_changes_nothing(database: Database) -> None:
    """A number that we never wrote to says nothing about anybody."""
    await known(database)
    assert await said(database, Intent.STOP) == []
    assert await rows(database, select(replies.c.id)) == []


async def test_start_takes_back_the_borrowers_own_stop_and_no_more(database: Database) -> None:
    """START lifts what the borrower wrote; the lender's record and a hold stay."""
    await known(database)
    await sent(database)
    people = people_on(database)
    await said(database, Intent.STOP)
    database_clock = people_on(database, later(200))
    await database_clock.add_opt_out("acme", "B-1", None, None, "letter", "api")
    await said(database, Intent.START, "SM2")
    assert await opt_outs(database) == [(None, False)]
    assert not await people.lift_hold("acme", "B-1", HoldKind.DISPUTE, "api")


async def test_a_wrong_number_is_used_for_nobody_any_more(database: Database) -> None:
    """The borrower is held as a wrong party, and the address is suppressed for whoever else is written to there."""
    await known(database)
    await sent(database)
    await said(database, Intent.WRONG_PARTY)
    known_facts = (
        await store_on(database).facts([("acme", "B-9")], [], [("acme", "sms", digest("acme", "sms", PHONE))], NOW)
    )[("acme", "B-9")]
    assert known_facts.facts.addresses[digest("acme", "sms", PHONE)].suppressed == "wrong_party"
    facts = (await store_on(database).facts([("acme", "B-1")], [], [], NOW))[("acme", "B-1")].facts
    assert [each.kind for each in facts.holds] == [HoldKind.WRONG_PARTY]


async def test_an_answer_ends_the_route(database: Database) -> None:
    """Who has answered by SMS gets no e-mail about the same, however long the SMS's receipt takes."""
    await known(database)
    store = store_on(database)
    [answer] = await store.accept([draft("k1", route=(Step("sms", timedelta(minutes=30)), Step("email")))], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    await store.start([outgoing(work)], NOW, 60)
    from channels.base import Accepted

    await store.settle([ended(work, Accepted("SM1"), later(1))], RECORDER.after_attempt, RECORDER.after_receipt)
    [before] = await rows(database, select(deliveries.c.escalate_at))
    await said(database, Intent.OTHER)
    [after] = await rows(database, select(deliveries.c.escalate_at))
    assert (before is not None, after) == (True, None)


async def test_what_may_be_a_stop_waits_for_a_person(database: Database) -> None:
    """A provisional stop is in the queue with the borrower's words; dismissing it lifts it, confirming keeps it."""
    await known(database)
    await sent(database)
    reviews = Reviews(database, digest, lambda: later(300))
    await said(database, Intent.MAYBE_STOP)
    assert await opt_outs(database) == [("sms", True)]
    [item] = await reviews.waiting("acme", None, 10)
    assert (item["kind"], item["reason"], item["text"]) == ("reply", "maybe_stop", "what they wrote")
    assert (await store_on(database).ages(later(400))).review == 1
    assert not await reviews.approve("other", item["id"], "not theirs", "api")
    assert await reviews.refuse("acme", item["id"], "it is a stop", "api")
    assert await opt_outs(database) == [("sms", False)]
    assert await reviews.waiting("acme", None, 10) == []
    await said(database, Intent.MAYBE_STOP, "SM2")
    [item] = await reviews.waiting("acme", None, 10)
    assert await reviews.approve("acme", item["id"], "they asked for the bus stop", "api")
    assert await opt_outs(database) == [("sms", False)]  # a definite one is not lifted with a provisional one


async def test_the_queue_is_in_order_of_urgency_then_age(database: Database) -> None:
    """Danger that came last is first; routine deliveries and replies are in order of age, and pages miss nothing."""
    await known(database)
    await sent(database)
    await said(database, Intent.MAYBE_STOP, "SM1")
    await said(database, Intent.DANGER, "SM2")
    held = [draft(f"h{number}", borrower=f"H-{number}", verdict=REVIEW) for number in range(2)]
    await store_on(database).accept(held, NOW)
    reviews = Reviews(database, digest, lambda: later(300))
    listed = await reviews.waiting("acme", None, 10)
    found = [(each["kind"], each["urgency"], each["review_by"] is None) for each in listed]
    older = [("delivery", "routine", True)] * 2
    assert found == [("reply", "now", False), *older, ("reply", "routine", False)]
    for size in (1, 2, 4):
        paged: list[dict[str, Any]] = []
        while page := await reviews.waiting("acme", None, size, ReviewPosition.of(paged[-1]) if paged else None):
            paged += page
        assert paged == listed


async def test_an_approved_delivery_is_due_with_the_approval(database: Database) -> None:
    """The person's word is kept with the delivery, and with who gave it; a second word finds nothing."""
    reviews = Reviews(database, digest, lambda: later(60))
    store = store_on(database)
    await store.accept([draft("k1", verdict=REVIEW)], NOW)
    [item] = await reviews.waiting("acme", "hold", 10)
    assert (item["kind"], item["since"]) == ("delivery", "2026-11-24T10:00:00.000Z")
    assert await reviews.approve("acme", item["id"], "spoken to them", "key:1")
    [work] = await store.claim([item["id"]], later(60), 60)
    assert (work.delivery.approved, work.delivery.state) == ("hold", State.ACCEPTED)
    assert not await reviews.approve("acme", item["id"], "again", "key:1")


async def test_a_refused_delivery_is_cancelled(database: Database) -> None:
    """It ends, with a reason of its own, and does not go on to the next channel."""
    reviews = Reviews(database, digest, lambda: later(60))
    [answer] = await store_on(database).accept([draft("k1", verdict=REVIEW)], NOW)
    [item] = await reviews.waiting("acme", None, 10)
    assert await reviews.refuse("acme", item["id"], "vulnerable", "key:1")
    assert await rows(database, select(deliveries.c.state)) == [State.CANCELLED]
    assert answer.state is State.REVIEW


async def test_what_no_approval_can_mend_is_refused_with_the_remedy(database: Database) -> None:
    """Nobody may approve a contact at an unknown hour."""
    reviews = Reviews(database, digest, lambda: later(60))
    unknown = replace(REVIEW, reason=PolicyReason.UNKNOWN_ZONE)
    await store_on(database).accept([draft("k1", verdict=unknown)], NOW)
    [item] = await reviews.waiting("acme", None, 10)
    with pytest.raises(NotApprovable, match="time zones"):
        await reviews.approve("acme", item["id"], "surely fine", "key:1")


async def test_lifting_the_cause_brings_it_back_by_itself(database: Database) -> None:
    """A delivery that waits because of a hold is decided anew when the hold is lifted."""
    people = people_on(database)
    from gateway.core.facts import Hold

    await people.put_hold("acme", "B-1", Hold(HoldKind.VULNERABLE, NOW), "", "api")
    await store_on(database).accept([draft("k1", verdict=REVIEW)], NOW)
    await people.lift_hold("acme", "B-1", HoldKind.VULNERABLE, "api")
    assert await rows(database, select(deliveries.c.state)) == [State.ACCEPTED]


async def test_the_carriers_word_makes_a_provisional_stop_definite(database: Database) -> None:
    """What may have been a stop is one when the provider says so, whatever a person then thinks of the reply."""
    await known(database)
    delivery = await sent(database)
    [taken] = await said(database, Intent.MAYBE_STOP)
    assert taken.stopped
    people = people_on(database, later(200))
    for _ in range(2):
        await people.opt_out_delivery(delivery, "provider:twilio")
    assert await opt_outs(database) == [("sms", True), ("sms", False)]
    [reply] = await rows(database, select(replies.c.id))
    assert await Reviews(database, digest, lambda: later(300)).approve("acme", str(reply), "a question", "key:x")
    assert await opt_outs(database) == [("sms", False)]


async def test_a_dead_address_is_known_to_everybody(database: Database) -> None:
    """What a provider says of an address holds for later requests of other borrowers too, until it is lifted."""
    identifier = await sent(database)
    people = people_on(database)
    await people.suppress_address(identifier, "invalid_address")
    assert await rows(database, select(addresses.c.suppressed)) == ["invalid_address"]
    await people.set_suppression("acme", "sms", PHONE, "")
    assert await rows(database, select(addresses.c.suppressed)) == [""]


async def test_consents_are_kept_and_taken_back(database: Database) -> None:
    """Consent is a fact of the borrower by category, from the moment that it is recorded."""
    from gateway.core.notifications import Category

    people, store = people_on(database), store_on(database)
    await people.give_consent("acme", "B-1", Category.PROMOTIONAL, "web form", "consent store 7", "api")
    facts = (await store.facts([("acme", "B-1")], [], [], NOW))[("acme", "B-1")].facts
    assert facts.consents == {Category.PROMOTIONAL}
    assert await people.withdraw_consent("acme", "B-1", Category.PROMOTIONAL, "api")
    assert not await people.withdraw_consent("acme", "B-1", Category.PROMOTIONAL, "api")


async def test_a_consent_to_a_channel_is_one_of_its_own(database: Database) -> None:
    """It is no consent to the category by other channels, and is taken back by itself; the record shows it."""
    from gateway.core.notifications import Category

    people, store = people_on(database), store_on(database)
    for channel in ("whatsapp", "line"):
        await people.give_consent("acme", "B-1", Category.SERVICE, "app", "form 9", "api", channel)
    facts = (await store.facts([("acme", "B-1")], [], [], NOW))[("acme", "B-1")].facts
    assert facts.consents == frozenset()
    assert facts.channel_consents == {("whatsapp", Category.SERVICE), ("line", Category.SERVICE)}
    assert not await people.withdraw_consent("acme", "B-1", Category.SERVICE, "api")
    assert await people.withdraw_consent("acme", "B-1", Category.SERVICE, "api", "line")
    known = await Reads(database).borrower("acme", "B-1")
    assert known is not None
    assert known["channel_consents"] == [{"channel": "whatsapp", "category": "service"}]


async def test_releases_are_spread_in_order_of_age(database: Database) -> None:
    """What waits for the same opening gets one slot after another, also over several batches."""
    opening = later(3600)
    waiting = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=opening)
    alone = Verdict(VerdictKind.DEFER, PolicyReason.MIN_GAP, until=opening)
    store = store_on(database, releases_per_second=2)
    first = await store.accept([draft(f"a{n}", borrower=f"A-{n}", verdict=waiting) for n in range(3)], NOW)
    second = await store.accept([draft("b", borrower="B-8", verdict=waiting), draft("c", verdict=alone)], NOW)
    offsets = [(each.defer_until - opening).total_seconds() for each in [*first, *second] if each.defer_until]
    assert offsets == [0, 0.5, 1, 1.5, 0]


async def test_thirty_two_workers_and_one_borrower_make_as_many_contacts_as_the_cap_allows(database: Database) -> None:
    """However many decide at once on the same facts, the borrower's version lets only so many start."""
    cap, workers = 3, 32
    store = store_on(database)
    answers = await store.accept([draft(f"k{n}", case=f"C-{n}") for n in range(workers)], NOW)

    def room(contacts: tuple[Contact, ...]) -> bool:
        return len(contacts) < cap

    async def work(delivery_id: str) -> int:
        for _ in range(workers + 1):
            claimed = await store.claim([delivery_id], NOW, 60)
            if not claimed:
                await asyncio.sleep(0)
                continue
            if not room(claimed[0].borrower.facts.contacts):
                return 0
            if await store.start([outgoing(claimed[0])], NOW, 60):
                return 1
        return 0

    sent_by_each = await asyncio.gather(*(work(each.first_delivery or "") for each in answers))
    assert sum(sent_by_each) == cap


async def test_thirty_two_workers_under_a_packs_cap_make_exactly_as_many_contacts(database: Database) -> None:
    """The same with the policy itself: each decides by a pack's cap on what it read, and the last room goes once."""
    allowed, workers = 5, 32
    chosen = packs(caps=[cap("borrower", "consecutive_days", allowed, 7)])
    store = store_on(database)
    answers = await store.accept([draft(f"k{n}", case=f"C-{n}") for n in range(workers)], NOW)
    minutes = itertools.count(1)  # each decision a minute after the last, so that the least gap has passed

    def by_pack(made: Notification, channel: str, facts: Facts, now: datetime, **named: Any) -> Verdict:
        return policy.decide(made, channel, facts, chosen, now, **named)

    async def work(delivery_id: str) -> int:
        while True:
            now = later(60 * next(minutes))
            claimed = await store.claim([delivery_id], now, 1e6)
            admission = admit([outgoing(each) for each in claimed], by_pack, now)
            if any(verdict.reason is PolicyReason.CAP_BORROWER for _, verdict in admission.verdicts):
                return 0
            if await store.start([replace(each, provider="twilio") for each in admission.permitted], now, 1e6):
                return 1
            await store.postpone(claimed, now)

    assert sum(await asyncio.gather(*(work(each.first_delivery or "") for each in answers))) == allowed


async def test_nothing_is_handed_over_after_an_opt_out_is_committed(database: Database) -> None:
    """A thousand sends race against one opt-out: each start is recorded before its commit, none after it."""
    number, store = 1000, store_on(database)
    answers = await store.accept([draft(f"k{n}", case=f"C-{n}", verdict=SEND) for n in range(number)], NOW)
    ids = [each.first_delivery or "" for each in answers]
    handed_over: list[str] = []
    stopped = asyncio.Event()
    after: list[str] = []

    async def worker(mine: list[str]) -> None:
        for at in range(0, len(mine), 5):
            claimed = await store.claim(mine[at : at + 5], NOW, 0.2)
            if any(work.borrower.facts.opt_outs for work in claimed):
                continue
            was_stopped = stopped.is_set()
            started = await store.start([outgoing(work) for work in claimed], NOW, 0.2)
            (after if was_stopped else handed_over).extend(started)

    async def opt_out() -> None:
        while len(handed_over) < number // 10:  # noqa: ASYNC110 – in the middle of the race
            await asyncio.sleep(0.001)
        await people_on(database, later(3600)).add_opt_out("acme", "B-1", "sms", None, "letter", "api")
        stopped.set()

    await asyncio.gather(opt_out(), *(worker(ids[n::8]) for n in range(8)))
    assert len(handed_over) >= number // 10
    assert after == []
    started = await rows(database, select(deliveries.c.id).where(deliveries.c.state == State.SENDING))
    assert set(started) == set(handed_over)


async def test_danger_holds_at_once_and_is_first_to_read(database: Database) -> None:
    """The hold and the review are recorded with the reply; approving the review lifts the hold that it set."""
    await known(database)
    await sent(database)
    [taken] = await said(database, Intent.DANGER)
    assert taken.new
    facts = (await store_on(database).facts([("acme", "B-1")], [], [], NOW))[("acme", "B-1")].facts
    assert [each.kind for each in facts.holds] == [HoldKind.VULNERABLE]
    for seconds, overdue in ((100 + 3600, 0.0), (100 + 3601, 1.0)):  # its clock here is an hour
        ages = await store_on(database).ages(later(seconds))
        assert ages.reviews[Urgency.NOW] == OpenReviews(1, overdue)
    reviews = Reviews(database, digest, lambda: later(300))
    [item] = await reviews.waiting("acme", "danger", 10)
    assert (item["kind"], item["reason"]) == ("reply", "danger")
    assert await reviews.approve("acme", item["id"], "spoken to them", "key:1")
    assert Urgency.NOW not in (await store_on(database).ages(later(4000))).reviews


async def test_a_delivery_in_review_has_a_clock_of_four_hours(database: Database) -> None:
    """It harms nobody for half a working day; after that the alert of late reviews counts it."""
    review = Verdict(VerdictKind.REVIEW, PolicyReason.HOLD)
    await store_on(database).accept([draft("k", verdict=review)], NOW)
    for seconds, overdue in ((4 * 3600, 0.0), (4 * 3600 + 60, 60.0)):
        ages = await store_on(database).ages(later(seconds))
        assert ages.reviews == {Urgency.ROUTINE: OpenReviews(1, overdue)}
    facts = (await store_on(database).facts([("acme", "B-1")], [], [], NOW))[("acme", "B-1")].facts
    assert facts.holds == ()
    assert await opt_outs(database) == []
