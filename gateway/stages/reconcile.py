"""Reconcile: what became of a message that was handed over. Asks the provider, and never sends anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from channels.base import Content, LookupAnswer, LookupResult, Provider, Receipt, TransientFailure
from gateway.core.model import Notification, State
from gateway.core.ports import ClaimedDelivery, Clock, Outgoing, RenderFailed, Transition
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder

_AT_ONCE = 20  # look-ups under way; our choice: as many connections as a mail relay gets
_REMEMBERED = 10_000  # look-ups; our choice: the ledger knows them all within moments


class OutcomeReconciler:
    """Decides for deliveries whose worker died, whose outcome is unknown, or whose deadline has passed."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        sender: Sender,
        recorder: OutcomeRecorder,
        clock: Clock,
        *,
        render: Callable[[Notification, str], Content],
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
        return list(await asyncio.gather(*(self._one(work, now, until) for work in claimed)))

    async def _one(self, work: ClaimedDelivery, now: datetime, until: datetime) -> Transition:
        delivery, recorder = work.delivery, self._recorder
        if delivery.state is State.SENDING:
            return recorder.lost_worker(delivery, now)
        if delivery.state is not State.UNKNOWN:
            transition = recorder.overdue(delivery, work.notification, now)
            if transition is not None:
                return transition
        async with self._turns:
            if self._clock() >= until:
                return Transition(delivery.id, "lookup_put_off", now, due_at=recorder.ask_again(now))
            try:
                answer = await self._ask(work)
            except TransientFailure:
                return Transition(delivery.id, "lookup_failed", now, due_at=recorder.ask_again(now))
        return recorder.after_lookup(delivery, work.notification, answer, self._clock())

    async def _ask(self, work: ClaimedDelivery) -> LookupAnswer:
        provider = self._providers.get(work.delivery.provider)
        if provider is None:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        if provider.capability.idempotent:
            return LookupAnswer(LookupResult.ABSENT)  # sending again is harmless, so it may count as absent
        try:
            content = self._render(work.notification, work.delivery.channel)
        except RenderFailed:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        outgoing = Outgoing(work, content, provider=work.delivery.provider)
        message = self._sender.message(outgoing, work.delivery.attempt)
        since = work.delivery.contacted_at or work.notification.accepted_at
        answer = await provider.lookup(message, work.delivery.provider_message_id, since)
        if answer.tag and (parked := await self._find_parked(provider.name, answer.tag, since)) is not None:
            answer = LookupAnswer(LookupResult.FOUND, parked)
        if answer.receipt is not None and answer.receipt.provider_message_id:
            found = (provider.name, answer.receipt.provider_message_id)
            owner = await self._find_owner(*found) or self._found.setdefault(found, work.delivery.id)
            if owner != work.delivery.id:
                # The same words to the same number, sent for somebody else: that proves nothing about this one.
                return LookupAnswer(LookupResult.UNSUPPORTED)
        return answer
