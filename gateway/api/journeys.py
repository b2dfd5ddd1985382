"""Journeys and their definitions: versions with a second person's approval, what runs, and what persons decide."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, JsonValue, StringConstraints
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Caller, Managing, Reading, needs
from gateway.api.http.openapi import body
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.fields import Identifier
from gateway.api.requests.journeys import JourneyMigrationIn, JourneySourceIn
from gateway.api.requests.operations import ReviewIn
from gateway.api.responses.journeys import (
    JourneyAct,
    JourneyActOut,
    JourneyCourseOut,
    JourneyDefinitionOut,
    JourneyFindingsOut,
    JourneyMigrationOut,
    JourneyReportOut,
    JourneysOut,
    JourneyVersionsOut,
    LiveJourneyDefinitionOut,
)
from gateway.core.codec import instant
from gateway.core.requests import FieldError
from gateway.identity.keys import Scope
from gateway.identity.users import Role
from gateway.journeys.acts import JourneyActs, NoSuchJourney
from gateway.journeys.definitions.migration import JourneyMigration
from gateway.journeys.definitions.model import BadDefinition, schema
from gateway.journeys.definitions.store import JourneyDefinitions, JourneyRefusal
from gateway.journeys.gates import GateClosed, NotAPerson, SameApprover, UnmetNeeds
from gateway.journeys.journey import Journey
from gateway.journeys.reads import JourneyReads
from gateway.journeys.report import report

router = APIRouter(tags=["journeys"])
Editing = Annotated[Caller, Depends(needs(Scope.TEMPLATES_EDIT))]
Approving = Annotated[Caller, Depends(needs(Scope.TEMPLATES_APPROVE))]
_CONFLICT: dict[int | str, Any] = {409: {"description": ""}}
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Number = Annotated[int, Field(ge=1, le=1_000_000)]
_DEFINITIONS, _ONE = "/v1/journey-definitions", "/v1/journey-definitions/{name}/{number:int}"


@router.get(_DEFINITIONS, response_model=JourneyVersionsOut)
async def list_journey_definitions(who: Reading, definitions: Uses[JourneyDefinitions]) -> Response:
    """All versions of all definitions, without their texts."""
    return bodies.answer({"journey_definitions": await definitions.listed(who.tenant)})


@router.get(f"{_DEFINITIONS}/schema", response_model=dict[str, JsonValue])
async def get_journey_schema(who: Reading) -> Response:
    """The JSON schema of a definition."""
    return bodies.answer(schema())


@router.post(f"{_DEFINITIONS}/lint", response_model=JourneyFindingsOut, openapi_extra=body(JourneySourceIn))
async def lint_journey_definition(request: Request, who: Reading, definitions: Uses[JourneyDefinitions]) -> Response:
    """The findings on a text, by this tenant's templates and the packs in force; nothing is stored."""
    given = await bodies.read_model(request, JourneySourceIn)
    found = _checked(lambda: definitions.check(who.tenant, given.source))
    return bodies.answer({"findings": [asdict(each) for each in found]})


@router.post(
    _DEFINITIONS,
    response_model=JourneyDefinitionOut,
    status_code=201,
    responses=_CONFLICT,
    openapi_extra=body(JourneySourceIn),
)
async def save_journey_definition(request: Request, who: Editing, definitions: Uses[JourneyDefinitions]) -> Response:
    """Make the text the open draft of the definition that it names."""
    given = await bodies.read_model(request, JourneySourceIn)
    try:
        return bodies.answer(await definitions.save(who.tenant, given.source, who.actor), 201)
    except BadDefinition as error:
        raise _bad(error) from None


@router.get(f"{_DEFINITIONS}/{{name}}", response_model=LiveJourneyDefinitionOut)
async def get_journey_definition(
    who: Reading, name: Name, definitions: Uses[JourneyDefinitions], reads: Uses[JourneyReads]
) -> Response:
    """The live version, else the newest, and how many of its journeys are where."""
    found = await _refusable(definitions.find(who.tenant, name))
    return bodies.answer({**found, "where": await reads.where(who.tenant, name)})


@router.post(f"{_DEFINITIONS}/{{name}}/roll-back", response_model=JourneyDefinitionOut, responses=_CONFLICT)
async def roll_back_journey_definition(who: Approving, name: Name, definitions: Uses[JourneyDefinitions]) -> Response:
    """The version before the live one is live again."""
    return bodies.answer(await _refusable(definitions.roll_back(who.tenant, name, who.actor)))


@router.get(f"{_DEFINITIONS}/{{name}}/report", response_model=JourneyReportOut)
async def get_journey_report(who: Reading, name: Name, reads: Uses[JourneyReads]) -> Response:
    """What came of it, per version and arm, with 95 % intervals."""
    numbers = {version: number for version, (number, _) in (await reads.sources(who.tenant, name)).items()}
    lines = report(await reads.report_rows(who.tenant, name, None))
    return bodies.answer({"name": name, "lines": [{**each, "number": numbers.get(each["version"])} for each in lines]})


@router.get(_ONE, response_model=JourneyDefinitionOut)
async def get_journey_version(
    who: Reading, name: Name, number: Number, definitions: Uses[JourneyDefinitions]
) -> Response:
    """One version, with its text."""
    return bodies.answer(await _refusable(definitions.find(who.tenant, name, number)))


@router.post(f"{_ONE}/submit", response_model=JourneyDefinitionOut, responses=_CONFLICT)
async def submit_journey_version(
    who: Editing, name: Name, number: Number, definitions: Uses[JourneyDefinitions]
) -> Response:
    """Give a draft to a second person; refused with the findings where it has errors."""
    return bodies.answer(await _refusable(definitions.submit(who.tenant, name, number, who.actor)))


@router.post(f"{_ONE}/approve", response_model=JourneyDefinitionOut, responses=_CONFLICT)
async def approve_journey_version(
    who: Approving, name: Name, number: Number, definitions: Uses[JourneyDefinitions]
) -> Response:
    """By somebody who neither wrote nor submitted it."""
    return bodies.answer(await _refusable(definitions.approve(who.tenant, name, number, who.actor)))


@router.post(f"{_ONE}/reject", response_model=JourneyDefinitionOut, responses=_CONFLICT)
async def reject_journey_version(
    who: Approving, name: Name, number: Number, definitions: Uses[JourneyDefinitions]
) -> Response:
    """It does not go live."""
    return bodies.answer(await _refusable(definitions.reject(who.tenant, name, number, who.actor)))


@router.post(f"{_ONE}/publish", response_model=JourneyDefinitionOut, responses=_CONFLICT)
async def publish_journey_version(
    who: Approving, name: Name, number: Number, definitions: Uses[JourneyDefinitions]
) -> Response:
    """New journeys enter by it; those under way finish on their own version."""
    return bodies.answer(await _refusable(definitions.publish(who.tenant, name, number, who.actor)))


@router.post(f"{_ONE}/stop", response_model=JourneyDefinitionOut, responses=_CONFLICT)
async def stop_journey_version(
    who: Managing, name: Name, number: Number, definitions: Uses[JourneyDefinitions]
) -> Response:
    """End every journey of the version; what is pending of them is cancelled."""
    return bodies.answer(await _refusable(definitions.stop(who.tenant, name, number, who.actor)))


@router.post(f"{_ONE}/migrate", response_model=JourneyMigrationOut, openapi_extra=body(JourneyMigrationIn))
async def migrate_journeys(
    request: Request, who: Managing, name: Name, number: Number, migration: Uses[JourneyMigration]
) -> Response:
    """Move the version's open journeys to another one; by default only each one's next step before and after."""
    given = await bodies.read_model(request, JourneyMigrationIn)
    moved = migration.migrate(who.tenant, name, number, given.to, who.actor, dry_run=given.dry_run)
    return bodies.answer(await _refusable(moved))


# ── journeys ────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("/v1/journeys", response_model=JourneysOut)
async def list_journeys(
    request: Request,
    who: Reading,
    reads: Uses[JourneyReads],
    case_id: Annotated[str, Query(max_length=128)] = "",
    definition: Annotated[str, Query(max_length=64)] = "",
    state: Literal["", "holdout", "active", "waiting", "paused", "gate", "review", "exited"] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Journeys, newest first."""
    before = cursors.decode(cursor, r"jny_[0-9a-f]{32}") or ""
    found = await reads.listed(
        who.tenant, case_id=case_id, definition=definition, state=state, limit=limit + 1, before=before
    )
    following = cursors.encode(found[limit - 1]["id"]) if len(found) > limit else None
    answer = {"journeys": found[:limit], "next_cursor": following}
    return bodies.answer(answer, headers=cursors.link(request, following))


@router.get("/v1/journeys/{journey_id}", response_model=JourneyCourseOut)
async def get_journey(who: Reading, journey_id: Identifier, reads: Uses[JourneyReads]) -> Response:
    """One journey and its course: every step, with what came of it and why."""
    found = await reads.find(who.tenant, journey_id)
    if found is None:
        raise Problem("not_found")
    return bodies.answer(found)


@router.post(
    "/v1/journeys/{journey_id}/{act}",
    response_model=JourneyActOut,
    responses=_CONFLICT,
    openapi_extra=body(ReviewIn),
)
async def decide_journey(
    request: Request,
    who: Managing,
    journey_id: Identifier,
    act: JourneyAct,
    persons: Uses[JourneyActs],
) -> Response:
    """A person's act, with the reason: on the gate (approve, refuse, reopen), or the journey (pause, resume, end).

    A gate is approved by supervisors: each on the page, or by a key that was made for that person. A key of a person's
    acts as that person. ``reopen`` also has a journey go on that was set aside, because it could not be decided.
    """
    given = await bodies.read_model(request, ReviewIn)
    role = who.key.owner_role
    if act == "approve" and role is not None and not role.may(Role.SUPERVISOR):
        raise Problem("forbidden", "The person whose key it is needs the role supervisor or compliance.")
    acts = {
        "approve": persons.approve,
        "refuse": persons.refuse,
        "reopen": persons.reopen,
        "pause": persons.pause,
        "resume": persons.resume,
        "end": persons.end,
    }
    try:
        journey = await acts[act](who.tenant, journey_id, who.key.person or who.actor, given.reason)
    except (NoSuchJourney, NotAPerson, GateClosed, SameApprover, UnmetNeeds) as error:
        raise act_problem(error) from None
    return bodies.answer(_journey(journey))


def act_problem(error: Exception) -> Problem:
    """Why a person's act is refused."""
    if isinstance(error, UnmetNeeds):
        errors = [FieldError(f"/needs/{need}", "is not met") for need in error.needs]
        return Problem("gate_needs", f"Not met: {', '.join(error.needs)}.", errors)
    if isinstance(error, NotAPerson):
        return Problem("person_needed")
    if isinstance(error, SameApprover):
        return Problem("same_approver")
    if isinstance(error, GateClosed):
        return Problem("wrong_state", "There is no open gate: it was passed, refused, or has lapsed.")
    return Problem("not_found", "There is no such journey in a state in which this is possible.")


def _journey(journey: Journey) -> dict[str, Any]:
    return {
        "id": journey.id,
        "case_id": journey.case_id,
        "state": journey.state,
        "reason": journey.reason or None,
        "due_at": instant(journey.due_at),
        "approvals": len(journey.gate.approvals) if journey.gate is not None else None,
    }


async def _refusable(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except JourneyRefusal as refusal:
        extra = {"findings": [asdict(each) for each in refusal.findings]} if refusal.findings else {}
        raise Problem(refusal.kind, str(refusal), extra=extra) from None


def _checked(work: Any) -> Any:
    try:
        return work()
    except BadDefinition as error:
        raise _bad(error) from None


def _bad(error: BadDefinition) -> Problem:
    return Problem("invalid_request", errors=[FieldError("/source", str(error)[:300])])
