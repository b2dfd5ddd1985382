"""``/v/…``: the page behind a one-time link, for borrowers. It is the same for every token until it is confirmed.

Opening it uses nothing up, since scanners and previews follow links; the button does. What the case system says is
shown and kept nowhere. The page says nothing of a debt before the button, and nothing to who has no valid link.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.http.parts import Uses
from gateway.conversations.case_system import CaseSystem
from gateway.conversations.conversation import Conversation
from gateway.conversations.store import Act, ConversationStore
from gateway.conversations.verification import BORROWER, GOES_ON, OneTimeLinks
from gateway.core.conversations import ConversationState, Handler
from gateway.core.understanding import Urgency
from gateway.templates.language.formats import day, money
from gateway.web.access import PageRoute, pages_of
from gateway.web.page import headers

router = APIRouter(prefix="/v", route_class=PageRoute, include_in_schema=False)

_PERSON_WITHIN = timedelta(days=1)  # the ordinary clock of templates/policies/replies/intents.toml
_LOCALES = {"en": "en-GB", "zh-Hans": "zh-CN", "zh-Hant": "zh-TW"}
_TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Is it you?",
        "question": "You have written to us. Press the button to show that it is you who reads this.",
        "button": "It is me",
        "done": "Thank you",
        "go_on": "Please go back to the conversation: the answer is on its way.",
        "person": "We can't show it now. A colleague will answer you in the conversation.",
        "balance": "Balance",
        "minimum": "Due now",
        "due_date": "Due date",
        "pay": "Pay online",
        "gone": "This link can't be used any more",
        "again": "Links work once and for half an hour. Write to us again, and you get a new one.",
    },
    "zh-Hans": {
        "title": "是您本人吗？",
        "question": "您给我们写过信。请点按钮，确认正在阅读的是您本人。",
        "button": "是我本人",
        "done": "谢谢您",
        "go_on": "请返回对话，回复即将发出。",
        "person": "现在无法显示。我们的同事会在对话中回复您。",
        "balance": "余额",
        "minimum": "本期应付",
        "due_date": "到期日",
        "pay": "在线支付",
        "gone": "此链接已失效",
        "again": "链接仅能使用一次，有效期半小时。请再给我们写信，即可收到新的链接。",
    },
    "zh-Hant": {
        "title": "是您本人嗎？",
        "question": "您曾傳訊息給我們。請按下按鈕，確認正在閱讀的是您本人。",
        "button": "是我本人",
        "done": "謝謝您",
        "go_on": "請回到對話，回覆即將送出。",
        "person": "目前無法顯示。我們的同仁會在對話中回覆您。",
        "balance": "餘額",
        "minimum": "本期應繳",
        "due_date": "繳款日",
        "pay": "線上繳款",
        "gone": "此連結已失效",
        "again": "連結僅能使用一次，有效期半小時。請再傳訊息給我們，即可收到新的連結。",
    },
}


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
    locale = _LOCALES[_language(request)]
    balance, minimum = (money(each, figures.currency, locale) for each in figures.amounts)
    rows = [("balance", balance), *([("minimum", minimum)] if figures.amounts[1] else [])]
    rows.append(("due_date", day(figures.due_date, "long", locale)))
    return _page(request, "figures", rows=rows, pay_url=figures.pay_url)


def _to_person(found: Conversation, now: Any) -> Act:
    values = {"state": ConversationState.WAITING, "handler": Handler.PERSON, "due_at": None}
    wait = {"urgency": max(found.urgency, Urgency.ROUTINE), "review_by": found.review_by or now + _PERSON_WITHIN}
    return Act("conversation_handed_over", {**values, **wait}, "case_system_away")


def _language(request: Request) -> str:
    accepted = request.headers.get("accept-language", "").lower()[:100]
    first = accepted.partition(",")[0].partition(";")[0].strip()
    if not first.startswith("zh"):
        return "en"
    return "zh-Hant" if any(each in first for each in ("tw", "hk", "mo", "hant")) else "zh-Hans"


def _page(request: Request, state: str, status: int = 200, **values: Any) -> Response:
    language = _language(request)
    shown = {"rows": (), "pay_url": "", **values}
    words = {"w": _TEXTS[language], "tongue": language, "state": state}
    answer = pages_of(request).respond(request, "verify.html", {**words, **shown}, status)
    answer.headers.update({**headers(), "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"})
    return answer
