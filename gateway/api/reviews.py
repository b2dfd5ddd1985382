"""The review queue: what waits for a person, and what the person says."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, ReadingWords
from gateway.api.http.openapi import body
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.api.responses import ReviewedOut, ReviewListOut
from gateway.api.schemas import Identifier, ReviewIn
from gateway.borrowers.four_eyes import FourEyes
from gateway.core.errors import NotApprovable
from gateway.operations.reviews import ReviewPosition, Reviews
from gateway.policy import SharedAct

router = APIRouter(prefix="/v1/reviews", tags=["reviews"])


@router.get("", response_model=ReviewListOut)
async def list_reviews(
    request: Request,
    who: ReadingWords,
    reviews: Uses[Reviews],
    reason: Annotated[str | None, Query(max_length=40, pattern="^[a-z_]+$")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Deliveries and replies that wait for a person, the most urgent first, then the oldest."""
    position = cursors.decode(cursor, ReviewPosition.SHAPE)
    after = ReviewPosition.parse(position) if position is not None else None
    found = await reviews.waiting(who.tenant, reason, limit + 1, after)
    following = cursors.encode(str(ReviewPosition.of(found[limit - 1]))) if len(found) > limit else None
    return bodies.answer({"reviews": found[:limit], "next_cursor": following}, headers=cursors.link(request, following))


@router.post(
    "/{item}/approve", response_model=ReviewedOut, responses={409: {"description": ""}}, openapi_extra=body(ReviewIn)
)
async def approve_review(
    request: Request, who: Managing, item: Identifier, reviews: Uses[Reviews], four_eyes: Uses[FourEyes]
) -> Response:
    """The borrower may be contacted: the delivery is decided anew, or the reply was no stop.

    409 where it can't be approved, and where a policy pack wants two persons for it.
    """
    given = await bodies.read_model(request, ReviewIn)
    found = await reviews.find(who.tenant, item)
    if found is not None and await four_eyes.needed(who.tenant, found[0], SharedAct.APPROVE_REVIEW, found[1]):
        raise Problem("second_person_needed")
    try:
        done = await reviews.approve(who.tenant, item, given.reason, who.actor)
    except NotApprovable as error:
        raise Problem("not_approvable", str(error)) from None
    if not done:
        raise Problem("not_found", "Nothing waits for review by this id.")
    return bodies.answer({"id": item, "decision": "approved"})


@router.post("/{item}/refuse", response_model=ReviewedOut, openapi_extra=body(ReviewIn))
async def refuse_review(request: Request, who: Managing, item: Identifier, reviews: Uses[Reviews]) -> Response:
    """The borrower must not be contacted: the delivery is cancelled, or the reply was a stop."""
    given = await bodies.read_model(request, ReviewIn)
    if not await reviews.refuse(who.tenant, item, given.reason, who.actor):
        raise Problem("not_found", "Nothing waits for review by this id.")
    return bodies.answer({"id": item, "decision": "refused"})
