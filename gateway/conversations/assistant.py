"""The assistant at work: takes the conversations that are due, decides, has things follow, answers, records.

Safe in any number of workers and at any death: the answer has its reply's key, what follows is safe to repeat, and the
record is written only over the state that was decided on. What it can't or may not do waits for a person, as before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.conversations.answers import AnswerBook
from gateway.conversations.assistant_settings import AssistantSettings, in_assistant_holdout
from gateway.conversations.conversation import Conversation
from gateway.conversations.decide import IDENTITY, UNDO, AssistantDecision, ReplySituation, decide
from gateway.conversations.follow_ups import EVENTS, PAYMENT_PAUSE, UNDO_WITHIN, FollowUps, written_at
from gateway.conversations.origin import Origins
from gateway.conversations.people import Accept
from gateway.conversations.reply_model import ReplyModelReader
from gateway.conversations.requests import CLIENT, answer_request, assistant_key
from gateway.conversations.slots import ReplySlots, slots_of
from gateway.conversations.store import Act, ConversationStore
from gateway.conversations.verification import LINK_LASTS, PERSON_WITHIN, IssuedVerification, OneTimeLinks, code_in
from gateway.core.clock import Clock
from gateway.core.conversations import AssistantReason, ConversationState, Handler
from gateway.core.errors import InvalidData, UnknownTemplate
from gateway.core.notifications import Borrower, Notification
from gateway.core.reasons import Intent
from gateway.core.requests import AcceptResult
from gateway.core.states import State
from gateway.core.understanding import Understanding, Urgency
from gateway.policy.zones import zone

_BATCH = 50  # conversations looked at in one run; our choice: some seconds of work
_SENT = (State.ACCEPTED, State.DEFERRED)

Understand = Callable[[str, Borrower], Understanding]
# (tenant, template) → the variables that its live version declares. Raises UnknownTemplate.
Variables = Callable[[str, str], Collection[str]]
Cancel = Callable[[str, str, str], Any]


@dataclass(frozen=True, slots=True)
class AssistantParts:
    """What the assistant decides with and acts by."""

    store: ConversationStore
    origins: Origins
    links: OneTimeLinks
    follow_ups: FollowUps
    accept: Accept
    cancel: Cancel
    variables: Variables
    understand: Understand
    book: AnswerBook
    observe: Callable[[AssistantReason], None]
    free_help: Callable[[str], str]  # who helps free of charge in a jurisdiction
    model: ReplyModelReader | None = None


class Assistant:
    """Answers for the tenants that have it switched on."""

    def __init__(self, parts: AssistantParts, settings: Mapping[str, AssistantSettings], clock: Clock) -> None:
        self._parts = parts
        self._settings = settings
        self._clock = clock

    async def run_once(self) -> bool:
        """Look at what is due; True where more may be. Raises Unavailable."""
        if not self._settings:
            return False
        found = await self._parts.store.due(sorted(self._settings), self._clock(), _BATCH)
        for each in found:
            try:
                await self._look(each)
            except InvalidData:  # the ledger can't store the answer, now or later
                await self._record(each, AssistantDecision(AssistantReason.NOT_PERMITTED, person=True))
        return len(found) == _BATCH

    async def _look(self, conversation: Conversation) -> None:
        settings = self._settings[conversation.tenant]
        if in_assistant_holdout(conversation.tenant, conversation.case_id, settings.holdout):
            await self._record(conversation, AssistantDecision(AssistantReason.HOLDOUT, person=True))
            return
        if conversation.asked == IDENTITY and conversation.state is ConversationState.ANSWERED:
            # Neither link nor code was used: what they wanted is a person's, and not forgotten.
            await self._record(conversation, AssistantDecision(AssistantReason.NOT_VERIFIED, person=True))
            return
        conversation = await self._recognised(conversation)
        latest = await self._parts.origins.of(conversation)
        text = await self._parts.origins.text(conversation, conversation.reply_id)
        if latest is None or not text:
            await self._record(conversation, AssistantDecision(AssistantReason.ERASED, person=True))
            return
        said = await self._understood(text, latest.borrower)
        situation = await self._situation(conversation, latest.borrower, text, said)
        decision = decide(situation, self._parts.book)
        read_back = await self._read_back(conversation, decision, latest.borrower) or situation.slots
        await self._have_follow(conversation, decision, read_back)
        decision, notification_id = await self._answer(conversation, latest, decision, situation.slots)
        await self._record(conversation, decision, notification_id, said)

    async def _recognised(self, conversation: Conversation) -> Conversation:
        """Where the reply is the code that was sent: the conversation as verified, at the reply that the code was for.

        No rule of safety holds for it, or the conversation would not be due.
        """
        code = code_in(await self._parts.origins.text(conversation, conversation.reply_id))
        return (await self._parts.links.take_code(conversation, code) if code else None) or conversation

    async def _understood(self, text: str, borrower: Borrower) -> Understanding:
        """What rules and weights say; where they understand nothing, what the model says, if there is one."""
        said = self._parts.understand(text, borrower)
        unread = said.intents == (Intent.OTHER,) and not said.rules and not said.holds
        book, model = self._parts.book, self._parts.model
        if model is None or not unread or book.says_yes(text) or book.says_undo(text):
            return said
        intent = await model.read(text, borrower)
        return said if intent is None else replace(said, intents=(intent,), version=f"{said.version}+{model.version}")

    async def _situation(
        self, conversation: Conversation, borrower: Borrower, text: str, said: Understanding
    ) -> ReplySituation:
        now = self._clock()
        asked = conversation.asked
        plan = Intent.PLAN in (*said.intents, asked)
        undoable = asked.startswith(UNDO) and now - written_at(conversation.asked_reply) <= UNDO_WITHIN
        return ReplySituation(
            said.intents,
            text,
            self._slots(text, borrower, written_at(conversation.reply_id)),
            asked,
            undoable,
            conversation.answers,
            conversation.verified(now),
            borrower.jurisdiction,
            conversation.channel,
            plan and await self._parts.follow_ups.can_offer_plan(conversation),
        )

    def _slots(self, text: str, borrower: Borrower, at: datetime) -> ReplySlots:
        local = zone(borrower.time_zones[0]) if borrower.time_zones else None
        fold = self._parts.book.normalise.fold
        return slots_of(text, at.astimezone(local).date() if local else at.date(), borrower.jurisdiction, fold)

    async def _read_back(
        self, conversation: Conversation, decision: AssistantDecision, borrower: Borrower
    ) -> ReplySlots | None:
        """What was read back of the reply that is being confirmed."""
        if not decision.follows or not conversation.asked_reply:
            return None
        text = await self._parts.origins.text(conversation, conversation.asked_reply)
        return self._slots(text, borrower, written_at(conversation.asked_reply))

    async def _have_follow(self, conversation: Conversation, decision: AssistantDecision, slots: ReplySlots) -> None:
        if decision.follows and decision.reason is AssistantReason.CONFIRMED:
            reply_id = conversation.asked_reply or conversation.reply_id
            await self._parts.follow_ups.follow(Intent(decision.follows), conversation, slots, reply_id)
        elif decision.undoes:
            await self._parts.follow_ups.undo(Intent(decision.undoes), conversation)

    async def _answer(
        self, conversation: Conversation, latest: Notification, decision: AssistantDecision, slots: ReplySlots
    ) -> tuple[AssistantDecision, str]:
        """Have the answer accepted; what can't be sent is a person's, whatever has followed."""
        if not decision.template:
            return decision, ""
        nothing = IssuedVerification("")
        issued = await self._parts.links.issue(conversation, code=decision.code) if decision.link else nothing
        if issued is None:
            return AssistantDecision(AssistantReason.NO_LINK, person=True), ""
        currency = await self._parts.origins.currency(conversation) if slots.amount is not None else ""
        values = self._values(conversation.tenant, latest, slots, issued, currency)
        try:
            known = self._parts.variables(conversation.tenant, decision.template)
        except UnknownTemplate:
            return AssistantDecision(AssistantReason.NO_ANSWER, person=True, follows=decision.follows), ""
        variables = {name: value for name, value in values.items() if name in known}
        key = assistant_key(conversation.reply_id, "verified" if conversation.verified(self._clock()) else "")
        request = answer_request(conversation, latest, key, decision.template, variables, self._clock())
        [result] = await self._parts.accept(conversation.tenant, [request], CLIENT)
        if isinstance(result, AcceptResult):
            if result.outcome != "created" or result.state in _SENT:
                return decision, result.id
            # It would wait for a reviewer: the person who reads the reply answers it.
            await self._parts.cancel(conversation.tenant, result.id, CLIENT)
        return AssistantDecision(AssistantReason.NOT_PERMITTED, person=True, follows=decision.follows), ""

    def _values(
        self, tenant: str, latest: Notification, slots: ReplySlots, issued: IssuedVerification, currency: str
    ) -> dict[str, Any]:
        return {
            "hours": self._settings[tenant].hours_for(latest.borrower.locale),
            "link": issued.link,
            "code": issued.code,
            "minutes": int(LINK_LASTS.total_seconds() // 60),
            "days": PAYMENT_PAUSE.days,
            **({"amount": str(slots.amount)} if slots.amount is not None else {}),
            **({"day": slots.day.isoformat()} if slots.day is not None else {}),
            **({"currency": currency} if currency else {}),
            **({"help": helpers} if (helpers := self._parts.free_help(latest.borrower.jurisdiction)) else {}),
        }

    async def _record(
        self,
        seen: Conversation,
        decision: AssistantDecision,
        notification_id: str = "",
        said: Understanding | None = None,
    ) -> None:
        """Write what was decided; nothing where the conversation has changed since, which is looked at anew."""

        def write(found: Conversation, now: datetime) -> Act | None:
            if found.revision != seen.revision:
                return None
            return recorded(found, seen.reply_id, decision, notification_id, said.version if said else "", now)

        await self._parts.store.act(seen.tenant, seen.id, CLIENT, write)
        self._parts.observe(decision.reason)


def recorded(
    found: Conversation, reply_id: str, decision: AssistantDecision, notification_id: str, version: str, now: datetime
) -> Act:
    """What is written of a decision about a reply."""
    answered = 1 if notification_id else 0
    identifies = decision.code and not decision.person
    asks = decision.asks or (f"{UNDO}{decision.follows}" if _undoable(decision) else "")
    values: dict[str, Any] = {
        "due_at": now + LINK_LASTS if identifies else None,
        "answers": found.answers + answered,
        # The first one: a case is counted there whatever share is set later.
        "arm": found.arm or ("holdout" if decision.reason is AssistantReason.HOLDOUT else "assistant"),
        "asked": IDENTITY if identifies else asks,
        "asked_reply": reply_id if decision.asks or _undoable(decision) else "",
    }
    if decision.person:
        values |= {"handler": Handler.PERSON, "state": ConversationState.WAITING}
        if found.review_by is None:  # it had been answered
            values |= {"urgency": Urgency.ROUTINE, "review_by": now + PERSON_WITHIN}
    else:
        values |= {"state": ConversationState.ANSWERED, "urgency": 0, "review_by": None}
    detail = {
        "reply_id": reply_id,
        "notification_id": notification_id,
        "template": decision.template if notification_id else "",
        "channel": found.channel,
        "understood_by": version,
    }
    return Act(_kind(decision, notification_id), values, decision.reason, detail, reads=not decision.person)


def _undoable(decision: AssistantDecision) -> bool:
    return bool(decision.follows) and decision.reason is AssistantReason.CONFIRMED


def _kind(decision: AssistantDecision, notification_id: str) -> str:
    if decision.follows:
        return EVENTS[Intent(decision.follows)]
    if decision.undoes:
        return "conversation_undone"
    return "conversation_answered" if notification_id else "conversation_handed_over"
