"""Dead letters: notifications that failed, trying them again, and giving them up."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, Reading
from gateway.api.http.openapi import body
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.operations import GiveUpIn, RedriveIn
from gateway.api.responses.operations import DeadLetterListOut, GiveUpOut, RedriveOut
from gateway.core.requests import FieldError
from gateway.operations.dead_letters import DeadLetterFilter, DeadLetters

router = APIRouter(prefix="/v1/dead-letters", tags=["dead-letters"])

Word = Query(max_length=40, pattern="^[a-z_]+$")


@router.get("", response_model=DeadLetterListOut)
async def list_dead_letters(
    request: Request,
    who: Reading,
    letters: Uses[DeadLetters],
    reason: Annotated[str | None, Word] = None,
    channel: Annotated[str | None, Word] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Notifications that stand at ``failed``, the oldest first, each with its reason."""
    after = cursors.decode(cursor, r"ntf_[0-9a-f]{32}") or ""
    which = DeadLetterFilter(reason=reason or "", channel=channel)
    found = await letters.listed(who.tenant, which, limit + 1, after)
    following = cursors.encode(found[limit - 1]["notification_id"]) if len(found) > limit else None
    answer = {"dead_letters": found[:limit], "next_cursor": following}
    return bodies.answer(answer, headers=cursors.link(request, following))


@router.post("/redrive", response_model=RedriveOut, openapi_extra=body(RedriveIn))
async def redrive_dead_letters(request: Request, who: Managing, letters: Uses[DeadLetters]) -> Response:
    """Try up to 1,000 again, through the policy; with ``dry_run`` only say which would be."""
    given = await bodies.read_model(request, RedriveIn)
    which = DeadLetterFilter(given.ids, given.filter_reason, given.channel, given.template)
    if not (given.ids or given.filter_reason or given.channel or given.template):
        raise Problem(
            "invalid_request", errors=[FieldError("/ids", "give ids, or a filter: filter_reason, channel or template")]
        )
    found = await letters.redrive(who.tenant, which, given.reason, who.actor, dry_run=given.dry_run)
    counts = Counter(each["outcome"] for each in found)
    return bodies.answer({"dry_run": given.dry_run, "outcomes": dict(sorted(counts.items())), "dead_letters": found})


@router.post("/give-up", response_model=GiveUpOut, openapi_extra=body(GiveUpIn))
async def give_up_dead_letters(request: Request, who: Managing, letters: Uses[DeadLetters]) -> Response:
    """Take up to 1,000 out of the list for good. They keep their state and the reason of their failure."""
    given = await bodies.read_model(request, GiveUpIn)
    found = await letters.give_up(who.tenant, given.ids, given.reason, who.actor)
    counts = Counter(each["outcome"] for each in found)
    return bodies.answer({"outcomes": dict(sorted(counts.items())), "dead_letters": found})
