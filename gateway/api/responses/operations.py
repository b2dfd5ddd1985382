"""What the API answers: reviews, dead letters, controls, the administrators' log, health."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.api.responses.fields import NextCursor
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.states import State


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
