"""What the API answers of cases and journeys; see gateway/api/responses."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.api.responses.fields import Details, NextCursor
from gateway.api.responses.problems import FieldErrorOut
from gateway.core.states import TemplateState
from gateway.journeys.journey import JourneyState

Version = Annotated[str, Field(description="SHA-256 of the definition's text.")]


# ── cases ───────────────────────────────────────────────────────────────────────────────────────────────────


class CaseClosingOut(BaseModel):
    reason: str
    at: datetime


class CasePromiseOut(BaseModel):
    id: str
    date: date


class CasePlanOut(BaseModel):
    id: str
    first_date: date


class CaseStateOut(BaseModel):
    """What was fed of a case and what follows from it, without the borrower's name and addresses."""

    id: str
    ended: Annotated[str | None, Field(description="Why nothing is collected any more; null: something may be due.")]
    closed: CaseClosingOut | None
    borrower_id: str | None
    as_of: datetime | None = None
    currency: str | None = None
    due_date: date | None = None
    facts: Annotated[dict[str, JsonValue], Field(description="What conditions of journeys can ask for.")]
    payments: Annotated[int, Field(description="How many are known.")]
    promise: CasePromiseOut | None
    plan: CasePlanOut | None


class FedCaseOut(CaseStateOut):
    changed: Annotated[bool, Field(description="false: all of it was known.")]
    cancelled: Annotated[int, Field(description="How many pending messages were stopped.")]


class CaseResultOut(BaseModel):
    """A case of a batch: as for a single one, or as its problem."""

    status: int
    id: str | None = None
    ended: str | None = None
    closed: CaseClosingOut | None = None
    borrower_id: str | None = None
    as_of: datetime | None = None
    currency: str | None = None
    due_date: date | None = None
    facts: dict[str, JsonValue] = {}
    payments: int | None = None
    promise: CasePromiseOut | None = None
    plan: CasePlanOut | None = None
    changed: bool | None = None
    cancelled: int | None = None
    type: str | None = None
    title: str | None = None
    detail: str | None = None
    errors: list[FieldErrorOut] = []


class CaseBatchOut(BaseModel):
    results: Annotated[list[CaseResultOut], Field(description="One for each case, in their order.")]


# ── definitions ─────────────────────────────────────────────────────────────────────────────────────────────


class JourneyVersionOut(BaseModel):
    """A version of a definition, without its text."""

    name: str
    number: int
    state: TemplateState
    version: Version
    created_at: datetime
    updated_at: datetime
    editors: list[str]
    submitted_by: str | None
    approved_by: str | None
    stopped_at: datetime | None


class JourneyVersionsOut(BaseModel):
    journey_definitions: list[JourneyVersionOut]


class JourneyDefinitionOut(JourneyVersionOut):
    source: Annotated[str, Field(description="The text (TOML).")]


class JourneyPlaceOut(BaseModel):
    """How many open journeys of a version are in a state, at a step."""

    version: Version
    state: JourneyState
    step: str | None
    number: int


class LiveJourneyDefinitionOut(JourneyDefinitionOut):
    where: list[JourneyPlaceOut]


class JourneyFindingsOut(BaseModel):
    findings: list[dict[str, JsonValue]]


class ShareOut(BaseModel):
    number: int
    share: Annotated[float | None, Field(description="null: of none.")]
    interval: Annotated[list[float], Field(description="Lower and upper end, 95 % (Wilson).")]


class JourneyReportLineOut(BaseModel):
    version: Version
    number: int | None
    arm: str
    entered: int
    open: int
    exited: Annotated[dict[str, int], Field(description="By reason.")]
    contacts: int
    cured: ShareOut
    opted_out: ShareOut
    complained: ShareOut
    too_few_to_tell: bool


class JourneyReportOut(BaseModel):
    name: str
    lines: list[JourneyReportLineOut]


class NextStepOut(BaseModel):
    step: str | None
    at: datetime | None


class JourneyMoveOut(BaseModel):
    journey_id: str
    case_id: str
    before: NextStepOut
    after: NextStepOut


class JourneyMigrationOut(BaseModel):
    journeys: int
    shown: int
    changed: Annotated[int, Field(description="Of those shown, how many have another next step.")]
    missed: Annotated[int, Field(description="Changed meanwhile: run it again.")]
    rows: list[JourneyMoveOut]


# ── journeys ────────────────────────────────────────────────────────────────────────────────────────────────


class JourneyOut(BaseModel):
    id: str
    case_id: str
    borrower_id: str
    definition: str
    version: Version
    arm: str | None
    state: JourneyState
    reason: str | None
    step: str | None
    entered_at: datetime
    exited_at: datetime | None
    due_at: datetime | None


class JourneysOut(BaseModel):
    journeys: list[JourneyOut]
    next_cursor: NextCursor


class GateApprovalOut(BaseModel):
    actor: str
    at: datetime


class GateOut(BaseModel):
    step: str
    opened_at: datetime
    approvals: list[GateApprovalOut]


class JourneyMessageOut(BaseModel):
    notification_id: str
    state: str
    reason: str | None


class JourneyStepOut(BaseModel):
    step: str
    at: datetime
    result: str
    reason: str | None
    message: Annotated[JourneyMessageOut | None, Field(description="What became of its message by now.")]


class JourneyEventOut(BaseModel):
    at: datetime
    local_at: Annotated[str, Field(description='By the borrower\'s clock; "" where it is not known.')]
    kind: str
    reason: str | None
    actor: str
    detail: Details


class JourneyCourseOut(JourneyOut):
    shift_days: int
    held_by: str | None
    gate: GateOut | None
    steps: list[JourneyStepOut]
    events: list[JourneyEventOut]


class JourneyActOut(BaseModel):
    id: str
    case_id: str
    state: JourneyState
    reason: str | None
    due_at: datetime | None
    approvals: Annotated[int | None, Field(description="Of the open gate; null: there is none.")]


JourneyAct = Literal["approve", "refuse", "reopen", "pause", "resume", "end"]
