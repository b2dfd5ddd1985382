"""A conversation as it stands, who may do what with it now, and why something can't be done. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gateway.core.codec import instant
from gateway.core.conversations import ConversationState, Handler
from gateway.core.reasons import Intent
from gateway.core.understanding import Urgency

# How long a claim keeps others out without another act of its holder: longer than a careful answer takes, and a person
# who has gone home keeps nobody waiting for long. Our choice.
CLAIM_LASTS = timedelta(minutes=15)


class ConversationRefusal(StrEnum):
    """Why an act was not done. The word is the last part of the problem's type."""

    CLAIMED = "conversation_claimed"  # somebody else holds it
    NOT_CLAIMED = "conversation_not_claimed"  # claim it first
    CHANGED = "conversation_changed"  # the borrower wrote again meanwhile, or somebody acted
    NOT_WAITING = "conversation_closed"


class ConversationConflict(Exception):
    """The conversation is not as the person saw it."""

    def __init__(self, refusal: ConversationRefusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class NoSuchConversation(Exception):
    """The tenant has no such conversation."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One borrower's conversation about one case. ``revision`` moves on with every change."""

    id: str
    tenant: str
    borrower_id: str
    case_id: str
    state: ConversationState
    handler: Handler
    channel: str
    reply_id: str
    replied_at: datetime
    intent: Intent
    urgency: Urgency
    review_by: datetime | None
    due_at: datetime | None
    holder: str
    held_until: datetime | None
    answers: int
    asked: str
    asked_reply: str
    verified_until: datetime | None
    arm: str
    revision: int
    opened_at: datetime
    closed_at: datetime | None
    outcome: str

    def held_by(self, now: datetime) -> str:
        """Who has claimed it; "" where nobody has, or the claim has lapsed."""
        return self.holder if self.held_until is not None and self.held_until > now else ""

    def verified(self, now: datetime) -> bool:
        """Whether the borrower has shown lately that it is them."""
        return self.verified_until is not None and self.verified_until > now


def conversation_of(row: Any) -> Conversation:
    """A row of the table."""
    values = dict(row._mapping)
    return Conversation(
        **{
            **values,
            "state": ConversationState(row.state),
            "handler": Handler(row.handler),
            "intent": Intent(row.intent),
            "urgency": Urgency(row.urgency),
        }
    )


def check_claimable(conversation: Conversation, actor: str, now: datetime) -> None:
    """Raises ConversationConflict where somebody else holds it, or it is closed."""
    if conversation.state is ConversationState.CLOSED:
        raise ConversationConflict(ConversationRefusal.NOT_WAITING)
    if conversation.held_by(now) not in ("", actor):
        raise ConversationConflict(ConversationRefusal.CLAIMED)


def check_holder(conversation: Conversation, actor: str, now: datetime) -> None:
    """Raises ConversationConflict unless ``actor`` holds it now."""
    check_claimable(conversation, actor, now)
    if conversation.held_by(now) != actor:
        raise ConversationConflict(ConversationRefusal.NOT_CLAIMED)


def check_unchanged(conversation: Conversation, revision: int) -> None:
    """Raises ConversationConflict where anything has happened since the person has read it."""
    if conversation.revision != revision:
        raise ConversationConflict(ConversationRefusal.CHANGED)


def conversation_view(conversation: Conversation, now: datetime) -> dict[str, Any]:
    """A conversation as the API answers it, without words."""
    return {
        "id": conversation.id,
        "borrower_id": conversation.borrower_id,
        "case_id": conversation.case_id,
        "state": conversation.state,
        "handler": conversation.handler,
        "channel": conversation.channel,
        "revision": conversation.revision,
        "replied_at": instant(conversation.replied_at),
        "intent": conversation.intent,
        "urgency": conversation.urgency.name.lower(),
        "review_by": instant(conversation.review_by),
        "claimed_by": conversation.held_by(now),
        "claimed_until": instant(conversation.held_until) if conversation.held_by(now) else None,
        "awaits_confirmation": conversation.asked,
        "verified": conversation.verified(now),
        "opened_at": instant(conversation.opened_at),
        "closed_at": instant(conversation.closed_at),
        "outcome": conversation.outcome,
    }
