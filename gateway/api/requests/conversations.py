"""What callers send and get of conversations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.api.requests.fields import RequestModel, Text, example
from gateway.api.responses.fields import NextCursor
from gateway.borrowers.linked_messages import LONGEST_REPLY
from gateway.conversations.free_text import LONGEST
from gateway.core.conversations import ConversationOutcome, ConversationState, Handler
from gateway.core.reasons import Intent
from gateway.core.states import State

_TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class ConversationAnswerIn(RequestModel):
    """A person's answer: ``text``, their own words, or ``template``, a published one without variables.

    ``revision`` is that of the conversation as they have read it.
    """

    model_config = example(revision=3, text="Thank you, I will look into it.")

    revision: Annotated[int, Field(ge=0, le=1_000_000_000)]
    text: Annotated[Text, Field(max_length=LONGEST)] = ""
    template: _TemplateName | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.text.strip()) == bool(self.template):
            raise PydanticCustomError("text", "give text or template, and not both")
        return self


class InboxReplyIn(RequestModel):
    """What a borrower writes in the lender's app. ``id`` is the app's own: the same one again is the same reply."""

    model_config = example(id="b1f6", text="When is it due?")

    id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")]
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_REPLY)]


class ConversationCloseIn(RequestModel):
    """How it ended, and why; kept as evidence."""

    model_config = example(outcome="answered", reason="The question was answered by telephone.")

    outcome: ConversationOutcome
    reason: Annotated[Text, Field(min_length=3, max_length=500)]


class ConversationOut(BaseModel):
    """``claimed_by``: the actor who answers it now.

    ``awaits_confirmation``: the intent that was read back, or ``identity``: a link or code was sent.
    """

    id: str
    borrower_id: str
    case_id: str
    state: ConversationState
    handler: Handler
    channel: str
    revision: int
    replied_at: datetime
    intent: Intent
    urgency: Literal["none", "routine", "today", "now"]
    review_by: datetime | None
    claimed_by: str
    claimed_until: datetime | None
    awaits_confirmation: str
    verified: bool
    opened_at: datetime
    closed_at: datetime | None
    outcome: str


class ConversationListOut(BaseModel):
    conversations: list[ConversationOut]
    next_cursor: NextCursor


class ConversationEntryOut(BaseModel):
    """A reply (``kind`` reply, with the address that it came from), an answer, or an act. Words may be erased."""

    kind: str
    id: str
    at: datetime
    by: str
    channel: str
    address: str
    text: str
    intents: list[str]
    reason: str
    template: str
    notification_id: str
    state: str


class ConversationWithEntriesOut(ConversationOut):
    entries: list[ConversationEntryOut]


class ConversationAnswerOut(BaseModel):
    """The answer as a notification: its state, and until when it waits."""

    conversation: ConversationOut
    notification_id: str
    state: State
    reason: str
    defer_until: datetime | None


class ObservedShareOut(BaseModel):
    """``hits`` of ``of``, with the bounds of the 95 % interval; ``value`` is null where there is nothing to count."""

    hits: int
    of: int
    value: float | None
    low: float
    high: float


class AssistantArmOut(BaseModel):
    """Conversations of one arm. The shares overlap: a borrower may have complained and paid."""

    arm: Literal["assistant", "holdout"]
    conversations: int
    paid: ObservedShareOut
    complained: ObservedShareOut
    stopped: ObservedShareOut
    wanted_a_person: ObservedShareOut
    opted_out: ObservedShareOut


class AssistantReportOut(BaseModel):
    lines: list[AssistantArmOut]
