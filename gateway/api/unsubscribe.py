"""Unsubscribing from e-mails: one click in the mail program (RFC 8058), or one on the page behind the link in the text.

The token names a delivery and gives the right to decline messages at its address, and to take that back for a day.
Reading the page changes nothing, since mail scanners follow links. The page is one of the borrower's own
(gateway/web/borrowers/routes.py), and works when the others have expired.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from gateway.api.http.parts import GatewayClock, Uses, part
from gateway.api.http.problems import Problem
from gateway.borrowers.linked_messages import LinkedMessages
from gateway.borrowers.one_click import OneClick
from gateway.core.security.signing import Signer
from gateway.observability.metrics import Metrics, OptOutSource
from gateway.web.borrowers.routes import guessed_texts
from gateway.web.borrowers.words import BorrowerPages, BorrowerTexts

router = APIRouter(prefix="/v1/unsubscribe", tags=["unsubscribe"])


@dataclass(frozen=True, slots=True)
class _Link:
    """A link that is ours: its delivery, the words of its reader, and the address of their other pages, if it opens."""

    token: str
    delivery_id: str
    t: BorrowerTexts
    others: str


async def _open(request: Request, token: str) -> _Link:
    """Raises Problem 404 for a link that is none of ours. No rate applies: whoever declines is never told to wait."""
    delivery_id = part(request, Signer).open_message_token(token)
    if delivery_id is None:
        raise Problem("not_found", "This link is not complete. Open it again from the e-mail.")
    message = await part(request, LinkedMessages).find(delivery_id)
    if message is None:
        return _Link(token, delivery_id, guessed_texts(request), "")
    others = f"/m/{token}" if message.opens(part(request, GatewayClock)()) else ""
    return _Link(token, delivery_id, part(request, BorrowerPages).texts(message.language), others)


def _page(request: Request, link: _Link, title: str, *, what: str = "", button: str = "", action: str = "") -> Response:
    values = {"title": title, "what": what, "button": button, "action": action, "others": link.others}
    return part(request, BorrowerPages).respond("unsubscribe.html", link.t, values)


@router.get("/{token}", response_class=HTMLResponse)
async def show_unsubscribe(request: Request, token: str) -> Response:
    """A page that asks, with one button. Nothing changes by reading it."""
    link = await _open(request, token)
    asks = {"what": "unsubscribe_what", "button": "unsubscribe_stop", "action": f"/v1/unsubscribe/{token}"}
    return _page(request, link, "unsubscribe_title", **asks)


@router.post("/{token}", response_class=HTMLResponse)
async def confirm_unsubscribe(request: Request, token: str, links: Uses[OneClick], metrics: Uses[Metrics]) -> Response:
    """Record the opt-out for the address that the e-mail went to; in force when this answers. Repeating it is fine."""
    link = await _open(request, token)
    with metrics.opting_out(OptOutSource.REPLY):
        await links.opt_out(link.delivery_id)
    undo = {"what": "unsubscribe_mistaken", "button": "unsubscribe_undo", "action": f"/v1/unsubscribe/{token}/undo"}
    return _page(request, link, "unsubscribe_done", **undo)


@router.post("/{token}/undo", response_class=HTMLResponse)
async def undo_unsubscribe(request: Request, token: str, links: Uses[OneClick]) -> Response:
    """Take back the opt-out that this link recorded within the last day. Others stay, as the page says then."""
    link = await _open(request, token)
    undone = await links.undo(link.delivery_id)
    return _page(request, link, "unsubscribe_undone" if undone else "unsubscribe_not_undone")
