"""The reconcile stage: what became of messages that were handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from channels.base import (
    Accepted,
    CallbackRequest,
    Capability,
    Content,
    LookupAnswer,
    LookupResult,
    Message,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    TransientFailure,
)
from gateway.core.deliveries import ClaimedDelivery, Delivery
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.states import State
from gateway.observability.metrics import Metrics
from gateway.observability.path_observer import PathObserver
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.schedule import RetrySchedule
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder
from tests.support.storage.ledgers import NOW, draft, later

NOTIFICATION = draft("k").notification


class Asked:
    """A provider that has one message, whoever asks, and takes its time."""

    name = "twilio"
    channel = "sms"
    capability = Capability(looks_up=True)

    def __init__(self, answer: LookupAnswer | TransientFailure) -> None:
        self._answer = answer
        self.at_once = self.most = 0

    async def send(self, message: Message) -> Accepted:
        raise NotImplementedError

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if isinstance(self._answer, TransientFailure):
            raise self._answer
        return self._answer

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        return ()

    async def close(self) -> None: ...


async def _unknown(*_arguments: object) -> None:
    """The ledger knows no owner yet, and no receipt was parked."""


def _reconciler(provider: Asked, now: datetime = NOW) -> OutcomeReconciler:
    recorder = OutcomeRecorder(
        RetrySchedule(timedelta(hours=72), timedelta(seconds=30), 6), {"twilio": provider.capability}
    )
    observer = PathObserver(Metrics([], []))
    providers = {"twilio": provider}
    sender = Sender(providers, lambda key, number: f"{key}.{number}.x", "http://here", lambda: now, str, observer)
    return OutcomeReconciler(
        providers,
        sender,
        recorder,
        lambda: now,
        render=lambda *_: Content("the same words"),
        find_owner=_unknown,
        find_parked=_unknown,
    )


def _works(count: int) -> list[ClaimedDelivery]:
    delivery = Delivery("", NOTIFICATION.id, 0, "sms", "", State.UNKNOWN, attempt=1, provider="twilio")
    known = BorrowerFacts(0, Facts())
    return [
        ClaimedDelivery(replace(delivery, id=f"dlv_{number}"), NOTIFICATION, known, State.UNKNOWN, True)
        for number in range(count)
    ]


async def test_one_message_is_found_for_one_delivery() -> None:
    """Two outcomes are unknown, of the same words to the same number, and the provider has one message: one delivery
    is taken for it, and of the other nobody knows."""
    found = LookupAnswer(LookupResult.FOUND, Receipt("twilio", ReceiptStatus.SENT, "SM1"))
    transitions = await _reconciler(Asked(found)).reconcile(_works(2), NOW, later(30))
    assert [transition.to for transition in transitions] == [State.SENT, State.REVIEW]


async def test_look_ups_run_side_by_side_and_not_all_at_once() -> None:
    """A hundred unknown outcomes neither queue up one behind the other nor storm the provider."""
    provider = Asked(LookupAnswer(LookupResult.ABSENT))
    transitions = await _reconciler(provider).reconcile(_works(100), NOW, later(30))
    assert {transition.to for transition in transitions} == {State.RETRYING}
    assert 1 < provider.most <= 20


async def test_no_look_up_begins_that_could_outlive_the_lease() -> None:
    """Too late to ask now: it is put off, and the delivery stays as it is."""
    provider = Asked(LookupAnswer(LookupResult.ABSENT))
    [transition] = await _reconciler(provider, later(31)).reconcile(_works(1), NOW, later(30))
    assert (provider.most, transition.to, transition.kind, transition.due_at) == (0, None, "lookup_put_off", later(30))


async def test_a_provider_that_cannot_be_asked_is_asked_again() -> None:
    """A failed look-up proves nothing."""
    provider = Asked(TransientFailure(ProviderReason.CONNECTION_FAILED))
    [transition] = await _reconciler(provider).reconcile(_works(1), NOW, later(30))
    assert (transition.to, transition.kind, transition.due_at) == (None, "lookup_failed", later(30))
