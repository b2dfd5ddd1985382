"""``/ops/unknown`` and ``/ops/reviews``: messages whose delivery is unknown, and what waits for a person's decision.

Neither has an act: an unknown outcome resolves by the provider's word or goes to review, and reviews are decided at the
desk by those who may read a borrower's words. ``/ops/notifications/ID`` shows one message without its words.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import Uses
from gateway.core.states import State
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.operations.reviews import Reviews
from gateway.storage.reads import Filter, Reads
from gateway.web.access import PageRoute, display_names, message, pages_of, require_role
from gateway.web.ops.message_views import instants, notification_view
from gateway.web.ops.page import PICKED, ops_page

_MOST = 50  # on a page; our choice. Both lists are short where all is well

router = APIRouter(prefix="/ops", route_class=PageRoute, include_in_schema=False)


@router.get("/unknown")
async def show_unknown(
    request: Request, reads: Uses[Reads], session: Session = Depends(require_role(Role.OPERATOR))
) -> Response:
    """The newest first."""
    found = await reads.notifications(session.user.tenant, Filter(state=State.UNKNOWN), _MOST)
    values = {"items": instants(pages_of(request).texts(request), found, "updated_at")}
    return ops_page(request, session, "ops_unknown.html", values)


@router.get("/reviews")
async def show_reviews(
    request: Request, reviews: Uses[Reviews], session: Session = Depends(require_role(Role.OPERATOR))
) -> Response:
    """The most urgent first, then the oldest; without what the borrowers wrote."""
    found = await reviews.waiting(session.user.tenant, None, _MOST)
    values = {"items": instants(pages_of(request).texts(request), found, "since", "review_by")}
    return ops_page(request, session, "ops_reviews.html", values)


@router.get("/notifications/{notification_id}")
async def show_notification(
    request: Request,
    notification_id: str,
    reads: Uses[Reads],
    session: Session = Depends(require_role(Role.OPERATOR)),
) -> Response:
    """One message: its deliveries with their attempts, and all events."""
    found = None
    if "\x00" not in notification_id:
        found = await reads.notification(session.user.tenant, notification_id)
    if found is None:
        return await message(request, 404, "nothing_here")
    t = pages_of(request).texts(request)
    values = {
        "item": notification_view(t, found),
        "dead": found["state"] == State.FAILED and all(each["kind"] != "given_up" for each in found["events"]),
        "prefix": PICKED,
        "who": await display_names(request, session),
    }
    return ops_page(request, session, "ops_notification.html", values)
