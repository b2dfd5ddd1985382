"""``/journeys``: definitions as drawings with how many journeys are where, a case's course, and what persons decide."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import Uses
from gateway.core.journey_events import JourneyReview
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.journeys.acts import JourneyActs, NoSuchJourney
from gateway.journeys.cases.instalments import rule_id
from gateway.journeys.definitions.model import parse
from gateway.journeys.definitions.store import JourneyDefinitions, JourneyRefusal
from gateway.journeys.gates import GateClosed, SameApprover, UnmetNeeds
from gateway.journeys.reads import JourneyReads
from gateway.web.access import PageRoute, authenticated_form, display_names, message, pages_of, require_role
from gateway.web.journeys.drawing import draw
from gateway.web.page import headers

router = APIRouter(prefix="/journeys", route_class=PageRoute, include_in_schema=False)

# Who decides on a case's journey: supervisors at the desk, and who approves definitions.
_DECIDE = (Role.SUPERVISOR, Role.APPROVER)
# A gate takes two people, and who works in both ladders of roles has two accounts: one ladder alone approves.
_APPROVE = (Role.SUPERVISOR,)
_SHOWN = 50  # journeys on a page; our choice
_LEAST_REASON, _LONGEST_REASON = 3, 500  # as the API's
_ACTS = {
    "gate": ("approve", "refuse", "pause", "end"),
    "review": ("reopen", "end"),
    "paused": ("resume", "end"),
    "exited": (),
}


@router.get("")
async def show_all(
    request: Request,
    definitions: Uses[JourneyDefinitions],
    reads: Uses[JourneyReads],
    session: Session = Depends(require_role()),
) -> Response:
    """Every definition, and the journeys that wait for a person."""
    tenant = session.user.tenant
    names: dict[str, dict[str, Any]] = {}
    for each in await definitions.listed(tenant):
        if each["name"] not in names or each["state"] == "published":
            names[each["name"]] = each
    waiting = [each for state in ("gate", "review") for each in await reads.listed(tenant, state=state, limit=_SHOWN)]
    values = {"session": session, "definitions": list(names.values()), "waiting": waiting}
    return pages_of(request).respond(request, "journeys.html", values)


@router.get("/course/{journey_id}")
async def show_course(
    request: Request,
    journey_id: str,
    reads: Uses[JourneyReads],
    persons: Uses[JourneyActs],
    session: Session = Depends(require_role()),
) -> Response:
    """One journey: its course in sentences, what its gate needs, and what may be decided now."""
    found = await reads.find(session.user.tenant, journey_id)
    if found is None:
        return await message(request, 404, "nothing_here")
    may = any(session.user.role.may(each) for each in _DECIDE)
    acts = _ACTS.get(found["state"], ("pause", "end")) if may else ()
    if not any(session.user.role.may(each) for each in _APPROVE):
        acts = tuple(each for each in acts if each != "approve")
    acts = tuple(each for each in acts if each != "resume" or found["held_by"])
    who = await display_names(request, session)
    label = {
        each: "take_up" if each == "reopen" and found["reason"] != JourneyReview.GATE_LAPSED else each for each in acts
    }
    gate = await persons.gate(session.user.tenant, journey_id) if found["gate"] else None
    messages = {each["step"]: each["message"] for each in found["steps"]}
    values = {"session": session, "journey": found, "gate": gate, "acts": label, "who": who, "sentence": _sentence_key}
    values["messages"] = messages
    return pages_of(request).respond(request, "journey_course.html", values)


@router.get("/{name}")
async def show_definition(
    request: Request,
    name: str,
    definitions: Uses[JourneyDefinitions],
    reads: Uses[JourneyReads],
    session: Session = Depends(require_role()),
) -> Response:
    """One definition as a drawing, and its latest journeys."""
    tenant = session.user.tenant
    try:
        found = await definitions.find(tenant, name)
    except JourneyRefusal:
        return await message(request, 404, "nothing_here")
    where = await reads.where(tenant, name)
    counts: dict[str, int] = {}
    for each in where:
        step = rule_id(each["step"] or "")
        counts[step] = counts.get(step, 0) + each["number"]
    definition = parse(found["source"])
    texts = pages_of(request).texts(request)
    spoken = texts("journey_drawing", name=definition.title or name, steps=len(definition.steps))
    values = {
        "session": session,
        "found": found,
        "drawing": draw(definition, counts, spoken),
        "open": sum(counts.values()),
        "states": _by_state(where),
        "journeys": await reads.listed(tenant, definition=name, limit=_SHOWN),
    }
    return pages_of(request).respond(request, "journey_definition.html", values)


@router.post("/course/{journey_id}/{act}")
async def decide(
    request: Request,
    journey_id: str,
    act: Literal["approve", "refuse", "reopen", "pause", "resume", "end"],
    persons: Uses[JourneyActs],
) -> Response:
    """A person's act, with the reason."""
    session, form = await authenticated_form(request, *(_APPROVE if act == "approve" else _DECIDE))
    reason = form.get("reason", "").strip()
    if not _LEAST_REASON <= len(reason) <= _LONGEST_REASON or "\x00" in reason:
        return await message(request, 422, "journey_reason_missing")
    acts = {
        "approve": persons.approve,
        "refuse": persons.refuse,
        "reopen": persons.reopen,
        "pause": persons.pause,
        "resume": persons.resume,
        "end": persons.end,
    }
    try:
        await acts[act](session.user.tenant, journey_id, session.user.actor, reason)
    except UnmetNeeds as unmet:
        texts = pages_of(request).texts(request)
        words = texts("journey_needs", needs="; ".join(texts(f"journey_need_{each}") for each in unmet.needs))
        return await message(request, 422, "journey_needs_unmet", words)
    except SameApprover:
        return await message(request, 409, "journey_same_approver")
    except (GateClosed, NoSuchJourney):
        return await message(request, 409, "journey_not_possible")
    return RedirectResponse(f"/journeys/course/{journey_id}", 303, headers())


def _sentence_key(kind: str) -> str:
    """The key of the sentence for an event's kind."""
    return f"course_{kind.replace('.', '_')}"


def _by_state(where: list[dict[str, Any]]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for each in where:
        found[each["state"]] = found.get(each["state"], 0) + each["number"]
    return sorted(found.items())
