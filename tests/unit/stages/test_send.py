"""The send stage: what it begins, what it leaves alone, and what it makes of surprises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from channels.base import (
    Accepted,
    CallbackRequest,
    Capability,
    LookupAnswer,
    LookupResult,
    Message,
    ProviderReason,
    Receipt,
    TransientFailure,
    UnknownOutcome,
)
from gateway.core.deliveries import Attempt, ClaimedDelivery, Delivery, Outgoing
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.states import State
from gateway.observability.metrics import Metrics
from gateway.observability.path_observer import PathObserver
from gateway.stages.send import Sender
from tests.support.storage.ledgers import NOW, draft, outgoing

OBSERVER = PathObserver(Metrics([], []))


class Slow:
    """A provider that takes one message at a time and moves the clock by a minute for each."""

    name = "slow"
    channel = "sms"
    capability = Capability(concurrency=1)

    def __init__(self, error: Exception | None = None) -> None:
        self.now = NOW
        self.sent: list[Message] = []
        self._error = error

    async def send(self, message: Message) -> Accepted:
        self.sent.append(message)
        self.now += timedelta(minutes=1)
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        return Accepted("SM1")

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        return LookupAnswer(LookupResult.UNSUPPORTED)

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        return ()

    async def close(self) -> None: ...


def _work() -> Outgoing:
    notification = draft("k").notification
    delivery = Delivery("dlv_1", notification.id, 0, "sms", "", State.SENDING)
    return outgoing(ClaimedDelivery(delivery, notification, BorrowerFacts(0, Facts()), State.ACCEPTED, True), "slow")


async def _run(provider: Slow, batch: Sequence[Outgoing]) -> list[Attempt]:
    ended: list[Attempt] = []

    async def hear(attempt: Attempt) -> None:
        ended.append(attempt)

    sender = Sender(
        {"slow": provider}, lambda key, number: f"{key}.{number}.x", "http://here", lambda: provider.now, str, OBSERVER
    )
    await sender.send(batch, hear, NOW + timedelta(minutes=2))
    return ended


async def test_what_could_outlive_its_lease_is_not_begun() -> None:
    """Behind a slow provider, messages whose turn comes too late are given back unsent."""
    provider = Slow()
    ended = await _run(provider, [_work() for _ in range(4)])
    assert len(provider.sent) == 2
    given_back = [attempt.result for attempt in ended if isinstance(attempt.result, TransientFailure)]
    assert [failure.reason for failure in given_back] == [ProviderReason.NOT_BEGUN] * 2


async def test_a_stop_gives_back_at_once_what_has_not_begun() -> None:
    """One call hangs in the provider and three wait behind it: these are back before it ends, and due at once."""
    ended: list[Attempt] = []
    begun, answered, back = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Hanging(Slow):
        async def send(self, message: Message) -> Accepted:
            begun.set()
            await answered.wait()
            return await super().send(message)

    async def hear(attempt: Attempt) -> None:
        ended.append(attempt)
        if len(ended) == 3:
            back.set()

    provider = Hanging()
    sender = Sender(
        {"slow": provider}, lambda key, number: f"{key}.{number}.x", "http://here", lambda: NOW, str, OBSERVER
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.send([_work() for _ in range(4)], hear, NOW + timedelta(minutes=2)))
        await begun.wait()
        sender.stop()
        await back.wait()
        given_back = [attempt.result for attempt in ended]
        assert all(isinstance(each, TransientFailure) and each.retry_after == 0 for each in given_back)
        answered.set()
    assert isinstance(ended[3].result, Accepted)
    await sender.send([_work()], hear, NOW + timedelta(minutes=2))
    assert len(provider.sent) == 1  # nothing begins after a stop


async def test_a_provider_that_breaks_its_contract_leaves_the_outcome_unknown() -> None:
    """An exception that nobody foresaw never leads to a second copy: the provider may have the message."""
    [attempt] = await _run(Slow(RuntimeError("boom")), [_work()])
    assert isinstance(attempt.result, UnknownOutcome)
    assert attempt.result.code == "RuntimeError"


async def test_the_callback_address_carries_the_reference_and_no_address() -> None:
    """Where the provider reports to names our delivery and attempt, and nothing of the borrower."""
    provider = Slow()
    await _run(provider, [_work()])
    assert provider.sent[0].callback_url == "http://here/v1/receipts/slow?ref=dlv_1.1.x"
