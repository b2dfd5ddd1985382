"""``/desk``: for people who talk with borrowers. A borrower is found by what is typed; nobody is listed.

Roles are gateway/identity/users.py's. Each look at a borrower's record, and each act, is an entry of the
administrators' log. What is typed to find a borrower travels in a form's body: an address must not stand in a URL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Connection, select
from starlette.responses import RedirectResponse, Response

from channels.base import InvalidAddress
from gateway.api.evidence import HEADERS, ZipResponse
from gateway.api.http.parts import ConfiguredChannels, Uses, part
from gateway.borrowers.four_eyes import FourEyes
from gateway.core.errors import NotApprovable, WrongBorrower
from gateway.core.security.signing import Signer
from gateway.evidence.borrower_file import read_timeline_page
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.journeys.reads import JourneyReads
from gateway.operations.reviews import NOT_APPROVABLE, Reviews
from gateway.policy import SharedAct
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.path import deliveries, notifications
from gateway.web.access import (
    PageRoute,
    authenticated_form,
    display_names,
    message,
    pages_of,
    record_look,
    require_role,
)
from gateway.web.desk.acts import ACTS, PROPOSED, BadAct, DeskServices, permitted
from gateway.web.desk.evidence import EvidenceArchives
from gateway.web.desk.views import DeskReads, reviews_view
from gateway.web.page import headers

_MOST_REVIEWS = 50  # on a page; the most urgent first, so that the rest follows as these are decided. Our choice
_MOST_FOUND = 20  # borrowers with one case or address; our choice, more than a household shares
_EVENTS = 60  # of a borrower's timeline on a page; our choice, some ten messages with all that became of them
_LONGEST_POSITION = 15  # digits of an event's number
_LONGEST_QUERY = 254  # the longest address (RFC 5321 section 4.5.3.1.3)
_REASON = range(3, 501)  # characters, as in the API's reviews

router = APIRouter(prefix="/desk", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_search(request: Request, session: Session = Depends(require_role(Role.AGENT))) -> Response:
    return _search_page(request, session, "", ())


@router.post("/search")
async def search(request: Request) -> Response:
    """Go to the borrower whose id, case, notification or address was typed."""
    session, form = await authenticated_form(request, Role.AGENT)
    query = form.get("query", "").strip()[:_LONGEST_QUERY].replace("\x00", "")
    found = await _found(request, session.user.tenant, query) if query else []
    if len(found) == 1:
        return RedirectResponse(_path(found[0]), 303, headers())
    return _search_page(request, session, query, found, 200 if found else 404)


def _search_page(request: Request, session: Session, query: str, found: object, status: int = 200) -> Response:
    values = {"session": session, "query": query, "found": found, "path": _path}
    return pages_of(request).respond(request, "desk.html", values, status)


async def _found(request: Request, tenant: str, query: str) -> list[str]:
    """The borrowers that are meant, the exact id first. Raises Unavailable."""
    digests = [
        each for name in _digests(request, tenant, query) for each in part(request, Database).digests.versions(name)
    ]
    own, steps = notifications.c.tenant == tenant, deliveries.c.tenant == tenant
    # An index serves each: by borrower, by case, by id, by address.
    queries = [
        select(borrowers.c.id).where(borrowers.c.tenant == tenant, borrowers.c.id == query),
        select(notifications.c.borrower_id).where(own, notifications.c.borrower_id == query).limit(1),
        select(notifications.c.borrower_id).where(own, notifications.c.case_id == query).distinct().limit(_MOST_FOUND),
    ]
    if query.startswith("ntf_"):
        ids = notifications.c.id.between(query, query + "g")
        queries.append(select(notifications.c.borrower_id).where(own, ids).distinct().limit(_MOST_FOUND))
    if digests:
        used = deliveries.c.address_digest.in_(digests)
        queries.append(select(deliveries.c.borrower_id).where(steps, used).distinct().limit(_MOST_FOUND))

    def read(connection: Connection) -> list[str]:
        for each in queries:
            found = list(connection.execute(each).scalars())
            if found:
                return sorted(found)
        return []

    return await part(request, Database).read(read)


def _digests(request: Request, tenant: str, query: str) -> list[str]:
    """What the text would be in the ledger as an address of each channel."""
    found = []
    for name, channel in part(request, ConfiguredChannels).channels.items():
        try:
            found.append(part(request, Signer).digest(tenant, name, channel.normalise(query)))
        except (InvalidAddress, ValueError):
            continue
    return found


def _path(borrower_id: str) -> str:
    return f"/desk/borrowers/{quote(borrower_id, safe='')}"


@router.get("/borrowers/{borrower_id}")
async def show_borrower(
    request: Request,
    borrower_id: str,
    done: str = "",
    before: str = "",
    session: Session = Depends(require_role(Role.AGENT)),
) -> Response:
    """A borrower's record: what may be done now, what stands in the way, and what happened, the newest first.

    ``before``: where an earlier page of what happened begins.
    """
    found = None
    if "\x00" not in borrower_id:
        await record_look(request, session)
        position = int(before) if before.isascii() and before.isdigit() and len(before) <= _LONGEST_POSITION else None
        tenant, database = session.user.tenant, part(request, Database)
        found = await read_timeline_page(database, tenant, borrower_id, _EVENTS, position)
    if found is None:
        return await message(request, 404, "nothing_here")
    record, earlier = found
    pages = pages_of(request)
    view = await part(request, DeskReads).borrower(pages.texts(request), record)
    journeys = await part(request, JourneyReads).open_of(session.user.tenant, borrower_id)
    proposals = await _proposals(request, session, [borrower_id])
    values = {
        "session": session,
        "done": done,
        "proposals": proposals,
        "path": _path(borrower_id),
        "journeys": journeys,
        "earlier": earlier,
        "before": before,
        **view,
    }
    return pages.respond(request, "desk_borrower.html", values)


async def _proposals(request: Request, session: Session, borrower_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """What waits for a second person, by its target: who proposed it and why."""
    found = await part(request, FourEyes).standing(session.user.tenant, borrower_ids)
    who = await display_names(request, session) if found else str
    return {
        each.target: {"who": who(each.actor), "reason": each.reason, "own": each.actor == session.user.actor}
        for each in found
    }


@router.post("/borrowers/{borrower_id}/evidence")
async def download_evidence(request: Request, borrower_id: str, archives: Uses[EvidenceArchives]) -> Response:
    session, _ = await authenticated_form(request, Role.COMPLIANCE)
    made = await archives.make(session.user.tenant, borrower_id) if "\x00" not in borrower_id else None
    if made is None:
        return await message(request, 404, "nothing_here")
    return ZipResponse(made, headers={**headers(), **HEADERS})


@router.post("/borrowers/{borrower_id}/{act}")
async def change_borrower(request: Request, borrower_id: str, act: str, services: Uses[DeskServices]) -> Response:
    """Do one act of gateway/web/desk/acts.py, with a reason."""
    known = ACTS.get(act)
    session, form = await authenticated_form(request, known.role if known else Role.AGENT)
    if known is None or "\x00" in borrower_id:
        return await message(request, 404, "nothing_here")
    reason = form.get("reason", "").strip()
    if len(reason) not in _REASON or "\x00" in reason:
        return await message(request, 422, "desk_needs_reason")
    try:
        said = await known.do(services, session.user.tenant, borrower_id, form, reason, session.user.actor)
    except BadAct as refused:
        return await message(request, 409, refused.key)
    return RedirectResponse(f"{_path(borrower_id)}?done={said or act}", 303, headers())


@router.get("/reviews")
async def show_reviews(
    request: Request, reviews: Uses[Reviews], done: str = "", session: Session = Depends(require_role(Role.SUPERVISOR))
) -> Response:
    """What waits for a person, the most urgent first, then the oldest."""
    await record_look(request, session)
    waiting = await reviews.waiting(session.user.tenant, None, _MOST_REVIEWS)
    pages = pages_of(request)
    items = reviews_view(pages.texts(request), waiting)
    proposals = await _proposals(request, session, {each["borrower_id"] for each in waiting})
    shown = {"items": items, "proposals": proposals, "not_approvable": NOT_APPROVABLE}
    values = {"session": session, "done": done, "path": _path, **shown}
    return pages.respond(request, "desk_reviews.html", values)


@router.get("/reviews/{item}/original")
async def download_report(
    request: Request, item: str, reviews: Uses[Reviews], session: Session = Depends(require_role(Role.SUPERVISOR))
) -> Response:
    await record_look(request, session)
    found = await reviews.original(session.user.tenant, item) if "\x00" not in item else None
    if found is None:
        return await message(request, 404, "nothing_here")
    # A browser saves it, and shows nothing that is in it.
    saved = {"Content-Disposition": 'attachment; filename="report.eml"'}
    return Response(found, media_type="message/rfc822", headers={**headers(), **saved})


@router.post("/reviews/{item}/{decision}")
async def decide_review(
    request: Request, item: str, decision: str, reviews: Uses[Reviews], four_eyes: Uses[FourEyes]
) -> Response:
    """Approve or refuse. What a pack marks is proposed by the first person and approved by a second."""
    session, form = await authenticated_form(request, Role.SUPERVISOR)
    tenant, actor = session.user.tenant, session.user.actor
    borrower_id = form.get("borrower_id", "").strip().replace("\x00", "")
    decisions: dict[str, Callable[..., Awaitable[bool]]] = {
        "approve": reviews.approve,
        "refuse": partial(reviews.refuse, borrower_id=borrower_id),
    }
    decide = decisions.get(decision)
    reason = form.get("reason", "").strip()
    if decide is None or "\x00" in item:
        return await message(request, 404, "nothing_here")
    if len(reason) not in _REASON or "\x00" in reason:
        return await message(request, 422, "desk_needs_reason")
    found = await reviews.find(tenant, item)  # None for a report, too: it names no borrower yet
    act = SharedAct.APPROVE_REVIEW
    try:
        if found is not None and decision == "approve" and found[1] not in NOT_APPROVABLE:
            borrower, kind = found
            if not await permitted(four_eyes, tenant, borrower, act, item, kind, reason, actor):
                return RedirectResponse(f"/desk/reviews?done={PROPOSED}", 303, headers())
        done = await decide(tenant, item, reason, actor)
    except BadAct as refused:
        return await message(request, 409, refused.key)
    except NotApprovable as error:
        return await message(request, 409, "desk_not_approvable", str(error))
    except WrongBorrower:
        return await message(request, 422, "desk_wrong_borrower")
    if not done:
        return await message(request, 409, "desk_decided_already")
    if found is not None:
        await four_eyes.done(tenant, found[0], act, item, actor)
    return RedirectResponse(f"/desk/reviews?done={decision}", 303, headers())
