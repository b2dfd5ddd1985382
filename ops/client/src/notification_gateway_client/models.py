"""Requests and answers, written by ops/client/generate from the gateway's OpenAPI document. Don't edit it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


Category = Literal["collections", "service", "promotional"] | str


HoldKind = (
    Literal[
        "dispute",
        "attorney_represented",
        "cease",
        "bankruptcy",
        "breathing_space",
        "deceased",
        "plan_in_place",
        "vulnerable",
        "mental_capacity",
        "complaint_open",
        "debt_adviser",
        "disaster",
        "bereavement",
        "wrong_party",
        "promise_to_pay",
        "payment_reported",
    ]
    | str
)


JsonValue = Any


SharedAct = Literal["approve_review", "lift_hold"] | str


State = (
    Literal[
        "accepted",
        "deferred",
        "sending",
        "sent",
        "retrying",
        "unknown",
        "review",
        "delivered",
        "undelivered",
        "suppressed",
        "failed",
        "expired",
        "cancelled",
    ]
    | str
)


SwitchKind = Literal["pause", "pin"] | str


SwitchScope = Literal["all", "tenant", "template", "channel", "provider"] | str


VerdictKind = Literal["send", "defer", "review", "suppress"] | str


WebhookOutcome = Literal["delivered", "refused", "unavailable", "unreachable", "forbidden", "gone"] | str


class AcceptedOut(_Answer):
    """A stored request. ``reason`` says why it waits or was not sent, "" where it goes out now."""

    id: str
    state: State
    reason: str
    defer_until: AwareDatetime | None
    duplicate_of: str | None
    paused: AcceptedPauseOut | None
    links: LinksOut


class AcceptedPauseOut(_Answer):
    """The pause that holds the message up, and the channels of its route that it is about."""

    scope: SwitchScope
    value: str
    reason: str
    until: AwareDatetime | None
    channels: list[str]


class AttemptOut(_Answer):
    number: int
    provider: str
    started_at: AwareDatetime
    finished_at: AwareDatetime | None
    outcome: str
    reason: str
    code: str
    provider_message_id: str


class BatchAcceptedOut(_Answer):
    """An item that was stored (202), or that was stored before under the same key (200)."""

    id: str
    state: State
    reason: str
    defer_until: AwareDatetime | None
    duplicate_of: str | None
    paused: AcceptedPauseOut | None
    links: LinksOut
    index: int
    status: Literal[200, 202]


class BatchIn(_Request):
    """Up to 1,000 notifications. A bad one is answered in its place and does not stop the others."""

    notifications: list[BatchItemIn]


class BatchItemIn(_Request):
    """A notification in a batch, which may carry its own idempotency key."""

    borrower: BorrowerIn
    case: CaseIn
    template: str
    template_version: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict)
    route: list[StepIn | str]
    category: Category | None = None
    send_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    dedup_key: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: str | None = None


class BatchOut(_Answer):
    """One result for each item, in order."""

    results: list[BatchAcceptedOut | BatchRejectedOut]
    accepted: int
    replayed: int
    rejected: int


class BatchRejectedOut(_Answer):
    """An item that was refused: a problem in its place."""

    index: int
    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorOut] = Field(default_factory=list)


class BorrowerHoldOut(_Answer):
    kind: HoldKind
    start: AwareDatetime
    end: AwareDatetime | None
    case_id: str | None
    borrower_id: str


class BorrowerIn(_Request):
    id: str
    name: str
    locale: str
    jurisdiction: str
    time_zones: list[str]
    addresses: dict[str, str]
    windows: list[tuple[str, str]] = Field(default_factory=list)
    audience: Literal["borrower", "guarantor", "related_third_party", "third_party"] = "borrower"
    confirmed: dict[str, AwareDatetime] = Field(default_factory=dict)


class BorrowerOut(_Answer):
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


class CancelledOut(_Answer):
    id: str
    state: Literal["cancelled"]


class CapOut(_Answer):
    rule: str
    pack: str
    usage: str
    reached: bool


class CaseBatchIn(_Request):
    """Up to 1,000 cases. A bad one is answered in its place and does not stop the others."""

    cases: list[CaseItemIn]


class CaseBatchOut(_Answer):
    results: list[CaseResultOut]


class CaseClosingIn(_Request):
    """Why a case is closed for good: a word of the caller's, such as ``paid``; and when, where not now."""

    reason: str
    at: AwareDatetime | None = None


class CaseClosingOut(_Answer):
    reason: str
    at: AwareDatetime


class CaseIn(_Request):
    id: str
    product: str
    due_date: date
    stage: str


class CaseItemIn(_Request):
    """One case of a batch, with any of its parts."""

    id: str
    case: CasePutIn | None = None
    payments: list[PaymentIn] = Field(default_factory=list)
    promises: list[PromiseIn] = Field(default_factory=list)
    plans: list[PlanIn] = Field(default_factory=list)
    closed: CaseClosingIn | None = None


class CaseOut(_Answer):
    id: str
    product: str
    due_date: date
    stage: str


class CasePlanOut(_Answer):
    id: str
    first_date: date


class CasePromiseOut(_Answer):
    id: str
    date: date


class CasePutIn(_Request):
    """A case as the case system has it at ``as_of``: the balance has all payments until then. ``facts`` are for
    conditions of journeys, ``variables`` for templates (such as ``pay_url``)."""

    as_of: AwareDatetime
    borrower: BorrowerIn
    product: str
    currency: str
    balance: str
    minimum_due: str
    due_date: date
    facts: dict[str, Any] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)


class CaseResultOut(_Answer):
    """A case of a batch: as for a single one, or as its problem."""

    status: int
    id: str | None = None
    ended: str | None = None
    closed: CaseClosingOut | None = None
    borrower_id: str | None = None
    as_of: AwareDatetime | None = None
    currency: str | None = None
    due_date: date | None = None
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    payments: int | None = None
    promise: CasePromiseOut | None = None
    plan: CasePlanOut | None = None
    changed: bool | None = None
    cancelled: int | None = None
    type: str | None = None
    title: str | None = None
    detail: str | None = None
    errors: list[FieldErrorOut] = Field(default_factory=list)


class CaseStateOut(_Answer):
    """What was fed of a case and what follows from it, without the borrower's name and addresses."""

    id: str
    ended: str | None
    closed: CaseClosingOut | None
    borrower_id: str | None
    as_of: AwareDatetime | None = None
    currency: str | None = None
    due_date: date | None = None
    facts: dict[str, JsonValue]
    payments: int
    promise: CasePromiseOut | None
    plan: CasePlanOut | None


class ChannelConsentOut(_Answer):
    channel: str
    category: Category


class ChosenPreferencesOut(_Answer):
    """What the borrower chose on their own page: hours, and a language tag (RFC 5646), "" for that of the
    request."""

    windows: list[list[str]]
    language: str


class ClosedCaseOut(_Answer):
    id: str
    reason: str
    cancelled: int


class ConsentIn(_Request):
    """The borrower agreed to a category of messages. ``evidence`` says where the proof is kept, not what it
    says. ``channel``: they agreed to it by this channel, as channels such as WhatsApp want it; null: to the
    category."""

    category: Category
    channel: str | None = None
    source: str
    evidence: str


class ConsentOut(_Answer):
    """``channel`` null: to the category, whatever the channel."""

    borrower_id: str
    category: Category
    channel: str | None
    source: str


class ContactIn(_Request):
    at: AwareDatetime
    channel: str
    case_id: str
    address: str


class ContactOut(_Answer):
    at: AwareDatetime
    channel: str
    case_id: str
    state: State
    notification_id: str
    delivery_id: str


class ControlEndedOut(_Answer):
    id: str
    released: int


class ControlIn(_Request):
    """What an operator stops or pins. ``value`` names the tenant, template, channel or provider; none for
    ``all``. It ends at ``until``, or when ``duration`` has passed, or when somebody ends it. It holds for the
    caller's tenant, or with ``everywhere`` for every tenant. That, and to name another tenant, takes the scope
    platform; to name the caller's own tenant takes the scope admin."""

    kind: SwitchKind = "pause"
    scope: SwitchScope
    value: str = ""
    everywhere: bool = False
    reason: str
    until: AwareDatetime | None = None
    duration: timedelta | None = None


class ControlListOut(_Answer):
    controls: list[ControlOut]


class ControlOut(_Answer):
    """A pause or a pin."""

    id: str
    kind: SwitchKind
    scope: SwitchScope
    value: str
    everywhere: bool
    reason: str
    actor: str
    since: AwareDatetime
    until: AwareDatetime | None
    ended_at: AwareDatetime | None
    ended_by: str | None


class DeadLetterListOut(_Answer):
    dead_letters: list[DeadLetterOut]
    next_cursor: str | None


class DeadLetterOut(_Answer):
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
    since: AwareDatetime


class DecisionIn(_Request):
    """A notification that is not to be sent, with facts to use in place of the ledger's."""

    borrower: BorrowerIn
    case: CaseIn
    template: str
    template_version: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict)
    route: list[StepIn | str]
    category: Category | None = None
    send_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    dedup_key: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    at: AwareDatetime | None = None
    contacts: list[ContactIn] | None = Field(default_factory=list)
    holds: list[KnownHoldIn] | None = Field(default_factory=list)
    opt_outs: list[KnownOptOutIn] | None = Field(default_factory=list)
    packs: list[str] = Field(default_factory=list)


class DecisionOut(_Answer):
    """What would be decided, with every rule behind it."""

    verdict: VerdictKind
    reason: str
    until: AwareDatetime | None
    rules: list[RuleOut]
    time_zones: list[str]
    tzdata: str
    packs: list[PackOut]


class DeliveryOut(_Answer):
    id: str
    channel: str
    step: int
    state: State
    reason: str
    attempt: int
    provider: str
    provider_message_id: str
    due_at: AwareDatetime | None
    sent_at: AwareDatetime | None
    read_at: AwareDatetime | None
    attempts: list[AttemptOut]


class EventOut(_Answer):
    at: AwareDatetime
    local_at: str
    kind: str
    state: str
    reason: str
    actor: str
    delivery_id: str | None
    detail: dict[str, JsonValue]


class FedCaseOut(_Answer):
    id: str
    ended: str | None
    closed: CaseClosingOut | None
    borrower_id: str | None
    as_of: AwareDatetime | None = None
    currency: str | None = None
    due_date: date | None = None
    facts: dict[str, JsonValue]
    payments: int
    promise: CasePromiseOut | None
    plan: CasePlanOut | None
    changed: bool
    cancelled: int


class FieldErrorOut(_Answer):
    pointer: str
    detail: str


class GiveUpIn(_Request):
    """Which failed notifications are not to be tried again."""

    ids: list[str]
    reason: str


class GiveUpOut(_Answer):
    outcomes: dict[str, int]
    dead_letters: list[GivenUpOut]


class GivenUpOut(_Answer):
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
    since: AwareDatetime
    outcome: str


class HoldIn(_Request):
    """No contact from ``start`` (now, where it is missing) to ``end`` (until lifted, where it is missing)."""

    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    case_id: str | None = None
    reason: str = ""


class HoldOut(_Answer):
    kind: HoldKind
    start: AwareDatetime
    end: AwareDatetime | None
    case_id: str | None


class KnownHoldIn(_Request):
    kind: HoldKind
    start: AwareDatetime
    end: AwareDatetime | None = None
    case_id: str | None = None


class KnownOptOutIn(_Request):
    channel: str | None = None
    address: str | None = None
    category: Category | None = None
    at: AwareDatetime | None = None


class LinksOut(_Answer):
    self: str
    cancel: str


class NotificationIn(_Request):
    """A reminder to one borrower about one case."""

    borrower: BorrowerIn
    case: CaseIn
    template: str
    template_version: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict)
    route: list[StepIn | str]
    category: Category | None = None
    send_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    dedup_key: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class NotificationListOut(_Answer):
    notifications: list[NotificationSummaryOut]
    next_cursor: str | None


class NotificationOut(_Answer):
    """One notification with all that happened with it."""

    id: str
    state: State
    reason: str
    defer_until: AwareDatetime | None
    duplicate_of: str | None
    template: str
    template_version: str
    borrower_id: str
    case_id: str
    stage: str
    category: Category
    accepted_at: AwareDatetime
    expires_at: AwareDatetime | None
    updated_at: AwareDatetime
    case: CaseOut
    verdict: VerdictOut | None
    deliveries: list[DeliveryOut]
    events: list[EventOut]


class NotificationSummaryOut(_Answer):
    id: str
    state: State
    reason: str
    defer_until: AwareDatetime | None
    duplicate_of: str | None
    template: str
    template_version: str
    borrower_id: str
    case_id: str
    stage: str
    category: Category
    accepted_at: AwareDatetime
    expires_at: AwareDatetime | None
    updated_at: AwareDatetime


class OptOutIn(_Request):
    """The borrower said no to an address, to a channel (no address), or to everything (no channel either).
    ``evidence`` says where the proof is kept, not what it says."""

    channel: str | None = None
    address: str | None = None
    source: str
    evidence: str = ""


class OptOutOut(_Answer):
    """``provisional``: it waits for a person to read the borrower's reply."""

    id: str
    at: AwareDatetime
    channel: str | None
    address_digest: str | None
    category: Category | None
    provisional: bool
    source: str
    evidence: str


class OptOutRecordedOut(_Answer):
    id: str
    borrower_id: str
    channel: str | None
    source: str


class OptedOutAddressOut(_Answer):
    channel: str
    address_digest: str
    at: AwareDatetime
    source: str


class OutlookOut(_Answer):
    """``next_permitted`` is null where waiting alone does not help."""

    verdict: VerdictKind
    reason: str
    next_permitted: AwareDatetime | None
    caps: list[CapOut]


class PackOut(_Answer):
    name: str
    version: str
    sha256: str


class PaymentIn(_Request):
    """Money that came in. The same id again is the same payment."""

    id: str
    amount: str
    at: AwareDatetime


class PlanIn(_Request):
    """Instalments that were agreed; with ``ended_at`` they no longer are in place."""

    id: str
    instalment: str
    instalments: int
    first_date: date
    agreed_at: AwareDatetime
    ended_at: AwareDatetime | None = None


class PreferencesOut(_Answer):
    """What the latest request said of the borrower."""

    locale: str
    jurisdiction: str
    time_zones: list[str]
    windows: list[list[str]]
    category: Category
    notification_id: str


class ProblemOut(_Answer):
    """An error (RFC 9457). Some types have members of their own."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldErrorOut] = Field(default_factory=list)
    violated_policies: list[str] = Field(default_factory=list, alias="violated-policies")
    current: dict[str, JsonValue] = Field(default_factory=dict)
    findings: list[dict[str, JsonValue]] = Field(default_factory=list)
    consequences: list[dict[str, JsonValue]] = Field(default_factory=list)


class PromiseIn(_Request):
    """The borrower promised to pay ``amount`` by ``date``. Collections wait until then."""

    id: str
    amount: str
    date: date
    made_at: AwareDatetime


class ProposalOut(_Answer):
    """An act that waits for a second person. ``target``: the review's id, or the kind of the hold."""

    act: SharedAct
    target: str
    reason: str
    actor: str
    at: AwareDatetime


class ProviderTemplateCallOut(_Answer):
    """A provider's own template as it was called: the provider renders it with these parameters."""

    reference: str
    language: str
    parameters: list[TemplateParameterOut]


class RecordedRuleOut(_Answer):
    rule: str
    pack: str
    version: str
    authority: str
    verdict: VerdictKind
    reason: str
    until: AwareDatetime | None
    detail: str


class RedriveIn(_Request):
    """Which failed notifications are to be tried again: these ids, or all that the filters find."""

    ids: list[str] = Field(default_factory=list)
    filter_reason: str = ""
    channel: str | None = None
    template: str = ""
    reason: str
    dry_run: bool = False


class RedriveOut(_Answer):
    dry_run: bool
    outcomes: dict[str, int]
    dead_letters: list[RedrivenOut]


class RedrivenOut(_Answer):
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
    since: AwareDatetime
    outcome: str


class RefusalIn(_Request):
    """``borrower_id``: whom an unverified report is about; other reviews have a borrower, and take none."""

    reason: str
    borrower_id: str | None = None


class ReplayIn(_Request):
    """Which messages to send again: these, or those since an instant; without ``all``, only those never
    delivered."""

    ids: list[str] = Field(default_factory=list)
    since: AwareDatetime | None = None
    all: bool = False


class ReplayedOut(_Answer):
    id: str
    replayed: int


class ReplyOut(_Answer):
    id: str
    at: AwareDatetime
    channel: str
    intent: str
    text: str


class ReviewIn(_Request):
    """Why a reviewer decided so; kept as evidence."""

    reason: str


class ReviewItemOut(_Answer):
    """A delivery, a reply or an unverified report (both have ``text``) that waits for a person. ``review_by``:
    until when a reply is to be read. Nobody knows of a report whom it is about: its ids are empty."""

    id: str
    kind: Literal["delivery", "reply", "report"]
    reason: str
    urgency: Literal["now", "today", "routine"]
    review_by: AwareDatetime | None
    since: AwareDatetime
    notification_id: str
    borrower_id: str
    case_id: str
    channel: str
    remedy: str
    text: str | None


class ReviewListOut(_Answer):
    reviews: list[ReviewItemOut]
    next_cursor: str | None


class ReviewOriginalOut(_Answer):
    """``mail``: the mail that a report is, in base64."""

    id: str
    mail: str


class ReviewedOut(_Answer):
    id: str
    decision: Literal["approved", "refused"]


class RuleOut(_Answer):
    rule: str
    pack: str
    version: str
    authority: str
    verdict: VerdictKind
    reason: str
    until: AwareDatetime | None


class SentMessageOut(_Answer):
    """The words of one attempt, exactly as they were handed over."""

    delivery_id: str
    step: int
    channel: str
    attempt: int
    provider: str
    started_at: AwareDatetime
    outcome: str
    template: str
    template_version: str
    erased: bool
    text: str
    subject: str
    html: str
    provider_template: ProviderTemplateCallOut | None


class SentMessagesOut(_Answer):
    notification_id: str
    messages: list[SentMessageOut]


class StepIn(_Request):
    """One channel of a route; a plain name stands for an object with that channel."""

    channel: str
    wait: timedelta | None = None
    until: Literal["sent", "delivered", "read"] = "delivered"


class SuppressionIn(_Request):
    """An address that must not be used for anybody (``reason``), or that may be used again (no reason)."""

    channel: str
    address: str
    reason: str = ""


class SuppressionListOut(_Answer):
    suppressions: list[SuppressionOut]
    next_cursor: str | None


class SuppressionOut(_Answer):
    """An address that is used for nobody, by its keyed digest."""

    channel: str
    address_digest: str
    suppressed: str | None
    suppressed_at: AwareDatetime | None
    opted_out_at: AwareDatetime | None
    opt_out_source: str | None


class SuppressionSetOut(_Answer):
    channel: str
    suppressed: bool
    reason: str


class TemplateParameterOut(_Answer):
    name: str
    value: str


class TimelineEventOut(_Answer):
    at: AwareDatetime
    local_at: str
    kind: str
    state: str
    reason: str
    actor: str
    delivery_id: str | None
    detail: dict[str, JsonValue]
    seq: int
    notification_id: str | None
    channel: str | None


class TimelineOut(_Answer):
    borrower_id: str
    events: list[TimelineEventOut]
    next_cursor: str | None


class VerdictOut(_Answer):
    """What was decided, with every rule behind it. ``valid_until``: a provider must not deliver later."""

    verdict: VerdictKind
    reason: str
    until: AwareDatetime | None
    valid_until: AwareDatetime | None
    rules: list[RecordedRuleOut]
    time_zones: list[str]
    tzdata: str
    packs: list[PackOut]


class WebhookEndpointIn(_Request):
    """An endpoint, and the types of the events that it gets from now on; no types: all of them."""

    url: str
    types: list[str] = Field(default_factory=list)


class WebhookEndpointListOut(_Answer):
    webhook_endpoints: list[WebhookEndpointOut]


class WebhookEndpointOut(_Answer):
    id: str
    url: str
    types: list[str]
    created_at: AwareDatetime
    disabled_at: AwareDatetime | None
    disabled_reason: str | None
    previous_secret_until: AwareDatetime | None
    last_sequence: int


class WebhookMessageListOut(_Answer):
    messages: list[WebhookMessageOut]
    next_cursor: str | None


class WebhookMessageOut(_Answer):
    """A message of the delivery log, with the outcome of its last attempt."""

    id: str
    sequence: int
    type: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: AwareDatetime
    attempted_at: AwareDatetime | None
    outcome: WebhookOutcome | None
    status: int | None
    next_attempt_at: AwareDatetime | None
    body: Any


class WebhookSecretOut(_Answer):
    """An endpoint with its secret, which is shown this once."""

    id: str
    url: str
    types: list[str]
    created_at: AwareDatetime
    disabled_at: AwareDatetime | None
    disabled_reason: str | None
    previous_secret_until: AwareDatetime | None
    last_sequence: int
    secret: str
