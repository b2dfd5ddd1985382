"""The ledger's promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import event, select, text

from channels.base import (
    Accepted,
    LookupAnswer,
    LookupResult,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    TransientFailure,
    UnknownOutcome,
)
from gateway.cli.ledger.evidence import verify
from gateway.core.deliveries import ClaimedDelivery, ReceiptFor
from gateway.core.errors import Unavailable
from gateway.core.facts import DeclaredPreferences
from gateway.core.notifications import new_id
from gateway.core.reasons import PolicyReason
from gateway.core.states import State
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.storage.database import Database
from gateway.storage.events import link, linked
from gateway.storage.tables.path import attempts, deliveries, events, notifications
from tests.support.storage.ledgers import NOW, close_case, draft, ended, later, outgoing, people_on, store_on
from tests.support.storage.settling import RECORDER

pytestmark = pytest.mark.oldest_postgresql


async def accepted_and_claimed(database: Database, key: str = "k1", **options: object) -> ClaimedDelivery:
    store = store_on(database)
    [answer] = await store.accept([draft(key, **options)], NOW)  # type: ignore[arg-type]
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    return work


async def column(database: Database, query: object) -> list[object]:
    return await database.read(lambda connection: list(connection.execute(query).scalars()))  # type: ignore[call-overload]


async def states(database: Database) -> list[object]:
    return await column(database, select(deliveries.c.state).order_by(deliveries.c.step))


async def test_same_key_same_body_is_replayed(database: Database) -> None:
    """The same request again gets the first one's id, and stores nothing."""
    store = store_on(database)
    [first] = await store.accept([draft("k1")], NOW)
    [again] = await store.accept([draft("k1")], NOW)
    assert (first.outcome, again.outcome) == ("created", "replayed")
    assert first.id == again.id
    assert len(await column(database, select(notifications.c.id))) == 1


async def test_same_key_other_body_conflicts(database: Database) -> None:
    """The same key with another body is a conflict, and stores nothing."""
    store = store_on(database)
    await store.accept([draft("k1")], NOW)
    [again] = await store.accept([draft("k1", raw={"other": 1})], NOW)
    assert again.outcome == "conflict"


async def test_fifty_concurrent_requests_with_one_meaning_make_one_delivery(database: Database) -> None:
    """Of fifty concurrent requests with the same meaning one is live and forty-nine are its duplicates."""
    store = store_on(database)
    answers = await asyncio.gather(*(store.accept([draft(f"k{n}", dedup="same")], NOW) for n in range(50)))
    live = [answer for [answer] in answers if answer.duplicate_of is None]
    assert len(live) == 1
    assert {answer.duplicate_of for [answer] in answers} == {None, live[0].id}
    assert len(await column(database, select(deliveries.c.id))) == 1


async def test_one_meaning_twice_in_one_batch(database: Database) -> None:
    """Two requests of one batch with the same meaning are one original and one duplicate."""
    first, second = await store_on(database).accept([draft("a", dedup="m"), draft("b", dedup="m")], NOW)
    assert (first.duplicate_of, second.duplicate_of) == (None, first.id)


async def test_a_cancelled_original_does_not_stand_in_the_way(database: Database) -> None:
    """After a cancellation the same meaning may be asked for again."""
    store = store_on(database)
    [first] = await store.accept([draft("a", dedup="m")], NOW)
    assert await people_on(database).cancel("acme", first.id, "test") == "cancelled"
    [second] = await store.accept([draft("b", dedup="m")], NOW)
    assert (second.outcome, second.duplicate_of) == ("created", None)


async def test_duplicates_cost_one_round_trip_however_many_there_are(database: Database) -> None:
    """Forty duplicates and takings-over in one batch cost as many statements as one of each."""
    store = store_on(database)
    taken = [draft(f"first{n}", dedup=f"m{n}") for n in range(42)]
    accepted = await store.accept(taken, NOW)
    for answer in accepted[::2]:
        await people_on(database).cancel("acme", answer.id, "test")

    async def cost(numbers: Sequence[int]) -> int:
        before = database.statements
        again = await store.accept([draft(f"again{n}", dedup=f"m{n}") for n in numbers], NOW)
        expected = [None if n % 2 == 0 else accepted[n].id for n in numbers]
        assert [answer.duplicate_of for answer in again] == expected
        return database.statements - before

    one_of_each = await cost([0, 1])
    assert await cost(range(2, 42)) == one_of_each
    third = await store.accept([draft(f"third{n}", dedup=f"m{n}") for n in range(42)], NOW)
    assert all(answer.duplicate_of for answer in third)  # also of those that took a meaning over


async def test_only_one_of_many_workers_claims(database: Database) -> None:
    """However many workers are triggered for a delivery, one gets it."""
    store = store_on(database)
    [answer] = await store.accept([draft("k1")], NOW)
    claims = await asyncio.gather(*(store.claim([answer.first_delivery or ""], NOW, 60) for _ in range(20)))
    assert sum(len(claim) for claim in claims) == 1


async def test_an_expired_lease_is_claimed_again_and_the_old_worker_is_fenced_off(database: Database) -> None:
    """A worker that slept through its lease can't start what another has taken over."""
    store = store_on(database)
    slow = await accepted_and_claimed(database)
    [taken_over] = await store.claim([slow.delivery.id], later(61), 60)
    assert await store.start([outgoing(slow)], later(62), 60) == set()
    assert await store.start([outgoing(taken_over)], later(62), 60) == {slow.delivery.id}


async def test_a_start_is_refused_after_the_borrower_changed(database: Database) -> None:
    """An opt-out between decision and hand-off wins: the attempt doesn't start and is decided anew."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await people_on(database).add_opt_out("acme", "B-1", "sms", None, "phone call", "agent")
    assert await store.start([outgoing(work)], NOW, 60) == set()
    [again] = await store.claim([work.delivery.id], NOW, 60)
    assert [each.channel for each in again.borrower.facts.opt_outs] == ["sms"]


async def test_a_start_is_refused_after_the_borrower_moved(database: Database) -> None:
    """A later request states another zone or other hours: what was decided before it is decided anew, with both."""
    store = store_on(database)
    [first] = await store.accept([draft("k1")], NOW)
    [work] = await store.claim([first.first_delivery or ""], NOW, 60)
    assert work.borrower.facts.stated == DeclaredPreferences(("Asia/Taipei",))
    same = draft("k2", case="C-2")
    await store.accept([same], NOW)
    moved = replace(
        same.notification,
        id=new_id("ntf", later(1)),
        idempotency_key="k3",
        dedup_key="k3",
        borrower=replace(same.notification.borrower, time_zones=("Asia/Tokyo",), windows=(("18:00", "20:00"),)),
    )
    await store.accept([replace(same, notification=moved)], NOW)
    assert await store.start([outgoing(work)], NOW, 60) == set()
    [again] = await store.claim([work.delivery.id], NOW, 60)
    assert again.borrower.facts.stated == DeclaredPreferences(("Asia/Tokyo",), (("18:00", "20:00"),))
    assert await store.start([outgoing(again)], NOW, 60) == {work.delivery.id}


async def test_two_deliveries_of_one_borrower_do_not_start_on_the_same_facts(database: Database) -> None:
    """Two workers that decided on the same facts about one borrower: the second has to decide again."""
    store = store_on(database)
    one, two = await accepted_and_claimed(database, "a"), await accepted_and_claimed(database, "b")
    assert await store.start([outgoing(one)], NOW, 60) == {one.delivery.id}
    assert await store.start([outgoing(two)], NOW, 60) == set()
    [again] = await store.claim([two.delivery.id], NOW, 60)
    assert len(again.borrower.facts.contacts) == 1


async def test_a_cancelled_delivery_does_not_start(database: Database) -> None:
    """A cancellation after the claim, before the start, is obeyed."""
    work = await accepted_and_claimed(database)
    assert await people_on(database).cancel("acme", work.notification.id, "test") == "cancelled"
    assert await store_on(database).start([outgoing(work)], NOW, 60) == set()
    assert await states(database) == ["cancelled"]


async def test_a_started_delivery_can_not_be_cancelled(database: Database) -> None:
    """What is with the provider can't be called back, and we say so."""
    work = await accepted_and_claimed(database)
    await store_on(database).start([outgoing(work)], NOW, 60)
    assert await people_on(database).cancel("acme", work.notification.id, "test") == "too_late"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Accepted("SM1"), ["sent"]),
        (Accepted("1", delivered=True), ["delivered"]),
        (TransientFailure(ProviderReason.RATE_LIMITED), ["retrying"]),
        (PermanentFailure(ProviderReason.INVALID_ADDRESS), ["failed", "accepted"]),
        (UnknownOutcome(ProviderReason.TIMEOUT), ["unknown"]),
    ],
)
async def test_how_an_attempt_may_end(database: Database, result: object, expected: list[str]) -> None:
    """Each end of an attempt has its state; a permanent failure opens the next step of the route."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, result, later(1))], RECORDER.after_attempt, RECORDER.after_receipt)
    assert await states(database) == expected
    assert (await column(database, select(attempts.c.outcome)))[0] != "started"


async def test_a_receipt_before_our_own_record_is_kept(database: Database) -> None:
    """ "Delivered" arriving before we wrote "sent" stays delivered."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    arrived = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM1"), work.delivery.id, 1)
    words, _ = await store.receive([arrived, arrived], later(1), RECORDER.after_receipt)
    await store.settle([ended(work, Accepted("SM1"), later(2))], RECORDER.after_attempt, RECORDER.after_receipt)
    assert words == ["moved", "duplicate"]
    assert await states(database) == ["delivered"]


async def test_an_orphan_receipt_is_parked_and_matched_later(database: Database) -> None:
    """A receipt with only the provider's id, come before that id is known here, counts once it is."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    words, _ = await store.receive(
        [ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM1"))], later(1), RECORDER.after_receipt
    )
    assert words == ["orphan"]
    await store.settle([ended(work, Accepted("SM1"), later(2))], RECORDER.after_attempt, RECORDER.after_receipt)
    assert await states(database) == ["delivered"]


@pytest.mark.parametrize("poison", ["<" + "9" * 300 + "@example.com>", "<nul\x00@example.com>", "<lone\ud800>"])
async def test_a_receipt_that_can_not_be_stored_leaves_the_others_of_its_batch_alone(
    database: Database, poison: str
) -> None:
    """An endless id, or one with characters that no column holds: it alone is invalid, whatever its place."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    bad = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, poison))
    good = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM1"), work.delivery.id, 1)
    others = [ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, f"SM-{n}")) for n in range(5)]
    words, _ = await store.receive([*others, bad, good], later(1), RECORDER.after_receipt)
    assert [*words[:5], words[6]] == [*["orphan"] * 5, "moved"]
    assert words[5] == "invalid" or database.is_sqlite  # which bounds no text and holds a NUL
    assert await states(database) == ["delivered"]
    assert await store.owner("twilio", poison) is None


async def test_an_attempt_whose_provider_id_can_not_be_stored_is_settled(database: Database) -> None:
    """A provider that answers with an endless id has its message recorded without it, and other attempts their own."""
    store = store_on(database)
    answers = await store.accept([draft(f"k{n}", borrower=f"B-{n}") for n in range(4)], NOW)
    works = await store.claim([answer.first_delivery or "" for answer in answers], NOW, 60)
    await store.start([outgoing(work) for work in works], NOW, 60)
    failed = TransientFailure(ProviderReason.RATE_LIMITED, code="nul\x00")
    results = [Accepted("SM1"), Accepted("9" * 300), Accepted("SM3"), failed]
    attempted = [ended(work, result, later(1)) for work, result in zip(works, results, strict=True)]
    await store.settle(attempted, RECORDER.after_attempt, RECORDER.after_receipt)
    assert sorted(map(str, await states(database))) == ["retrying", *["sent"] * 3]
    kept = {await store.owner("twilio", key) for key in ("SM1", "SM3")}
    assert kept == {works[0].delivery.id, works[2].delivery.id}


async def test_undelivered_opens_the_next_step_once(database: Database) -> None:
    """However often and by whatever words a step fails, the next one is opened once."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, Accepted("SM1"), later(1))], RECORDER.after_attempt, RECORDER.after_receipt)
    for code in ("30003", "30005"):
        receipt = Receipt("twilio", ReceiptStatus.UNDELIVERED, "SM1", reason=ProviderReason.UNREACHABLE, code=code)
        await store.receive([ReceiptFor(receipt, work.delivery.id, 1)], later(2), RECORDER.after_receipt)
    assert await states(database) == ["undelivered", "accepted"]


async def test_late_delivery_closes_the_step_it_made_needless(database: Database) -> None:
    """Delivered after undelivered is believed, and the fallback that has not gone out is cancelled."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, Accepted("SM1"), later(1))], RECORDER.after_attempt, RECORDER.after_receipt)
    for status in (ReceiptStatus.UNDELIVERED, ReceiptStatus.DELIVERED):
        await store.receive(
            [ReceiptFor(Receipt("twilio", status, "SM1"), work.delivery.id, 1)], later(2), RECORDER.after_receipt
        )
    assert await states(database) == ["delivered", "cancelled"]
    assert await column(database, select(notifications.c.state)) == ["delivered"]


async def test_closing_a_case_stops_what_is_pending(database: Database) -> None:
    """A paid case cancels its pending reminders and closes the door to new facts."""
    store = store_on(database)
    await store.accept([draft("a", case="C-9"), draft("b", case="C-8")], NOW)
    assert await close_case(database, "C-9") == 1
    assert sorted(map(str, await states(database))) == ["accepted", "cancelled"]
    facts = await store.facts([("acme", "B-1")], [("acme", "C-9")], [], NOW)
    assert facts[("acme", "B-1")].closed_cases == {"C-9"}


async def test_a_closed_case_is_one_tenants_own(database: Database) -> None:
    """Another tenant's case with the same id, asked about in the same batch, is not closed by it."""
    store = store_on(database)
    await close_case(database, "C-9")
    keys = [("acme", "B-1"), ("rival", "B-1")]
    facts = await store.facts(keys, [("acme", "C-9"), ("rival", "C-9")], [], NOW)
    assert [facts[key].closed_cases for key in keys] == [{"C-9"}, frozenset()]


async def test_an_allowed_request_begins_with_one_event_and_any_other_with_two(database: Database) -> None:
    """Accepted with its decision in one event where it may be sent; else what was decided is an event of its own."""
    later_on = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=later(3600))
    store = store_on(database)
    await store.accept([draft("k1")], NOW)
    await store.accept([draft("k2", borrower="B-2", verdict=later_on)], NOW)
    await store.accept([draft("k3", borrower="B-1", dedup="k1")], NOW)
    rows = await database.read(lambda connection: connection.execute(select(events).order_by(events.c.seq)).all())
    assert [(row.kind, row.state, row.reason, bool(row.delivery_id), "verdict" in row.detail) for row in rows] == [
        ("accepted", "accepted", "permitted", True, True),
        ("accepted", "accepted", "", False, False),
        ("decided", "deferred", "outside_window", True, True),
        ("accepted", "accepted", "", False, False),
        ("suppressed", "suppressed", "duplicate", False, False),
    ]


async def test_events_are_chained_and_append_only(database: Database) -> None:
    """Every event carries the hash of the one before; none can be changed or removed."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, Accepted("SM1"), later(1))], RECORDER.after_attempt, RECORDER.after_receipt)
    rows = await database.read(lambda connection: connection.execute(select(events).order_by(events.c.seq)).all())
    assert [row.kind for row in rows] == ["accepted", "attempt_started", "sent"]
    assert {(row.previous_hash, row.local_at) for row in rows} == {("", "+08")}  # the rest follows from others
    head = ""
    for row in linked(row._mapping for row in rows):
        assert row["previous_hash"] == head
        assert datetime.fromisoformat(row["local_at"]) == row["at"].replace(microsecond=0)
        assert row["local_at"].endswith("+08:00")
        assert link(row) == row["hash"]
        head = row["hash"]
    assert await column(database, select(notifications.c.event_hash)) == [head]
    for statement in ("UPDATE events SET reason = 'x'", "DELETE FROM events"):
        with pytest.raises(Unavailable):
            await database.write(lambda connection, sql=statement: connection.execute(text(sql)))  # type: ignore[misc]


async def test_state_of_a_lost_worker_is_due_again(database: Database) -> None:
    """A delivery whose worker died after the start is found by the relay's query once its lease is over."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    assert await store.due(later(59), 10) == []
    assert await store.due(later(61), 10) == [work.delivery.id]
    [claimed] = await store.claim([work.delivery.id], later(61), 60)
    assert claimed.delivery.state is State.SENDING
    await store.apply([RECORDER.lost_worker(claimed.delivery, later(61))])
    assert await states(database) == ["unknown"]


async def test_news_of_an_earlier_attempt_moves_nothing(database: Database) -> None:
    """A worker that was taken for lost comes back late: its failure does not touch the attempt under way."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    [lost] = await store.claim([work.delivery.id], later(61), 60)
    await store.apply([RECORDER.lost_worker(lost.delivery, later(61))])
    absent = RECORDER.after_lookup(
        replace(lost.delivery, state=State.UNKNOWN), work.notification, LookupAnswer(LookupResult.ABSENT), later(95)
    )
    await store.apply([absent])
    [again] = await store.claim([work.delivery.id], later(96), 60)
    assert await store.start([outgoing(again)], later(96), 60)
    late = ended(work, PermanentFailure(ProviderReason.INVALID_ADDRESS), later(97))
    await store.settle([late], RECORDER.after_attempt, RECORDER.after_receipt)
    assert await states(database) == ["sending"]


async def test_a_providers_message_has_one_owner(database: Database) -> None:
    """Whose message a provider's id is, is known once the attempt is recorded."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    await store.start([outgoing(work)], NOW, 60)
    assert await store.owner("twilio", "SM1") is None
    await store.settle([ended(work, Accepted("SM1"), later(1))], RECORDER.after_attempt, RECORDER.after_receipt)
    assert await store.owner("twilio", "SM1") == work.delivery.id


async def test_facts_are_never_older_than_their_version(database: Database) -> None:
    """Versions and contacts are read by one statement, so that none can be committed between the two."""
    store = store_on(database)
    work = await accepted_and_claimed(database)
    statements: list[str] = []

    def watch(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(database.engine, "before_cursor_execute", watch)
    await store.claim([work.delivery.id], later(61), 60)
    reads = [each for each in "; ".join(statements).split("; ") if "FROM borrowers" in each or "contacted_at >" in each]
    assert [("FROM borrowers" in each, "contacted_at >" in each) for each in reads] == [(True, True)]


async def test_requests_that_are_all_new_are_one_statement_and_one_commit(database: Database) -> None:
    """On PostgreSQL. One that came before, or that means the same as another, is answered as ever, with the others."""
    store = store_on(database)
    await store.accept([draft("warm", borrower="B-0")], NOW)  # it greets a new connection
    before = database.statements
    [made] = await store.accept([draft("k1", borrower="B-1")], NOW)
    if not database.is_sqlite:
        assert database.statements - before == 1
    again, same, new = await store.accept(
        [draft("k1", borrower="B-1"), draft("k2", dedup="k1", borrower="B-1"), draft("k3", borrower="B-3")], NOW
    )
    assert (again.outcome, again.id) == ("replayed", made.id)
    assert (same.outcome, same.state, same.duplicate_of) == ("created", State.SUPPRESSED, made.id)
    assert (new.outcome, new.state, new.due) == ("created", State.ACCEPTED, True)
    assert (await verify(database)).broken == []
