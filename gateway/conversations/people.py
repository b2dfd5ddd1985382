"""What people do in conversations: claim, answer, give back, hand back to the assistant, close.

An answer goes through ``accept`` as every contact does, so the policy may have it wait or refuse it, and says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.conversations.conversation import (
    CLAIM_LASTS,
    Conversation,
    ConversationConflict,
    ConversationRefusal,
    check_claimable,
    check_holder,
    check_unchanged,
)
from gateway.conversations.free_text import FreeTextLint, WordFinding
from gateway.conversations.origin import Origins
from gateway.conversations.requests import PERSONS_TEMPLATE, answer_request, person_key
from gateway.conversations.store import Act, ConversationStore
from gateway.core.clock import Clock
from gateway.core.conversations import ConversationOutcome, ConversationState, Handler
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest
from gateway.core.states import PENDING_STATES

Accept = Callable[[str, Sequence[NotificationRequest], str], Awaitable[Sequence[AcceptResult | RejectedRequest]]]

_NOBODY: Mapping[str, Any] = {"holder": "", "held_until": None}
_DONE: Mapping[str, Any] = {"urgency": 0, "review_by": None, "due_at": None}


class NoOrigin(Exception):
    """The message that the borrower replied to is gone or erased: there is no address to answer to."""


class AnswerRefused(Exception):
    """An answer was not taken: for words in it, because ``accept`` rejects it, or by the policy's verdict."""

    def __init__(
        self,
        findings: Sequence[WordFinding] = (),
        rejected: RejectedRequest | None = None,
        verdict: AcceptResult | None = None,
    ) -> None:
        super().__init__("an answer was not taken")
        self.findings = findings
        self.rejected = rejected
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """What a person answers: their own words, or a published template. ``revision``: of what they have read."""

    revision: int
    text: str = ""
    template: str = ""


class ConversationDesk:
    """Acts of persons. ``actor`` is who, as in every event. Raises NoSuchConversation, ConversationConflict."""

    def __init__(
        self, store: ConversationStore, origins: Origins, accept: Accept, lint: FreeTextLint, clock: Clock
    ) -> None:
        self._store = store
        self._origins = origins
        self._accept = accept
        self._lint = lint
        self._clock = clock

    async def claim(self, tenant: str, identifier: str, actor: str) -> Conversation:
        """Keep others, and the assistant, from answering for a quarter of an hour; again: from now on."""

        def decide(found: Conversation, now: datetime) -> Act:
            check_claimable(found, actor, now)
            values = {"holder": actor, "held_until": now + CLAIM_LASTS, "handler": Handler.PERSON, "due_at": None}
            return Act("conversation_claimed", values)

        return await self._store.act(tenant, identifier, actor, decide)

    async def release(self, tenant: str, identifier: str, actor: str) -> Conversation:
        """Let others answer. It stays with persons."""

        def decide(found: Conversation, now: datetime) -> Act:
            check_holder(found, actor, now)
            return Act("conversation_released", _NOBODY)

        return await self._store.act(tenant, identifier, actor, decide)

    async def hand_back(self, tenant: str, identifier: str, actor: str) -> Conversation:
        """Nothing waits for a person any more, and the assistant may answer the next reply."""

        def decide(found: Conversation, now: datetime) -> Act:
            check_holder(found, actor, now)
            values = {"state": ConversationState.ANSWERED, "handler": Handler.ASSISTANT, "answers": 0, "asked": ""}
            return Act("conversation_handed_back", {**values, **_NOBODY, **_DONE}, reads=True)

        return await self._store.act(tenant, identifier, actor, decide)

    async def close(
        self, tenant: str, identifier: str, actor: str, outcome: ConversationOutcome, reason: str
    ) -> Conversation:
        """End it. Another reply begins it anew."""

        def decide(found: Conversation, now: datetime) -> Act:
            check_holder(found, actor, now)
            values = {"state": ConversationState.CLOSED, "outcome": outcome, "closed_at": now, "asked": ""}
            return Act("conversation_closed", {**values, **_NOBODY, **_DONE}, outcome, {"why": reason}, reads=True)

        return await self._store.act(tenant, identifier, actor, decide)

    async def answer(
        self, tenant: str, identifier: str, actor: str, given: PersonAnswer
    ) -> tuple[Conversation, AcceptResult]:
        """Answer, and stay its holder. Raises AnswerRefused, NoOrigin besides; then nothing was sent."""
        now = self._clock()
        found = await self._store.find(tenant, identifier)
        check_holder(found, actor, now)
        check_unchanged(found, given.revision)
        latest = await self._origins.of(found)
        if latest is None:
            raise NoOrigin
        findings = self._lint(given.text, latest.borrower.locale)
        if any(each.level == "error" for each in findings):
            raise AnswerRefused(findings)
        variables = {"text": given.text} if given.text else {}
        template = PERSONS_TEMPLATE if given.text else given.template
        request = answer_request(found, latest, person_key(found), template, variables, now)
        [result] = await self._accept(tenant, [request], actor)
        if isinstance(result, RejectedRequest):
            raise AnswerRefused(rejected=result)
        after = await self._answered(found, actor, template, result)
        if result.outcome == "conflict":  # another answer to the same state was accepted first
            raise ConversationConflict(ConversationRefusal.CHANGED)
        if _stopped(result):
            raise AnswerRefused(verdict=result)
        return after, result

    async def _answered(self, seen: Conversation, actor: str, template: str, result: AcceptResult) -> Conversation:
        """Record the answer; a reply that came while it was being accepted waits on."""

        def decide(found: Conversation, now: datetime) -> Act | None:
            if result.outcome != "created" and found.revision != seen.revision:
                return None  # it is recorded already
            detail = {"notification_id": result.id, "template": template, "channel": seen.channel}
            kept = {"holder": actor, "held_until": now + CLAIM_LASTS}
            if _stopped(result):
                return Act("conversation_answer_stopped", kept, result.reason, detail)
            values: dict[str, Any] = {**kept, "handler": Handler.PERSON, "answers": 0, "asked": ""}
            newer = found.reply_id != seen.reply_id
            if not newer:
                values |= {"state": ConversationState.ANSWERED, **_DONE}
            return Act("conversation_answered", values, result.reason, detail, reads=not newer)

        return await self._store.act(seen.tenant, seen.id, actor, decide)


def _stopped(result: AcceptResult) -> bool:
    """Whether the policy refuses the contact. One that waits (for hours, a gap, a review) was answered."""
    return result.outcome == "created" and result.state not in PENDING_STATES
