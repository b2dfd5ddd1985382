"""Conversations: the closed lists of their states, handlers and outcomes, and what a reply changes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gateway.core.reasons import SAFETY, Intent
from gateway.core.understanding import Understanding, Urgency


class ConversationState(StrEnum):
    """``waiting``: a person has to answer, unless the assistant does; ``answered``: the borrower writes next."""

    WAITING = "waiting"
    ANSWERED = "answered"
    CLOSED = "closed"


class Handler(StrEnum):
    """Who answers the next reply. A person keeps it until they hand it back."""

    ASSISTANT = "assistant"
    PERSON = "person"


class ConversationOutcome(StrEnum):
    """How a conversation ended, as the person who closes it says."""

    ANSWERED = "answered"
    PROMISED = "promised"
    PLAN = "plan"
    PAID = "paid"
    REFERRED = "referred"  # to debt help, a specialist team or another department
    NO_CONTACT = "no_contact"  # nothing more is to be sent
    OTHER = "other"


class AssistantReason(StrEnum):
    """Why the assistant answered, or left it to a person."""

    ANSWERED = "answered"
    ASKED = "asked"
    CONFIRMED = "confirmed"
    UNDONE = "undone"
    FOR_PERSONS = "for_persons"
    TWO_ANSWERS = "two_answers"
    NO_ANSWER = "no_answer"
    NOT_VERIFIED = "not_verified"
    SLOTS_MISSING = "slots_missing"
    HOLDOUT = "holdout"
    ERASED = "erased"
    NO_LINK = "no_link"
    NOT_PERMITTED = "not_permitted"


class VerificationResult(StrEnum):
    """What became of a one-time link or code, or of an attempt with one."""

    ISSUED = "issued"
    LIMITED = "limited"  # not issued: the conversation has had as many as a day allows
    BY_LINK = "by_link"
    BY_CODE = "by_code"
    REFUSED = "refused"  # wrong, old, or used: these are answered alike


class ReplyModelResult(StrEnum):
    """What came of asking the optional language model."""

    UNDERSTOOD = "understood"
    ABSTAINED = "abstained"  # also with a word that isn't in the list
    FAILED = "failed"  # an error, or no answer in time
    NOT_ASKED = "not_asked"  # the budget is empty, or the reply too long


# No machine answers these. A rule's mere mention of them has the intent OTHER, and goes to a person too.
FOR_PERSONS = frozenset(SAFETY)
# They take effect, or are acknowledged, where they come.
_SETTLED = frozenset({Intent.STOP, Intent.START, Intent.HELP})


@dataclass(frozen=True, slots=True)
class Turn:
    """The part of a conversation that a reply changes. ``urgency`` and ``review_by`` are of what waits."""

    state: ConversationState = ConversationState.ANSWERED
    handler: Handler = Handler.ASSISTANT
    urgency: Urgency = Urgency.NONE
    review_by: datetime | None = None
    due_at: datetime | None = None
    answers: int = 0
    asked: str = ""


def after_reply(turn: Turn, said: Understanding, now: datetime) -> Turn:
    """The conversation after a reply. Whatever a person has to read waits; the assistant may be quicker.

    A reply after the closing begins anew. One that a person must answer takes the conversation from the assistant.
    """
    if said.urgency is Urgency.NONE:
        # It settles itself. What waited before it waits still, but for the assistant, who would talk past it.
        return replace(turn, due_at=None) if _SETTLED & set(said.intents) else turn
    if turn.state is ConversationState.CLOSED:
        turn = Turn()
    waits = turn.state is ConversationState.WAITING
    deadline = now + said.review_within
    serious = bool(said.holds) or not FOR_PERSONS.isdisjoint(said.intents)
    handler = Handler.PERSON if serious else turn.handler
    return Turn(
        ConversationState.WAITING,
        handler,
        max(turn.urgency, said.urgency) if waits else said.urgency,
        min(turn.review_by, deadline) if waits and turn.review_by is not None else deadline,
        now if handler is Handler.ASSISTANT else None,
        turn.answers,
        "" if serious else turn.asked,
    )
