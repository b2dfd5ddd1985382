"""Reconcile: what became of a message that was handed over. Asks the provider, and never sends anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from channels.base import Content, LookupAnswer, LookupResult, Provider, Receipt, TransientFailure
from gateway.core.clock import Clock
from gateway.core.deliveries import ClaimedDelivery, Outgoing, Transition
from gateway.core.errors import RenderFailed
from gateway.core.notifications import Notification
from gateway.core.security.message_links import MessageLinks
from gateway.core.states import State
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder, first_request

_AT_ONCE = 20  # concurrent look-ups; our choice: as many connections as a mail relay gets
_REMEMBERED = 10_000  # look-ups; our choice: the ledger has them all within moments


class OutcomeReconciler:
    """Decides for deliveries whose worker died, whose outcome is unknown, or whose deadline has passed."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        sender: Sender,
        recorder: OutcomeRecorder,
        clock: Clock,
        *,
        render: Callable[[Notification, str, MessageLinks], Content],
        find_owner: Callable[[str, str], Awaitable[str | None]],
        find_parked: Callable[[str, str, datetime], Awaitable[Receipt | None]],
    ) -> None:
        """``find_owner`` and ``find_parked`` are the store's ``owner`` and ``parked``."""
        self._providers = providers
        self._sender = sender
        self._recorder = recorder
        self._clock = clock
        self._render = render
        self._find_owner = find_owner
        self._find_parked = find_parked
        self._turns = asyncio.Semaphore(_AT_ONCE)
        # The delivery to which a look-up assigned each provider message. Kept until the ledger has it: another look-up
        # for the same message may run now.
        self._found: dict[tuple[str, str], str] = {}

    async def reconcile(self, claimed: Sequence[ClaimedDelivery], now: datetime, until: datetime) -> list[Transition]:
        """A transition for each delivery that was handed over, or may have been.

        No look-up begins after ``until``, when the leases could run out before it ends: it is put off.
        """
        if len(self._found) > _REMEMBERED:
            self._found.clear()
        return list(await asyncio.gather(*(self._one(each, now, until) for each in claimed)))

    async def _one(self, claimed: ClaimedDelivery, now: datetime, until: datetime) -> Transition:
        delivery, recorder = claimed.delivery, self._recorder
        if delivery.state is State.SENDING:
            return recorder.lost_worker(delivery, now)
        if delivery.state is not State.UNKNOWN:
            transition = recorder.overdue(delivery, claimed.notification, now)
            if transition is not None:
                return transition
        async with self._turns:
            if self._clock() >= until:
                return Transition(delivery.id, "lookup_put_off", now, due_at=recorder.ask_again(now))
            try:
                answer = await self._ask(claimed)
            except TransientFailure:
                return Transition(delivery.id, "lookup_failed", now, due_at=recorder.ask_again(now))
        return recorder.after_lookup(delivery, claimed.notification, answer, self._clock())

    async def _ask(self, claimed: ClaimedDelivery) -> LookupAnswer:
        provider = self._providers.get(claimed.delivery.provider)
        if provider is None:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        first = first_request(claimed.delivery)
        if (
            claimed.delivery.state is State.UNKNOWN
            and first is not None
            and provider.capability.repeatable(first, self._clock())
        ):
            return LookupAnswer(LookupResult.SEND_AGAIN)
        try:
            links = self._sender.links(claimed.delivery.id, claimed.notification.category)
            content = self._render(claimed.notification, claimed.delivery.channel, links)
        except RenderFailed:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        outgoing = Outgoing(claimed, content, provider=claimed.delivery.provider)
        message = self._sender.message(outgoing, claimed.delivery.attempt)
        since = claimed.delivery.contacted_at or claimed.notification.accepted_at
        answer = await provider.lookup(message, claimed.delivery.provider_message_id, since)
        if answer.tag and (parked := await self._find_parked(provider.name, answer.tag, since)) is not None:
            answer = LookupAnswer(LookupResult.FOUND, parked)
        if answer.receipt is not None and answer.receipt.provider_message_id:
            found = (provider.name, answer.receipt.provider_message_id)
            owner = await self._find_owner(*found) or self._found.setdefault(found, claimed.delivery.id)
            if owner != claimed.delivery.id:
                # The same text to the same number, sent for another delivery: it proves nothing about this one.
                return LookupAnswer(LookupResult.UNSUPPORTED)
        return answer
