"""What the API answers: notifications, their deliveries and the words that were sent."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.api.responses.fields import Details, NextCursor
from gateway.api.responses.problems import FieldErrorOut
from gateway.core.controls import SwitchScope
from gateway.core.notifications import Category
from gateway.core.states import State
from gateway.core.verdicts import VerdictKind


class LinksOut(BaseModel):
    self: str
    cancel: str


class AcceptedPauseOut(BaseModel):
    """The pause that holds the message up, and the channels of its route that it is about."""

    scope: SwitchScope
    value: str
    reason: str
    until: datetime | None
    channels: list[str]


class AcceptedOut(BaseModel):
    """A stored request. ``reason`` says why it waits or was not sent, "" where it goes out now."""

    id: str
    state: State
    reason: str
    defer_until: datetime | None
    duplicate_of: str | None
    paused: AcceptedPauseOut | None
    links: LinksOut


class BatchAcceptedOut(AcceptedOut):
    """An item that was stored (202), or that was stored before under the same key (200)."""

    index: int
    status: Literal[200, 202]


class BatchRejectedOut(BaseModel):
    """An item that was refused: a problem in its place."""

    index: int
    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    errors: list[FieldErrorOut] = []


class BatchOut(BaseModel):
    """One result for each item, in order."""

    results: list[BatchAcceptedOut | BatchRejectedOut]
    accepted: int
    replayed: int
    rejected: int


class NotificationSummaryOut(BaseModel):
    id: str
    state: State
    reason: str
    defer_until: datetime | None
    duplicate_of: str | None
    template: str
    template_version: str
    borrower_id: str
    case_id: str
    stage: str
    category: Category
    accepted_at: datetime
    expires_at: datetime | None
    updated_at: datetime


class NotificationListOut(BaseModel):
    notifications: list[NotificationSummaryOut]
    next_cursor: NextCursor


class CaseOut(BaseModel):
    id: str
    product: str
    due_date: date
    stage: str


class PackOut(BaseModel):
    name: str
    version: str
    sha256: str


class RuleOut(BaseModel):
    rule: str
    pack: str
    version: str
    authority: str
    verdict: VerdictKind
    reason: str
    until: datetime | None


class RecordedRuleOut(RuleOut):
    detail: str


class DecisionOut(BaseModel):
    """What would be decided, with every rule behind it."""

    verdict: VerdictKind
    reason: str
    until: datetime | None
    rules: list[RuleOut]
    time_zones: list[str]
    tzdata: str
    packs: list[PackOut]


class VerdictOut(BaseModel):
    """What was decided, with every rule behind it. ``valid_until``: a provider must not deliver later."""

    verdict: VerdictKind
    reason: str
    until: datetime | None
    valid_until: datetime | None
    rules: list[RecordedRuleOut]
    time_zones: list[str]
    tzdata: str
    packs: list[PackOut]


class AttemptOut(BaseModel):
    number: int
    provider: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    reason: str
    code: str
    provider_message_id: str


class DeliveryOut(BaseModel):
    id: str
    channel: str
    step: int
    state: State
    reason: str
    attempt: int
    provider: str
    provider_message_id: str
    due_at: datetime | None
    sent_at: datetime | None
    read_at: datetime | None
    attempts: list[AttemptOut]


class EventOut(BaseModel):
    at: datetime
    local_at: Annotated[str, Field(description='The borrower\'s local time, "" where no zone is known.')]
    kind: str
    state: str
    reason: str
    actor: str
    delivery_id: str | None
    detail: Details


class NotificationOut(NotificationSummaryOut):
    """One notification with all that happened with it."""

    case: CaseOut
    verdict: VerdictOut | None
    deliveries: list[DeliveryOut]
    events: list[EventOut]


class TemplateParameterOut(BaseModel):
    name: str
    value: str


class ProviderTemplateCallOut(BaseModel):
    """A provider's own template as it was called: the provider renders it with these parameters."""

    reference: str
    language: str
    parameters: list[TemplateParameterOut]


class SentMessageOut(BaseModel):
    """The words of one attempt, exactly as they were handed over."""

    delivery_id: str
    step: int
    channel: str
    attempt: int
    provider: str
    started_at: datetime
    outcome: Annotated[str, Field(description="started, accepted, transient, permanent or unknown.")]
    template: str
    template_version: str
    erased: Annotated[bool, Field(description="The words were removed, or the attempt is older than their record.")]
    text: Annotated[str, Field(description="With provider_template: what that template says; it is not sent itself.")]
    subject: str
    html: str
    provider_template: ProviderTemplateCallOut | None


class SentMessagesOut(BaseModel):
    notification_id: str
    messages: list[SentMessageOut]


class CancelledOut(BaseModel):
    id: str
    state: Literal["cancelled"]
