"""What follows from what a borrower has confirmed, and taking it back. Each is safe to repeat.

A promise goes to the case's record, which pauses its journeys; a payment that was reported pauses reminders for some
days while the case system looks; a plan is offered by the case's journey, where its definition has a step for that; a
new address is a person's to enter. The case system hears of each by webhook.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gateway.borrowers.store import BorrowerStore
from gateway.conversations.conversation import Conversation
from gateway.conversations.requests import CLIENT
from gateway.conversations.slots import ReplySlots
from gateway.conversations.verification import BORROWER
from gateway.core.clock import Clock
from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind, Intent
from gateway.journeys.acts import JourneyActs, NoSuchJourney
from gateway.journeys.cases.record import CaseRecord, Promise, promise_ends
from gateway.journeys.cases.store import CaseStore

# A bank transfer takes up to three banking days to be seen; our choice.
PAYMENT_PAUSE = timedelta(days=3)
UNDO_WITHIN = timedelta(days=1)  # the template reply-noted says so; our choice

EVENTS = {
    Intent.PROMISE: "conversation_promise_confirmed",
    Intent.PAID: "conversation_payment_reported",
    Intent.NEW_ADDRESS: "conversation_address_reported",
    Intent.PLAN: "conversation_plan_asked",
}


def written_at(reply_id: str) -> datetime:
    """When a reply came, by its id (``new_id``)."""
    return datetime.fromtimestamp(int(reply_id[4:16], 16) / 1000, UTC)


@dataclass(frozen=True, slots=True)
class FollowUps:
    """Has things follow. Raises Unavailable."""

    cases: CaseStore
    people: BorrowerStore
    journeys: JourneyActs
    clock: Clock

    async def can_offer_plan(self, conversation: Conversation) -> bool:
        """Whether a journey of the case has a step that offers a plan, and can do it now."""
        return bool(await self.journeys.plan_journey(conversation.tenant, conversation.case_id))

    async def follow(self, intent: Intent, conversation: Conversation, slots: ReplySlots, reply_id: str) -> None:
        """``slots`` are those of the reply that was read back, ``reply_id``."""
        if intent is Intent.PROMISE:
            await self._promise(conversation, slots, reply_id)
        elif intent is Intent.PLAN:
            await self._plan(conversation)
        elif intent is Intent.PAID:
            now = self.clock()
            hold = Hold(HoldKind.PAYMENT_REPORTED, now, now + PAYMENT_PAUSE, conversation.case_id)
            await self.people.put_hold(conversation.tenant, conversation.borrower_id, hold, "conversation", CLIENT)

    async def undo(self, intent: Intent, conversation: Conversation) -> None:
        """Take back what has followed."""
        if intent is Intent.PAID:
            key = conversation.tenant, conversation.borrower_id
            await self.people.lift_hold(*key, HoldKind.PAYMENT_REPORTED, CLIENT, "undone by the borrower")
        elif intent is Intent.PROMISE:
            await self._withdraw(conversation)
        elif intent is Intent.PLAN:
            await self.journeys.withdraw_plan(conversation.tenant, conversation.case_id, BORROWER)

    async def _promise(self, conversation: Conversation, slots: ReplySlots, reply_id: str) -> None:
        assert slots.day is not None
        assert slots.amount is not None
        promise = Promise(_promise_id(reply_id), slots.amount, slots.day, written_at(reply_id))
        part = CaseRecord(conversation.case_id, promises={promise.id: promise})
        [fed] = await self.cases.feed(conversation.tenant, [part], CLIENT)
        if fed.record.snapshot is None:
            # A case system that feeds no cases: the hold that the record would set.
            end = promise_ends(fed.record, promise)
            hold = Hold(HoldKind.PROMISE_TO_PAY, promise.made_at, end, conversation.case_id)
            await self.people.put_hold(conversation.tenant, conversation.borrower_id, hold, "conversation", CLIENT)

    async def _plan(self, conversation: Conversation) -> None:
        journey_id = await self.journeys.plan_journey(conversation.tenant, conversation.case_id)
        with suppress(NoSuchJourney):  # it has ended meanwhile: paid, say
            if journey_id:
                await self.journeys.ask_plan(conversation.tenant, journey_id, BORROWER)

    async def _withdraw(self, conversation: Conversation) -> None:
        record = await self.cases.find(conversation.tenant, conversation.case_id)
        # The one that was confirmed last: only that can be taken back.
        ours = [each for each in record.promises.values() if each.id.startswith("reply-")] if record else []
        if record is None or not ours:
            return
        latest = max(ours, key=lambda each: each.made_at)
        taken_back = replace(latest, withdrawn_at=latest.withdrawn_at or self.clock())
        part = CaseRecord(conversation.case_id, promises={latest.id: taken_back})
        await self.cases.feed(conversation.tenant, [part], CLIENT)
        if record.snapshot is None:
            key = conversation.tenant, conversation.borrower_id
            await self.people.lift_hold(*key, HoldKind.PROMISE_TO_PAY, CLIENT, "undone by the borrower")


def _promise_id(reply_id: str) -> str:
    return f"reply-{reply_id}"
