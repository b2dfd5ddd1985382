"""What the API answers: borrowers, holds, opt-outs, consents and suppressions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.responses.fields import NextCursor
from gateway.api.responses.notifications import EventOut
from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind
from gateway.core.states import State
from gateway.core.verdicts import VerdictKind
from gateway.policy import SharedAct


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
