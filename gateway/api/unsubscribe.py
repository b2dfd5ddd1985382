"""Unsubscribing from e-mail: one click in the mail program (RFC 8058), or one on a page.

The token names a delivery and gives no right but this one. Reading the page changes nothing, since mail scanners
follow links. The page is in every language that the shipped templates have, and says nothing of the borrower.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.borrowers.store import BorrowerStore
from gateway.core.signing import Signer
from gateway.observability.metrics import Metrics, OptOutSource

router = APIRouter(prefix="/v1/unsubscribe", tags=["unsubscribe"])

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"></head><body><main>{content}</main></body></html>"""
# By language: the question, the button, and what is said when it is done.
_TEXTS = {
    "en": ("Stop e-mails from us?", "Stop these e-mails", "You will get no more e-mails from us at this address."),
    "zh-Hans": ("不再接收我们的电子邮件？", "停止发送", "我们不会再向此邮箱发送电子邮件。"),
    "zh-Hant": ("不再接收我們的電子郵件？", "停止寄送", "我們不會再寄電子郵件到這個信箱。"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@router.get("/{token}", response_class=HTMLResponse)
async def show_unsubscribe(token: str, signer: Uses[Signer]) -> Response:
    """A page with one button, in each language."""
    _delivery(signer, token)
    asked = {
        language: f'<h1>{question}</h1><form method="post"><button>{button}</button></form>'
        for language, (question, button, _) in _TEXTS.items()
    }
    return _page("Unsubscribe", asked)


@router.post("/{token}", response_class=HTMLResponse)
async def confirm_unsubscribe(
    token: str, signer: Uses[Signer], people: Uses[BorrowerStore], metrics: Uses[Metrics]
) -> Response:
    """Record the opt-out for the address that the e-mail went to; in force when this answers. Repeating it is fine."""
    delivery = _delivery(signer, token)
    with metrics.opting_out(OptOutSource.REPLY):
        await people.opt_out_delivery(delivery, "one_click", wait=True)
    return _page("Done", {language: f"<p>{done}</p>" for language, (_, _, done) in _TEXTS.items()})


def _page(title: str, by_language: Mapping[str, str]) -> Response:
    content = "".join(f'<section lang="{language}">{each}</section>' for language, each in by_language.items())
    return HTMLResponse(_PAGE.format(title=title, content=content), headers=_HEADERS)


def _delivery(signer: Signer, token: str) -> str:
    delivery_id = signer.open_unsubscribe_token(token)
    if delivery_id is None:
        raise Problem("not_found", "This link is not complete. Open it again from the e-mail.")
    return delivery_id
