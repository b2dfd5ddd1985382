"""Unsubscribing from e-mail: one click in the mail program (RFC 8058), or one on a page.

The token names a delivery and gives no right but this one. Reading the page changes nothing, since mail scanners
follow links.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.borrowers.store import BorrowerStore
from gateway.core.signing import Signer
from gateway.observability.metrics import Metrics, OptOutSource

router = APIRouter(prefix="/v1/unsubscribe", tags=["unsubscribe"])

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"></head><body><main><h1>{title}</h1>{content}</main></body></html>"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@router.get("/{token}")
async def ask(token: str, signer: Uses[Signer]) -> Response:
    """A page with one button."""
    _delivery(signer, token)
    content = '<form method="post"><button>Stop these e-mails</button></form>'
    return HTMLResponse(_PAGE.format(title="Stop e-mails from us?", content=content), headers=_HEADERS)


@router.post("/{token}")
async def unsubscribe(
    token: str, signer: Uses[Signer], people: Uses[BorrowerStore], metrics: Uses[Metrics]
) -> Response:
    """Record the opt-out for the address that the e-mail went to; in force when this answers. Repeating it is fine."""
    delivery = _delivery(signer, token)
    with metrics.opting_out(OptOutSource.REPLY):
        await people.opt_out_delivery(delivery, "one_click", drain=True)
    content = "<p>You will get no more e-mails from us at this address.</p>"
    return HTMLResponse(_PAGE.format(title="Done", content=content), headers=_HEADERS)


def _delivery(signer: Signer, token: str) -> str:
    delivery_id = signer.open_unsubscribe_token(token)
    if delivery_id is None:
        raise Problem("not_found", "This link is not complete. Open it again from the e-mail.")
    return delivery_id
