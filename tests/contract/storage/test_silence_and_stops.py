"""What silence means, what waits without an owner, and routes that go no further."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from channels.base import (
    Accepted,
    LookupAnswer,
    LookupResult,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    UnknownOutcome,
)
from gateway.core.deliveries import ClaimedDelivery, ReceiptFor
from gateway.core.notifications import Step
from gateway.core.reasons import EndReason, Intent
from gateway.core.states import State
from gateway.storage.database import Database
from gateway.storage.receipts import digest_of
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import deliveries, notifications, receipts
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, digest, draft, ended, later, outgoing, people_on, store_on
from tests.support.storage.settling import RECORDER

ROUTE = (Step("sms", timedelta(minutes=30)), Step("email"))
DEADLINE = 72 * 3600
TAG = "ab" * 16


async def _sent(
    database: Database, answer: Accepted | UnknownOutcome, route: tuple[Step, ...] = ROUTE
) -> ClaimedDelivery:
    """One message that its provider has, or may have."""
    store = store_on(database)
    [accepted] = await store.accept([draft("k", route=route)], NOW)
    [work] = await store.claim([accepted.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, answer)], RECORDER.after_attempt, RECORDER.after_receipt)
    return work


async def _heard(database: Database, work: ClaimedDelivery, status: ReceiptStatus, seconds: float) -> None:
    reason = ProviderReason.UNREACHABLE if status is ReceiptStatus.UNDELIVERED else None
    arrived = ReceiptFor(Receipt("twilio", status, "SM1", reason=reason), work.delivery.id, 1)
    await store_on(database).receive([arrived], later(seconds), RECORDER.after_receipt)


async def _overdue(database: Database, seconds: float) -> Any:
    """What the recorder makes of the first delivery then; None: look it up."""
    rows = await database.read(lambda connection: connection.execute(select(deliveries.c.id)).all())
    [work] = await store_on(database).claim([row.id for row in rows], later(seconds), 60)
    move = RECORDER.overdue(work.delivery, work.notification, later(seconds))
    if move is not None:
        await store_on(database).apply([move])
    return move


async def _deliveries(database: Database) -> list[tuple[str, str]]:
    query = select(deliveries.c.state, deliveries.c.reason).order_by(deliveries.c.step)
    return await database.read(lambda connection: [(row.state, row.reason) for row in connection.execute(query)])


@pytest.mark.parametrize("relayed", [False, True])
async def test_where_only_failures_are_reported_silence_means_arrival(database: Database, relayed: bool) -> None:
    """A relay without status notifications, or one that passed the mail on to such a system: RFC 5321 section 6.1
    obliges it to report a failure, so without a report until the deadline the message counts as delivered."""
    work = await _sent(database, Accepted("SM1", receipt_expected=relayed), (Step("sms"),))
    if relayed:
        await _heard(database, work, ReceiptStatus.RELAYED, 5)
    await _overdue(database, DEADLINE + 1)
    assert await _deliveries(database) == [(State.DELIVERED, EndReason.NO_FAILURE_REPORTED)]
    assert await store_on(database).due(later(10 * DEADLINE), 10) == []


async def test_a_failure_that_is_reported_counts_there_too(database: Database) -> None:
    """A bounce before the deadline ends it, and the next step opens."""
    work = await _sent(database, Accepted("SM1", receipt_expected=False))
    await _heard(database, work, ReceiptStatus.UNDELIVERED, 60)
    assert await _deliveries(database) == [(State.UNDELIVERED, ProviderReason.UNREACHABLE), (State.ACCEPTED, "")]


async def test_where_receipts_are_promised_silence_is_looked_into(database: Database) -> None:
    """No receipt by the deadline, from a provider that sends them: it is asked, and nothing is presumed."""
    await _sent(database, Accepted("SM1"), (Step("sms"),))
    assert await _overdue(database, DEADLINE + 1) is None


async def test_a_parked_receipt_that_both_sides_missed_is_matched(database: Database) -> None:
    """The receipt was stored while the attempt was being recorded, and neither transaction saw the other's row."""
    work = await _sent(database, Accepted("SM1"))
    missed = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM1"))
    elsewhere = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM2"))
    rows = [
        {
            "digest": digest_of(each),
            "provider": "twilio",
            "provider_message_id": each.receipt.provider_message_id,
            "status": "delivered",
            "received_at": NOW,
        }
        for each in (missed, elsewhere)
    ]
    await database.write(lambda connection: connection.execute(insert(receipts), rows))
    for _ in range(2):
        assert await store_on(database).match_parked(later(5), RECORDER.after_receipt) == []
    assert (await _deliveries(database))[0][0] == State.DELIVERED
    query = select(receipts.c.delivery_id).order_by(receipts.c.provider_message_id)
    owners = await database.read(lambda connection: list(connection.execute(query).scalars()))
    assert owners == [work.delivery.id, ""]


async def _unknown(database: Database) -> ClaimedDelivery:
    """One message that its provider may have, and that it can only be known by ``TAG`` there."""
    work = await _sent(database, UnknownOutcome(ProviderReason.TIMEOUT), (Step("sms"),))
    [claimed] = await store_on(database).claim([work.delivery.id], later(40), 60)
    return claimed


async def _looked_up(database: Database, work: ClaimedDelivery, answer: LookupAnswer) -> None:
    await store_on(database).apply([RECORDER.after_lookup(work.delivery, work.notification, answer, later(41))])


async def test_a_receipt_under_our_tag_is_found_by_who_asks(database: Database) -> None:
    """It waits without an owner, and with its own id has one afterwards; older ones and other tags say nothing."""
    store, work = store_on(database), await _unknown(database)
    arrived = ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM7", tag=TAG))
    assert (await store.receive([arrived], later(30), RECORDER.after_receipt))[0] == ["orphan"]
    found = await store.parked("twilio", TAG, NOW)
    assert found == arrived.receipt
    for provider, tag, since in (("other", TAG, NOW), ("twilio", "cd" * 16, NOW), ("twilio", TAG, later(31))):
        assert await store.parked(provider, tag, since) is None
    await _looked_up(database, work, LookupAnswer(LookupResult.FOUND, found))
    await store.match_parked(later(42), RECORDER.after_receipt)
    assert await _deliveries(database) == [(State.DELIVERED, "")]
    assert await store.parked("twilio", TAG, NOW) is None


@pytest.mark.parametrize("missed", [False, True])
async def test_a_receipt_under_our_tag_ends_a_review(database: Database, missed: bool) -> None:
    """Come after it, or stored while the review was being recorded and neither transaction saw the other's row."""
    work, arrived = await _unknown(database), ReceiptFor(Receipt("twilio", ReceiptStatus.DELIVERED, "SM7", tag=TAG))
    if missed:
        await store_on(database).receive([arrived], later(40), RECORDER.after_receipt)
    await _looked_up(database, work, LookupAnswer(LookupResult.UNSUPPORTED, tag=TAG))
    assert await _deliveries(database) == [(State.REVIEW, EndReason.UNRESOLVED)]
    if missed:
        await store_on(database).match_parked(later(42), RECORDER.after_receipt)
    else:
        await store_on(database).receive([arrived], later(42), RECORDER.after_receipt)
    assert await _deliveries(database) == [(State.DELIVERED, "")]


async def test_a_review_waits_for_the_receipt_of_its_own_attempt(database: Database) -> None:
    """What the message was known by in an earlier attempt gives way to the tag of the one that is in doubt."""
    work, tags = await _unknown(database), ["cd" * 16, TAG]
    for tag in tags:
        await _looked_up(database, work, LookupAnswer(LookupResult.UNSUPPORTED, tag=tag))
        again = update(deliveries).values(state=State.UNKNOWN, due_at=later(45), lease_until=None)
        await database.write(lambda each, again=again: each.execute(again))
        [work] = await store_on(database).claim([work.delivery.id], later(46), 60)
    words = []
    for tag in tags:
        arrived = ReceiptFor(Receipt("twilio", ReceiptStatus.UNDELIVERED, f"SM{tag[:2]}", tag=tag))
        words += (await store_on(database).receive([arrived], later(50), RECORDER.after_receipt))[0]
    assert words == ["orphan", "moved"]


async def test_a_cancelled_route_goes_no_further(database: Database) -> None:
    """The first message is with its provider, so it is too late for that one; no second one follows it, neither when
    its wait is over nor when it fails."""
    work = await _sent(database, Accepted("SM1"))
    assert await people_on(database).cancel("acme", work.notification.id, "test") == "too_late"
    assert await store_on(database).due(later(3600), 10) == []
    await _heard(database, work, ReceiptStatus.UNDELIVERED, 7200)
    assert [state for state, _ in await _deliveries(database)] == [State.UNDELIVERED]


async def test_a_cancel_under_way_stops_the_route_too(database: Database) -> None:
    """Cancelled during the call: its acceptance, written later, starts no wait for a next step."""
    store = store_on(database)
    [accepted] = await store.accept([draft("k", route=ROUTE)], NOW)
    [work] = await store.claim([accepted.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    assert await people_on(database).cancel("acme", work.notification.id, "test") == "too_late"
    await store.settle([ended(work, Accepted("SM1"))], RECORDER.after_attempt, RECORDER.after_receipt)
    await _overdue(database, 1801)
    assert [state for state, _ in await _deliveries(database)] == [State.SENT]


async def test_an_answered_route_goes_no_further(database: Database) -> None:
    """The borrower has written back; that the message is reported as undelivered later on opens nothing."""
    from channels.base import Reply
    from gateway.replies.store import ReplyStore

    work = await _sent(database, Accepted("SM1"))
    key = {"id": "k", "tenant": "acme", "name": "n", "digest": "d", "scopes": "send", "created_at": NOW}
    await database.write(lambda connection: connection.execute(insert(api_keys), [key]))
    replies = ReplyStore(database, digest, lambda: later(60))
    reply = Reply("twilio", "SM9", "+12025550123", "who is this?")
    [taken] = await replies.record(reply, "sms", "+12025550123", lambda text, borrower: understood(Intent.OTHER))
    assert taken.new
    await _heard(database, work, ReceiptStatus.UNDELIVERED, 120)
    assert [state for state, _ in await _deliveries(database)] == [State.UNDELIVERED]
    query = select(notifications.c.stopped)
    assert await database.read(lambda connection: list(connection.execute(query).scalars())) == [EndReason.REPLIED]


READ_ROUTE = (Step("sms", timedelta(minutes=30), "read"), Step("email"))


async def _read(database: Database, work: ClaimedDelivery, seconds: float) -> None:
    receipt = Receipt("inapp", ReceiptStatus.READ, reference=work.delivery.id)
    await store_on(database).receive([ReceiptFor(receipt, work.delivery.id)], later(seconds), RECORDER.after_receipt)


async def test_what_is_not_read_in_time_goes_on(database: Database) -> None:
    """Delivered at once and not read for half an hour: the next step opens, once."""
    await _sent(database, Accepted("1", delivered=True), READ_ROUTE)
    assert await store_on(database).due(later(1799), 10) == []
    await _overdue(database, 1801)
    assert [state for state, _ in await _deliveries(database)] == [State.DELIVERED, State.ACCEPTED]


async def test_what_is_read_in_time_does_not(database: Database) -> None:
    """Read after ten minutes: the wait is over, and nothing follows."""
    work = await _sent(database, Accepted("1", delivered=True), READ_ROUTE)
    await _read(database, work, 600)
    assert await store_on(database).due(later(3600), 10) == []
    assert [state for state, _ in await _deliveries(database)] == [State.DELIVERED]


async def test_what_is_read_late_stops_the_step_that_has_not_gone_out(database: Database) -> None:
    """Read after the next step was opened and before it was handed over: that one is cancelled."""
    work = await _sent(database, Accepted("1", delivered=True), READ_ROUTE)
    await _overdue(database, 1801)
    await _read(database, work, 1802)
    assert await _deliveries(database) == [(State.DELIVERED, ""), (State.CANCELLED, EndReason.GOAL_REACHED)]
