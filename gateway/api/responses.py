"""What the API answers: one model for each body, for the OpenAPI document alone.

Answers are built as plain objects where they are read (gateway/storage/reads.py and others), and are not validated
when they are sent: that would cost more than to build them. tests/e2e/test_api_schema.py compares them.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind
from gateway.core.states import State, WebhookOutcome
from gateway.core.verdicts import VerdictKind
from gateway.policy import SharedAct

Details = Annotated[dict[str, JsonValue], Field(description="Depends on the kind.")]
NextCursor = Annotated[str | None, Field(description="The cursor of the next page; null on the last one.")]


# ── problems ────────────────────────────────────────────────────────────────────────────────────────────────


class FieldErrorOut(BaseModel):
    pointer: Annotated[str, Field(description="RFC 6901, in the body; /query, /path and /header for parameters.")]
    detail: Annotated[str, Field(description="What is wrong with it, and the remedy.")]


class ProblemOut(BaseModel):
    """An error (RFC 9457). Some types have members of their own."""

    type: Annotated[str, Field(description="/problems/<word>; open it for the remedy.")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    request_id: str
    errors: Annotated[list[FieldErrorOut], Field(description="At most 50.")] = []
    violated_policies: Annotated[
        list[str], Field(alias="violated-policies", description="quota_exceeded: the limits.")
    ] = []
    current: Annotated[
        dict[str, JsonValue], Field(description="draft_exists, edited_meanwhile: the stored version with its files.")
    ] = {}
    findings: Annotated[list[dict[str, JsonValue]], Field(description="lint_errors: what the checks found.")] = []
    consequences: Annotated[
        list[dict[str, JsonValue]], Field(description="needs_confirmation: what publishing would cause.")
    ] = []


# ── notifications ───────────────────────────────────────────────────────────────────────────────────────────


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


# ── cases and borrowers ─────────────────────────────────────────────────────────────────────────────────────


class ClosedCaseOut(BaseModel):
    id: str
    reason: str
    cancelled: Annotated[int, Field(description="How many pending messages were stopped.")]


class HoldOut(BaseModel):
    kind: HoldKind
    start: datetime
    end: datetime | None
    case_id: str | None


class BorrowerHoldOut(HoldOut):
    borrower_id: str


class OptOutOut(BaseModel):
    """``provisional``: it waits for a person to read the borrower's reply."""

    id: str
    at: datetime
    channel: str | None
    address_digest: str | None
    category: Category | None
    provisional: bool
    source: str
    evidence: str


class OptedOutAddressOut(BaseModel):
    channel: str
    address_digest: str
    at: datetime
    source: str


class ReplyOut(BaseModel):
    id: str
    at: datetime
    channel: str
    intent: str
    text: str


class ContactOut(BaseModel):
    at: datetime
    channel: str
    case_id: str
    state: State
    notification_id: str
    delivery_id: str


class PreferencesOut(BaseModel):
    """What the latest request said of the borrower."""

    locale: str
    jurisdiction: str
    time_zones: list[str]
    windows: list[list[str]]
    category: Category
    notification_id: str


class ChosenPreferencesOut(BaseModel):
    """What the borrower chose on their own page: hours, and a language tag (RFC 5646), "" for that of the request."""

    windows: list[list[str]]
    language: str


class ProposalOut(BaseModel):
    """An act that waits for a second person. ``target``: the review's id, or the kind of the hold."""

    act: SharedAct
    target: str
    reason: str
    actor: str
    at: datetime


class CapOut(BaseModel):
    rule: str
    pack: str
    usage: str
    reached: bool


class OutlookOut(BaseModel):
    """``next_permitted`` is null where waiting alone does not help."""

    verdict: VerdictKind
    reason: str
    next_permitted: datetime | None
    caps: list[CapOut]


class ChannelConsentOut(BaseModel):
    channel: str
    category: Category


class BorrowerOut(BaseModel):
    """What has been said of a borrower, and when each channel may next be used."""

    id: str
    holds: list[HoldOut]
    opt_outs: list[OptOutOut]
    opted_out_addresses: list[OptedOutAddressOut]
    consents: list[Category]
    channel_consents: list[ChannelConsentOut]
    replies: list[ReplyOut]
    recent_contacts: list[ContactOut]
    preferences: PreferencesOut | None
    chosen: ChosenPreferencesOut
    proposals: list[ProposalOut]
    channels: dict[str, OutlookOut]


class TimelineEventOut(EventOut):
    seq: int
    notification_id: str | None
    channel: str | None


class TimelineOut(BaseModel):
    borrower_id: str
    events: list[TimelineEventOut]
    next_cursor: NextCursor


class OptOutRecordedOut(BaseModel):
    id: str
    borrower_id: str
    channel: str | None
    source: str


class ConsentOut(BaseModel):
    """``channel`` null: to the category, whatever the channel."""

    borrower_id: str
    category: Category
    channel: str | None
    source: str


class SuppressionOut(BaseModel):
    """An address that is used for nobody, by its keyed digest."""

    channel: str
    address_digest: str
    suppressed: Annotated[str | None, Field(description="The reason why, where the lender or a provider said so.")]
    suppressed_at: datetime | None
    opted_out_at: datetime | None
    opt_out_source: str | None


class SuppressionListOut(BaseModel):
    suppressions: list[SuppressionOut]
    next_cursor: NextCursor


class SuppressionSetOut(BaseModel):
    channel: str
    suppressed: bool
    reason: str


# ── operations ──────────────────────────────────────────────────────────────────────────────────────────────


class ReviewItemOut(BaseModel):
    """A delivery, a reply or an unverified report (both have ``text``) that waits for a person.

    ``review_by``: until when a reply is to be read. Nobody knows of a report whom it is about: its ids are empty.
    """

    id: str
    kind: Literal["delivery", "reply", "report"]
    reason: str
    urgency: Literal["now", "today", "routine"]
    review_by: datetime | None
    since: datetime
    notification_id: str
    borrower_id: str
    case_id: str
    channel: str
    remedy: str
    text: str | None


class ReviewListOut(BaseModel):
    reviews: list[ReviewItemOut]
    next_cursor: NextCursor


class ReviewOriginalOut(BaseModel):
    """``mail``: the mail that a report is, in base64."""

    id: str
    mail: str


class ReviewedOut(BaseModel):
    id: str
    decision: Literal["approved", "refused"]


class DeadLetterOut(BaseModel):
    """A delivery that failed."""

    id: str
    notification_id: str
    state: State
    reason: str
    channel: str
    provider: str
    attempt: int
    template: str
    borrower_id: str
    case_id: str
    since: datetime


class DeadLetterListOut(BaseModel):
    dead_letters: list[DeadLetterOut]
    next_cursor: NextCursor


class RedrivenOut(DeadLetterOut):
    outcome: Annotated[str, Field(description="redriven, or the reason why not.")]


class RedriveOut(BaseModel):
    dry_run: bool
    outcomes: dict[str, int]
    dead_letters: list[RedrivenOut]


class GivenUpOut(DeadLetterOut):
    outcome: Annotated[str, Field(description="given_up, or the reason why not.")]


class GiveUpOut(BaseModel):
    outcomes: dict[str, int]
    dead_letters: list[GivenUpOut]


class ControlOut(BaseModel):
    """A pause or a pin."""

    id: str
    kind: SwitchKind
    scope: SwitchScope
    value: str
    everywhere: bool
    reason: str
    actor: str
    since: datetime
    until: datetime | None
    ended_at: datetime | None
    ended_by: str | None


class ControlListOut(BaseModel):
    controls: list[ControlOut]


class ControlEndedOut(BaseModel):
    id: str
    released: Annotated[int, Field(description="How many messages are due at once.")]


class AdminActOut(BaseModel):
    seq: int
    at: datetime
    tenant: str
    actor: str
    operation: str
    target: dict[str, JsonValue]
    outcome: str
    reason: str
    request_id: str
    unrecorded: Annotated[int, Field(description="Denied acts of the same actor before it that have no entry.")] = 0
    hash: str


class AdminLogOut(BaseModel):
    entries: list[AdminActOut]
    next_cursor: NextCursor


class HealthOut(BaseModel):
    status: Literal["ok"]


class ReadinessOut(BaseModel):
    """Each check is "" where it passes, and otherwise the reason."""

    status: Literal["ready", "degraded", "not_ready"]
    checks: dict[str, str]


# ── webhooks ────────────────────────────────────────────────────────────────────────────────────────────────


class WebhookEndpointOut(BaseModel):
    id: str
    url: str
    types: list[str]
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    previous_secret_until: datetime | None
    last_sequence: int


class WebhookSecretOut(WebhookEndpointOut):
    """An endpoint with its secret, which is shown this once."""

    secret: Annotated[str, Field(description="whsec_…, for a verifier of Standard Webhooks.")]


class WebhookEndpointListOut(BaseModel):
    webhook_endpoints: list[WebhookEndpointOut]


class WebhookMessageOut(BaseModel):
    """A message of the delivery log, with the outcome of its last attempt."""

    id: str
    sequence: int
    type: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: datetime
    attempted_at: datetime | None
    outcome: WebhookOutcome | None
    status: Annotated[int | None, Field(description="The HTTP status that it was answered with.")]
    next_attempt_at: datetime | None
    body: Any


class WebhookMessageListOut(BaseModel):
    messages: list[WebhookMessageOut]
    next_cursor: NextCursor


class ReplayedOut(BaseModel):
    id: str
    replayed: int


# ── the borrower's feed ─────────────────────────────────────────────────────────────────────────────────────


class InboxItemOut(BaseModel):
    id: int
    title: str
    text: str
    at: datetime
    read_at: datetime | None
    archived_at: datetime | None


class InboxOut(BaseModel):
    items: list[InboxItemOut]
    unread_count: int
    next_cursor: NextCursor


class UnreadOut(BaseModel):
    unread_count: int


class InboxReplyOut(BaseModel):
    answer: Annotated[str, Field(description="Shown to the borrower at once; empty where nothing is to be said.")]


class ReadAllOut(UnreadOut):
    read: Annotated[int, Field(description="How many were marked read.")]
