"""Silence and repeated requests, as a provider's capability says: pure decisions of the stages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from channels.base import FOR_EVER, Accepted, Capability, Content, LookupAnswer, LookupResult, ProviderReason, Silence
from gateway.core.deliveries import ClaimedDelivery, Delivery, Outgoing
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.notifications import Step
from gateway.core.reasons import EndReason, PolicyReason
from gateway.core.states import State
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.stages.admit import refusal
from gateway.stages.route import ProviderRouter
from gateway.stages.schedule import RetrySchedule
from gateway.stages.settle import OutcomeRecorder
from tests.support.storage.ledgers import NOW, draft, later

NOTIFICATION = draft("k", route=(Step("sms"), Step("email"))).notification
SENT = Delivery(
    "dlv_1", NOTIFICATION.id, 0, "sms", "d", State.SENT, attempt=1, provider="p", contacted_at=NOW, created_at=NOW
)
UNKNOWN = replace(SENT, state=State.UNKNOWN, reason=ProviderReason.TIMEOUT)


class Stub:
    channel, capability = "sms", Capability()


def router(*names: str) -> ProviderRouter:
    return ProviderRouter({each: Stub() for each in names}, dict.fromkeys(names, 1.0))  # type: ignore[misc]


def recorder(capability: Capability) -> OutcomeRecorder:
    return OutcomeRecorder(RetrySchedule(timedelta(hours=72), timedelta(seconds=30), 6), {"p": capability})


@pytest.mark.parametrize(
    ("silence", "reason", "disproved"),
    [
        (Silence.FAILED, EndReason.SILENCE, True),
        (Silence.UNPROVEN, EndReason.UNPROVEN, False),
    ],
)
def test_what_silence_means_is_the_providers(silence: Silence, reason: EndReason, disproved: bool) -> None:
    """By its own deadline: it did not arrive, and is no contact; or nobody knows. The route goes on either way."""
    made = recorder(Capability(silence=silence, receipt_within=timedelta(hours=24)))
    overdue = made.overdue(replace(SENT, receipt_by=later(60)), NOTIFICATION, later(61))
    assert overdue is not None
    assert (overdue.to, overdue.reason, overdue.next_step) == (State.UNDELIVERED, reason, True)
    assert overdue.contact_disproved is disproved


def test_a_lost_receipt_is_looked_up() -> None:
    """The default: a provider that reports everything is asked."""
    assert recorder(Capability()).overdue(replace(SENT, receipt_by=later(60)), NOTIFICATION, later(61)) is None


@pytest.mark.parametrize(
    ("attempt", "since", "harmless"),
    [(1, 9 * 60, True), (1, 11 * 60, False), (2, 9 * 60, True), (2, 11 * 60, False)],
)
def test_a_request_is_repeated_within_the_providers_time_alone(attempt: int, since: int, harmless: bool) -> None:
    """Ten minutes from the first request: of several attempts, the delivery's creation is the safe bound."""
    delivery = replace(UNKNOWN, attempt=attempt, contacted_at=NOW if attempt == 1 else later(since - 1), created_at=NOW)
    lost = recorder(Capability(idempotent_for=timedelta(minutes=10))).lost_worker(
        replace(delivery, state=State.SENDING), later(since)
    )
    assert (lost.due_at == later(since)) is harmless


def test_what_is_sent_again_goes_to_the_same_provider_and_stays_a_contact() -> None:
    """Another provider would not recognise the request; the first one may have arrived."""
    again = recorder(Capability(idempotent_for=FOR_EVER)).after_lookup(
        UNKNOWN, NOTIFICATION, LookupAnswer(LookupResult.SEND_AGAIN), later(31)
    )
    assert (again.to, again.reason, again.contact_disproved) == (State.RETRYING, EndReason.SENT_AGAIN, False)

    delivery = replace(UNKNOWN, state=State.RETRYING, reason=EndReason.SENT_AGAIN)
    work = ClaimedDelivery(delivery, NOTIFICATION, BorrowerFacts(0, Facts()), State.RETRYING, True)
    assert router("p", "q").choose(work, [], NOW) == "p"
    assert router("p", "q").choose(replace(work, delivery=replace(delivery, reason="timeout")), [], NOW) == "q"


def test_a_repetition_whose_provider_was_removed_is_for_a_person_and_makes_no_second_copy() -> None:
    """The first request may have arrived: neither another provider nor the next channel may send it as well."""

    delivery = replace(UNKNOWN, state=State.RETRYING, reason=EndReason.SENT_AGAIN)
    work = ClaimedDelivery(delivery, NOTIFICATION, BorrowerFacts(0, Facts()), State.RETRYING, True)
    ready, [ended] = router("q").assign([Outgoing(work, Content("x"))], [], NOW)
    assert (ready, ended.to, ended.reason, ended.next_step) == ([], State.REVIEW, EndReason.UNRESOLVED, False)


def test_what_may_not_be_sent_again_now_is_for_a_person() -> None:
    """Hours later the provider would take the repeated request for a new message."""
    delivery = replace(UNKNOWN, state=State.RETRYING, reason=EndReason.SENT_AGAIN)
    work = ClaimedDelivery(delivery, NOTIFICATION, BorrowerFacts(0, Facts()), State.RETRYING, True)
    wait = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, later(3600))
    assert refusal(work, wait, NOW).to is State.REVIEW
    never = refusal(work, Verdict(VerdictKind.SUPPRESS, PolicyReason.OPTED_OUT), NOW)
    assert (never.to, never.next_step) == (State.REVIEW, False)


def test_an_accepted_message_waits_as_long_as_its_provider_takes() -> None:
    """24 hours by the capability, in place of the setting."""
    from tests.support.storage.ledgers import ended, outgoing  # noqa: F401 – the attempt's message is the ledger's

    work = ClaimedDelivery(
        replace(SENT, state=State.SENDING, attempt=0), NOTIFICATION, BorrowerFacts(0, Facts()), State.SENDING, True
    )
    attempt = ended(work, Accepted("m1"))
    made = recorder(Capability(silence=Silence.FAILED, receipt_within=timedelta(hours=24)))
    sent = made.after_attempt(replace(SENT, state=State.SENDING), NOTIFICATION, replace(attempt, provider="p"))
    assert sent.changes["receipt_by"] == NOW + timedelta(hours=24)
