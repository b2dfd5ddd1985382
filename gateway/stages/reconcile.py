"""Enquire: what became of a message that was handed over. Asks the provider, and never sends anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from channels.base import LookupAnswer, LookupResult, Provider, TransientFailure
from gateway.core.model import State
from gateway.core.ports import ClaimedDelivery, Clock, Ledger, Outgoing, RenderFailed, Templates, Transition
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder

_AT_ONCE = 20  # look-ups under way; our choice: as many connections as a mail relay gets
_REMEMBERED = 10_000  # look-ups; our choice: the ledger knows them all within moments


class OutcomeReconciler:
    """Decides the moves of deliveries whose worker died, whose outcome is unknown, or whose deadline has passed."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Mapping[str, Provider],
        templates: Templates,
        sender: Sender,
        settler: OutcomeRecorder,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._providers = providers
        self._templates = templates
        self._sender = sender
        self._settler = settler
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        # Whose message a look-up took the provider's for, until the ledger knows it: the next may be on its way now.
        self._found: dict[tuple[str, str], str] = {}

    async def enquire(self, works: Sequence[ClaimedDelivery], now: datetime, until: datetime) -> list[Transition]:
        """A move for each delivery that was handed over, or may have been.

        No look-up begins after ``until``, when the leases could run out before it ends: it is put off.
        """
        if len(self._found) > _REMEMBERED:
            self._found.clear()
        return list(await asyncio.gather(*(self._one(work, now, until) for work in works)))

    async def _one(self, work: ClaimedDelivery, now: datetime, until: datetime) -> Transition:
        delivery, settler = work.delivery, self._settler
        if delivery.state is State.SENDING:
            return settler.lost_worker(delivery, now)
        if delivery.state is not State.UNKNOWN:
            move = settler.overdue(delivery, work.notification, now)
            if move is not None:
                return move
        async with self._turns:
            if self._clock() >= until:
                return Transition(delivery.id, "lookup_put_off", now, due_at=settler.ask_again(now))
            try:
                answer = await self._ask(work)
            except TransientFailure:
                return Transition(delivery.id, "lookup_failed", now, due_at=settler.ask_again(now))
        return settler.after_lookup(delivery, work.notification, answer, self._clock())

    async def _ask(self, work: ClaimedDelivery) -> LookupAnswer:
        provider = self._providers.get(work.delivery.provider)
        if provider is None:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        if provider.capability.idempotent:
            return LookupAnswer(LookupResult.ABSENT)  # sending again is harmless, so it may count as absent
        try:
            content = self._templates.render(work.notification, work.delivery.channel)
        except RenderFailed:
            return LookupAnswer(LookupResult.UNSUPPORTED)
        outgoing = Outgoing(work, content, provider=work.delivery.provider)
        message = self._sender.message(outgoing, work.delivery.attempt)
        since = work.delivery.contacted_at or work.notification.accepted_at
        answer = await provider.lookup(message, work.delivery.provider_message_id, since)
        if answer.tag and (parked := await self._ledger.parked(provider.name, answer.tag, since)) is not None:
            answer = LookupAnswer(LookupResult.FOUND, parked)
        if answer.receipt is not None and answer.receipt.provider_message_id:
            found = (provider.name, answer.receipt.provider_message_id)
            owner = await self._ledger.owner(*found) or self._found.setdefault(found, work.delivery.id)
            if owner != work.delivery.id:
                # The same words to the same number, sent for somebody else: that proves nothing about this one.
                return LookupAnswer(LookupResult.UNSUPPORTED)
        return answer
