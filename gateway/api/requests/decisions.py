"""What callers send to have a decision made without a message: a notification, and facts in place of the ledger's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.api.requests.fields import Address, Channel, Identifier, Instant, Label, RequestModel
from gateway.api.requests.notifications import NotificationIn
from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind


class ContactIn(RequestModel):
    at: Instant
    channel: Channel
    case_id: Identifier
    address: Address


class KnownHoldIn(RequestModel):
    kind: HoldKind
    start: Instant
    end: Instant | None = None
    case_id: Identifier | None = None


class KnownOptOutIn(RequestModel):
    channel: Channel | None = None
    address: Address | None = None
    category: Category | None = None
    at: Instant | None = None


class DecisionIn(NotificationIn):
    """A notification that is not to be sent, with facts to use in place of the ledger's."""

    at: Instant | None = None
    contacts: Annotated[list[ContactIn], Field(max_length=1000)] | None = None
    holds: Annotated[list[KnownHoldIn], Field(max_length=100)] | None = None
    opt_outs: Annotated[list[KnownOptOutIn], Field(max_length=100)] | None = None
    packs: Annotated[list[Label], Field(max_length=20)] = []  # by name, in place of the jurisdiction's
