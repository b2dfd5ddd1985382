"""``/v/…``: the page behind a one-time link, for borrowers. It is the same for every token until it is confirmed.

Opening it uses nothing up, since scanners and previews follow links; the button does. What the case system says is
shown and kept nowhere. The page says nothing of a debt before the button, and nothing to who has no valid link.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.http.parts import Uses, part
from gateway.conversations.case_system import CaseSystem
from gateway.conversations.conversation import Conversation
from gateway.conversations.store import Act, ConversationStore
from gateway.conversations.verification import BORROWER, GOES_ON, PERSON_WITHIN, OneTimeLinks
from gateway.core.conversations import ConversationState, Handler
from gateway.core.understanding import Urgency
from gateway.templates.language.formats import day, money
from gateway.web.borrowers.routes import BorrowerPageRoute, guessed_texts
from gateway.web.borrowers.words import BorrowerPages

router = APIRouter(prefix="/v", route_class=BorrowerPageRoute, include_in_schema=False)

_LOCALES = {"en": "en-GB", "zh-Hans": "zh-CN", "zh-Hant": "zh-TW"}


@router.get("/{token}")
async def show_question(request: Request) -> Response:
    return _page(request, "ask")


@router.post("/{token}")
async def confirm(
    request: Request,
    token: str,
    links: Uses[OneTimeLinks],
    systems: Uses[CaseSystem],
    store: Uses[ConversationStore],
) -> Response:
    """Use the link up, and show what the case system says."""
    conversation = await links.take(token)
    if conversation is None:
        return _page(request, "gone", 410)
    if conversation.intent in GOES_ON:
        return _page(request, "go_on")
    figures = await systems.figures(conversation)
    if figures is None:
        await store.act(conversation.tenant, conversation.id, BORROWER, _to_person)
        return _page(request, "person")
    locale = _LOCALES[guessed_texts(request).language]
    balance, minimum = (money(each, figures.currency, locale) for each in figures.amounts)
    rows = [("balance", balance), *([("minimum", minimum)] if figures.amounts[1] else [])]
    rows.append(("due_date", day(figures.due_date, "long", locale)))
    return _page(request, "figures", rows=rows, pay_url=figures.pay_url)


def _to_person(found: Conversation, now: Any) -> Act:
    values = {"state": ConversationState.WAITING, "handler": Handler.PERSON, "due_at": None}
    wait = {"urgency": max(found.urgency, Urgency.ROUTINE), "review_by": found.review_by or now + PERSON_WITHIN}
    return Act("conversation_handed_over", {**values, **wait}, "case_system_away")


def _page(request: Request, state: str, status: int = 200, **values: Any) -> Response:
    shown = {"state": state, "rows": (), "pay_url": "", **values}
    return part(request, BorrowerPages).respond("verify.html", guessed_texts(request), shown, status)
