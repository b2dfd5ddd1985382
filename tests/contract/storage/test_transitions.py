"""The states: whatever the providers say, in whatever order and however often, the end is the same and legal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from channels.base import (
    Accepted,
    Content,
    LookupAnswer,
    LookupResult,
    Message,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    SendFailure,
    TransientFailure,
)
from gateway.core.deliveries import Attempt, ClaimedDelivery, Delivery, ReceiptFor
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.notifications import Step
from gateway.core.reasons import EndReason
from gateway.core.states import END_STATES, TRANSITIONS, State
from gateway.storage.database import Database
from gateway.storage.tables.path import deliveries, notifications
from tests.support.storage.ledgers import NOW, draft, ended, later, outgoing, store_on
from tests.support.storage.settling import RECORDER


def test_every_state_has_its_moves_and_ends_lead_only_to_other_ends() -> None:
    """The table of moves covers every state, and no end leads back into the middle but a failure that is redriven."""
    assert set(TRANSITIONS) == set(State)
    for state in END_STATES:
        redriven = {State.ACCEPTED} if state is State.FAILED else set()
        assert TRANSITIONS[state] <= {State.DELIVERED, State.UNDELIVERED, *redriven}


def test_delivered_is_never_left() -> None:
    """Delivered is the last word."""
    assert TRANSITIONS[State.DELIVERED] == frozenset()


async def _end_state(database: Database, words: Sequence[ReceiptStatus], recorded_at: int) -> tuple[str, ...]:
    """Run one delivery through these receipts, with our own record of the attempt written before number
    ``recorded_at``; its state, and the notification's. The receipts have neither a signed reference nor an order:
    they are found by the provider's id."""
    store, key = store_on(database), uuid4().hex
    [answer] = await store.accept([draft(key, borrower=key)], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    attempt = ended(work, Accepted("SM" + work.delivery.id), later(1))
    for position, word in enumerate([*words, None]):
        if position == min(recorded_at, len(words)):
            await store.settle([attempt], RECORDER.after_attempt, RECORDER.after_receipt)
        if word is not None:
            named = (work.delivery.id, 1) if position % 2 else ("", 0)
            receipt = ReceiptFor(Receipt("twilio", word, "SM" + work.delivery.id), *named)
            await store.receive([receipt], later(2 + position), RECORDER.after_receipt)
    query = select(deliveries.c.state, notifications.c.state).join(
        notifications, notifications.c.id == deliveries.c.notification_id
    )
    one = query.where(deliveries.c.id == work.delivery.id)
    return await database.read(lambda connection: tuple(map(str, connection.execute(one).one())))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(ReceiptStatus), max_size=4),
    recorded_at=st.integers(0, 4),
)
async def test_any_order_of_receipts_gives_one_end(
    database: Database, words: list[ReceiptStatus], recorded_at: int
) -> None:
    """Every permutation of any receipts, with repeats and our own record anywhere between them, ends the same."""
    expected = (State.SENT, State.SENT)
    if {ReceiptStatus.DELIVERED, ReceiptStatus.READ} & set(words):
        expected = (State.DELIVERED, State.DELIVERED)
    elif {ReceiptStatus.UNDELIVERED, ReceiptStatus.FAILED, ReceiptStatus.OPTED_OUT} & set(words):
        expected = (State.UNDELIVERED, State.ACCEPTED)  # the route has gone on to its next step
    for order in sorted(set(permutations(words))):
        assert await _end_state(database, order, recorded_at) == expected, order


def test_a_stale_failure_of_an_earlier_attempt_changes_nothing() -> None:
    """A failure reported for attempt 1 says nothing about attempt 2; a delivery reported for it does."""
    notification = draft("k").notification
    delivery = Delivery("d", notification.id, 0, "sms", "", State.SENT, attempt=2, provider="twilio")
    failed = RECORDER.after_receipt(delivery, notification, Receipt("twilio", ReceiptStatus.UNDELIVERED), 1, NOW)
    arrived = RECORDER.after_receipt(delivery, notification, Receipt("twilio", ReceiptStatus.DELIVERED), 1, NOW)
    assert (failed.to, arrived.to) == (None, State.DELIVERED)


def test_what_must_arrive_is_resent_once_and_nothing_else_is() -> None:
    """An unresolved outcome goes to a person; a message that the law wants received is sent once more before that."""
    plain = draft("k").notification
    required = replace(plain, must_arrive=True)
    delivery = Delivery("d", plain.id, 0, "sms", "", State.UNKNOWN, attempt=1, provider="smsc")
    nobody_knows = LookupAnswer(LookupResult.UNSUPPORTED)
    assert RECORDER.after_lookup(delivery, plain, nobody_knows, NOW).to is State.REVIEW
    again = RECORDER.after_lookup(delivery, required, nobody_knows, NOW)
    assert (again.to, again.kind, again.changes["deliberate_resends"]) == (State.RETRYING, "resent", 1)
    assert (
        RECORDER.after_lookup(replace(delivery, deliberate_resends=1), required, nobody_knows, NOW).to is State.REVIEW
    )


def _ended(delivery: Delivery, result: SendFailure) -> Attempt:
    message = Message(delivery.id, delivery.attempt, "acme", "B", "", Content("x"), "", "", None, "collections")
    work = ClaimedDelivery(delivery, draft("k").notification, BorrowerFacts(0, Facts()), State.SENDING, True)
    return Attempt(work, "mail", message, NOW, NOW, result)


def test_an_outage_uses_up_no_tries() -> None:
    """On the last step a relay is down for five attempts and then answers with a code that nobody knows: that code
    has its two tries, as if there had been no outage."""
    notification = draft("k", route=(Step("email"),)).notification
    delivery = Delivery("d", notification.id, 0, "email", "", State.SENDING, provider="mail")
    reasons = [ProviderReason.PROVIDER_UNAVAILABLE] * 5 + [ProviderReason.UNMAPPED] * 2
    ends = []
    for number, reason in enumerate(reasons, start=1):
        delivery = replace(delivery, attempt=number)
        move = RECORDER.after_attempt(delivery, notification, _ended(delivery, TransientFailure(reason)))
        delivery = replace(delivery, tries=move.changes.get("tries", delivery.tries))
        ends.append(move.to)
    assert ends == [State.RETRYING] * 6 + [State.FAILED]


def test_what_never_gets_there_is_given_up() -> None:
    """A message that takes its worker with it each time, and is never at the provider, ends after as many tries as any
    other: it does not come back for ever."""
    notification = draft("k", route=(Step("sms"),)).notification
    delivery = Delivery("d", notification.id, 0, "sms", "", State.UNKNOWN, EndReason.WORKER_LOST, provider="twilio")
    absent, ends = LookupAnswer(LookupResult.ABSENT), []
    for number in range(1, 7):
        delivery = replace(delivery, attempt=number, contacted_at=NOW)
        move = RECORDER.after_lookup(delivery, notification, absent, later(600))
        delivery = replace(delivery, tries=move.changes.get("tries", delivery.tries))
        ends.append((move.to, move.due_at))
    assert ends == [(State.RETRYING, later(600))] * 5 + [(State.FAILED, None)]
