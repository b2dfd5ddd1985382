"""What the assistant does about a reply: answer by a template, have something follow, or leave it to a person. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.conversations.answers import AnswerBook
from gateway.conversations.slots import ReplySlots
from gateway.core.conversations import FOR_PERSONS, AssistantReason
from gateway.core.reasons import Intent

MOST_ANSWERS = 2  # of the assistant in a row, then a person; journeys-and-replies.md C, design 5
UNDO = "undo_"  # before the intent, once it was confirmed and may be taken back
IDENTITY = "identity"  # in the intent's place: the borrower is to show first that it is them


@dataclass(frozen=True, slots=True)
class ReplySituation:
    """A reply and where its conversation stands. ``undoable``: what was confirmed may still be taken back."""

    intents: Sequence[Intent]
    text: str
    slots: ReplySlots
    asked: str
    undoable: bool
    answers: int
    verified: bool
    jurisdiction: str
    channel: str
    plan_step: bool = False  # a journey of the case can offer a plan now


@dataclass(frozen=True, slots=True)
class AssistantDecision:
    """``template``: "" for none. ``person``: a person has to read it. The others are intents, "" for none."""

    reason: AssistantReason
    template: str = ""
    link: bool = False
    code: bool = False
    person: bool = False
    asks: str = ""
    follows: str = ""
    undoes: str = ""


def decide(situation: ReplySituation, book: AnswerBook) -> AssistantDecision:
    """The order: what is for persons; what was asked; the limit of answers; the answer sets."""
    if not FOR_PERSONS.isdisjoint(situation.intents):
        return AssistantDecision(AssistantReason.FOR_PERSONS, person=True)
    asked = situation.asked
    if asked.startswith(UNDO):
        if situation.undoable and book.says_undo(situation.text):
            return AssistantDecision(AssistantReason.UNDONE, book.undone, undoes=asked.removeprefix(UNDO))
    elif asked not in ("", IDENTITY) and book.says_yes(situation.text):
        return _confirmed(situation, book)
    if situation.answers >= MOST_ANSWERS:
        return AssistantDecision(AssistantReason.TWO_ANSWERS, person=True)
    return _answered(situation, book)


def _confirmed(situation: ReplySituation, book: AnswerBook) -> AssistantDecision:
    if not situation.verified:
        return AssistantDecision(AssistantReason.NOT_VERIFIED, person=True)
    # Somebody at the lender has to enter a new address, and to offer a plan where no journey does any more.
    by_person = situation.asked == Intent.NEW_ADDRESS or (situation.asked == Intent.PLAN and not situation.plan_step)
    return AssistantDecision(AssistantReason.CONFIRMED, book.confirmed, person=by_person, follows=situation.asked)


def _answered(situation: ReplySituation, book: AnswerBook) -> AssistantDecision:
    [intent, *_] = situation.intents
    about = {"verified": situation.verified, "step": situation.plan_step}
    found = book.find(intent, situation.jurisdiction, situation.channel, **about)
    if found is None:
        return AssistantDecision(AssistantReason.NO_ANSWER, person=True)
    if found.asks and intent is Intent.PROMISE and None in (situation.slots.day, situation.slots.amount):
        return AssistantDecision(AssistantReason.SLOTS_MISSING, person=True)
    reason = AssistantReason.ASKED if found.asks else AssistantReason.ANSWERED
    asks = intent.value if found.asks else ""
    # A plan that a person offers: the case system hears of the wish.
    follows = intent.value if intent is Intent.PLAN and found.person else ""
    return AssistantDecision(reason, found.template, found.link, found.code, found.person, asks, follows)
