"""Unsubscribing from e-mails: one click in the mail program (RFC 8058), or one on the page behind the link in the text.

The token names a delivery and gives the right to decline messages at its address, and to take that back for a day.
Reading the page changes nothing, since mail scanners follow links. The page is in the language in which the borrower
was written to, and says nothing of them.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.borrowers.one_click import OneClick
from gateway.core.signing import Signer
from gateway.observability.metrics import Metrics, OptOutSource

router = APIRouter(prefix="/v1/unsubscribe", tags=["unsubscribe"])


@dataclass(frozen=True, slots=True)
class _Texts:
    """What the page says in one language."""

    question: str
    what: str  # happens, and what does not
    stop: str
    stopped: str
    mistaken: str
    undo: str
    undone: str
    not_undone: str


_TEXTS = {
    "en": _Texts(
        question="Stop e-mails from us?",
        what="You will get no more e-mails from us at this address. What you owe or have agreed does not change, "
        "and you can still reach us at any time.",
        stop="Stop these e-mails",
        stopped="Done: you will get no more e-mails from us at this address.",
        mistaken="Pressed it by mistake? You can take it back within a day.",
        undo="Undo: send me e-mails again",
        undone="E-mails to this address are on again.",
        not_undone="This can't be undone here any more. Please call us to get e-mails again.",
    ),
    "zh-Hans": _Texts(
        question="不再接收我们的电子邮件？",
        what="我们不会再向此邮箱发送电子邮件。您的欠款和已达成的约定不受影响，您仍可随时联系我们。",
        stop="停止发送",
        stopped="已完成：我们不会再向此邮箱发送电子邮件。",
        mistaken="误点了吗？您可以在一天之内撤销。",
        undo="撤销：继续给我发送电子邮件",
        undone="已恢复向此邮箱发送电子邮件。",
        not_undone="此处已无法撤销。如需恢复接收电子邮件，请致电我们。",
    ),
    "zh-Hant": _Texts(
        question="不再接收我們的電子郵件？",
        what="我們不會再寄電子郵件到這個信箱。您的欠款和已達成的約定不受影響，您仍可隨時與我們聯絡。",
        stop="停止寄送",
        stopped="已完成：我們不會再寄電子郵件到這個信箱。",
        mistaken="不小心按到了嗎？您可以在一天之內復原。",
        undo="復原：繼續寄電子郵件給我",
        undone="已恢復寄送電子郵件到這個信箱。",
        not_undone="這裡已無法復原。如需恢復接收電子郵件，請來電。",
    ),
}
_STYLE = (
    ":root{color-scheme:light dark}body{font:1.125rem/1.6 system-ui;margin:3rem auto;max-width:34rem;padding:0 1rem}"
    "button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}"
)
_PAGE = (
    '<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
    "<style>{style}</style></head><body><main>{content}</main></body></html>"
)
_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@router.get("/{token}", response_class=HTMLResponse)
async def show_unsubscribe(token: str, signer: Uses[Signer], links: Uses[OneClick]) -> Response:
    """A page that asks, with one button. Nothing changes by reading it."""
    language = await _language(links, _delivery(signer, token))
    texts = _TEXTS[language]
    form = f'<form method="post"><button>{texts.stop}</button></form>'
    return _page(language, texts.question, f"<p>{texts.what}</p>{form}")


@router.post("/{token}", response_class=HTMLResponse)
async def confirm_unsubscribe(
    token: str, signer: Uses[Signer], links: Uses[OneClick], metrics: Uses[Metrics]
) -> Response:
    """Record the opt-out for the address that the e-mail went to; in force when this answers. Repeating it is fine."""
    delivery = _delivery(signer, token)
    language = await _language(links, delivery)
    with metrics.opting_out(OptOutSource.REPLY):
        await links.opt_out(delivery)
    texts = _TEXTS[language]
    form = f'<form method="post" action="{token}/undo"><button>{texts.undo}</button></form>'
    return _page(language, texts.stopped, f"<p>{texts.mistaken}</p>{form}")


@router.post("/{token}/undo", response_class=HTMLResponse)
async def undo_unsubscribe(token: str, signer: Uses[Signer], links: Uses[OneClick]) -> Response:
    """Take back the opt-out that this link recorded within the last day. Others stay, as the page says then."""
    delivery = _delivery(signer, token)
    language = await _language(links, delivery)
    texts = _TEXTS[language]
    return _page(language, texts.undone if await links.undo(delivery) else texts.not_undone, "")


def _page(language: str, title: str, content: str) -> Response:
    page = _PAGE.format(language=language, title=title, style=_STYLE, content=f"<h1>{title}</h1>{content}")
    return HTMLResponse(page, headers=_HEADERS)


async def _language(links: OneClick, delivery_id: str) -> str:
    """The page's language for the locale of the borrower; English where nothing is known of it any more."""
    language, _, country = (await links.locale(delivery_id)).replace("_", "-").partition("-")
    if language.lower() != "zh":
        return "en"
    return "zh-Hant" if country.upper() in ("TW", "HK", "MO", "HANT") else "zh-Hans"


def _delivery(signer: Signer, token: str) -> str:
    delivery_id = signer.open_unsubscribe_token(token)
    if delivery_id is None:
        raise Problem("not_found", "This link is not complete. Open it again from the e-mail.")
    return delivery_id
