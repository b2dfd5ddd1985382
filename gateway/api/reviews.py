"""The review queue: what waits for a person, and what the person says."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, ReadingWords
from gateway.api.http.openapi import body
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.fields import Identifier
from gateway.api.requests.operations import RefusalIn, ReviewIn
from gateway.api.responses.operations import ReviewedOut, ReviewListOut, ReviewOriginalOut
from gateway.borrowers.four_eyes import FourEyes
from gateway.core.errors import NotApprovable, WrongBorrower
from gateway.core.requests import FieldError
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
    """Deliveries, replies and unverified reports that wait for a person, the most urgent first, then the oldest."""
    position = cursors.decode(cursor, ReviewPosition.SHAPE)
    after = ReviewPosition.parse(position) if position is not None else None
    found = await reviews.waiting(who.tenant, reason, limit + 1, after)
    following = cursors.encode(str(ReviewPosition.of(found[limit - 1]))) if len(found) > limit else None
    return bodies.answer({"reviews": found[:limit], "next_cursor": following}, headers=cursors.link(request, following))


@router.get("/{item}/original", response_model=ReviewOriginalOut)
async def get_review_original(who: ReadingWords, item: Identifier, reviews: Uses[Reviews]) -> Response:
    """The mail of an unverified report as it came, in base64 (RFC 4648), up to 256,000 octets of it."""
    found = await reviews.original(who.tenant, item)
    if found is None:
        raise Problem("not_found", "There is no report by this id.")
    return bodies.answer({"id": item, "mail": b64encode(found).decode()})


@router.post(
    "/{item}/approve", response_model=ReviewedOut, responses={409: {"description": ""}}, openapi_extra=body(ReviewIn)
)
async def approve_review(
    request: Request, who: Managing, item: Identifier, reviews: Uses[Reviews], four_eyes: Uses[FourEyes]
) -> Response:
    """The borrower may be contacted: the delivery is decided anew, or the reply was no stop, or a report is closed.

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


@router.post("/{item}/refuse", response_model=ReviewedOut, openapi_extra=body(RefusalIn))
async def refuse_review(request: Request, who: Managing, item: Identifier, reviews: Uses[Reviews]) -> Response:
    """The borrower must not be contacted: the delivery is cancelled, or the reply was a stop.

    With ``borrower_id``: an unverified complaint or bounce is about the latest message to this borrower by its channel,
    whose address is opted out, or not written to again.
    """
    given = await bodies.read_model(request, RefusalIn)
    try:
        done = await reviews.refuse(who.tenant, item, given.reason, who.actor, given.borrower_id or "")
    except WrongBorrower as error:
        raise Problem("invalid_request", errors=[FieldError("/borrower_id", str(error))]) from None
    if not done:
        raise Problem("not_found", "Nothing waits for review by this id.")
    return bodies.answer({"id": item, "decision": "refused"})
