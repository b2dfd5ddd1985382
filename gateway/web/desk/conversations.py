"""``/desk/conversations``: what borrowers write, and answering it. One person at a time, by a claim.

Each look and each act is an entry of the administrators' log. Words travel in forms' bodies and in no URL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import GatewayClock, Uses, part
from gateway.conversations.conversation import Conversation, ConversationConflict, NoSuchConversation
from gateway.conversations.free_text import LONGEST
from gateway.conversations.people import AnswerRefused, ConversationDesk, NoOrigin, PersonAnswer
from gateway.conversations.reads import ConversationReads
from gateway.conversations.store import ConversationStore
from gateway.conversations.suggestions import Suggestions
from gateway.core.conversations import ConversationOutcome, ConversationState
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.web.access import (
    PageRoute,
    authenticated_form,
    display_names,
    message,
    pages_of,
    record_look,
    require_role,
)
from gateway.web.desk.conversation_views import entries_view, queue_view, talk_view
from gateway.web.page import headers

_MOST = 50  # on a page; the most urgent first, so that the rest follows as these are answered. Our choice
_LONGEST_NUMBER = 9  # digits
_REASON = range(3, 501)  # characters, as in the API

router = APIRouter(prefix="/desk/conversations", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_queue(
    request: Request,
    store: Uses[ConversationStore],
    done: str = "",
    session: Session = Depends(require_role(Role.AGENT)),
) -> Response:
    """What waits for a person, the most urgent first, then by the end of its clock."""
    await record_look(request, session)
    found = await store.queue(session.user.tenant, ConversationState.WAITING, _MOST)
    pages, who = pages_of(request), await display_names(request, session)
    items = queue_view(pages.texts(request), found, who, part(request, GatewayClock)())
    return pages.respond(request, "desk_conversations.html", {"session": session, "items": items, "done": done})


@router.get("/{item}")
async def show_conversation(
    request: Request,
    item: str,
    store: Uses[ConversationStore],
    done: str = "",
    note: int | None = None,
    session: Session = Depends(require_role(Role.AGENT)),
) -> Response:
    """Everything that was said, and what may be done. ``note``: the number of a canned note to begin with."""
    if "\x00" in item:
        return await message(request, 404, "nothing_here")
    await record_look(request, session)
    try:
        found = await store.find(session.user.tenant, item)
    except NoSuchConversation:
        return await message(request, 404, "nothing_here")
    return await _page(request, session, found, {"done": done, "note": note})


async def _page(
    request: Request, session: Session, found: Conversation, shown: Mapping[str, Any], status: int = 200
) -> Response:
    pages, who = pages_of(request), await display_names(request, session)
    texts, now = pages.texts(request), part(request, GatewayClock)()
    suggestions, locale = part(request, Suggestions), await part(request, ConversationReads).locale(found)
    notes = suggestions.notes(locale)
    number = shown.get("note")
    chosen = notes[number] if isinstance(number, int) and 0 <= number < len(notes) else ""
    values = {
        "session": session,
        **talk_view(texts, found, who, now),
        "entries": entries_view(texts, await part(request, ConversationReads).entries(found), who),
        "mine": found.held_by(now) == session.user.actor,
        "notes": notes,
        "suggested": suggestions.templates(found),
        "outcomes": [(str(each), texts(f"talk_outcome_{each}")) for each in ConversationOutcome],
        "longest": LONGEST,
        "text": shown.get("text") or chosen,
        "findings": shown.get("findings", ()),
        "done": shown.get("done", ""),
    }
    return pages.respond(request, "desk_conversation.html", values, status)


@router.post("/{item}/answer")
async def answer(request: Request, item: str, desk: Uses[ConversationDesk], store: Uses[ConversationStore]) -> Response:
    """Send the person's own words, or a published answer; what is wrong in the words is shown beside them."""
    session, form = await authenticated_form(request, Role.AGENT)
    text, template = form.get("text", "").strip(), form.get("template", "")
    revision = form.get("revision", "")
    numbered = revision.isdecimal() and len(revision) <= _LONGEST_NUMBER  # int() refuses a number without end
    if "\x00" in f"{item}{text}{template}" or not numbered or len(text) > LONGEST or not (text or template):
        return await message(request, 422, "talk_needs_words")
    given = PersonAnswer(int(revision), "" if template else text, template)
    try:
        await desk.answer(session.user.tenant, item, session.user.actor, given)
    except AnswerRefused as refused:
        if refused.findings:
            found = await store.find(session.user.tenant, item)
            return await _page(request, session, found, {"text": text, "findings": refused.findings}, 422)
        return await message(request, 409, "talk_not_permitted")
    except (ConversationConflict, NoSuchConversation, NoOrigin) as error:
        return await _refused(request, error)
    return RedirectResponse(f"/desk/conversations/{item}?done=answer", 303, headers())


@router.post("/{item}/{act}")
async def act_on_conversation(request: Request, item: str, act: str, desk: Uses[ConversationDesk]) -> Response:
    """Claim, release, hand back or close."""
    session, form = await authenticated_form(request, Role.AGENT)
    do = _acts(desk).get(act)
    if do is None or "\x00" in item:
        return await message(request, 404, "nothing_here")
    reason = form.get("reason", "").strip()
    if act == "close" and (len(reason) not in _REASON or "\x00" in reason or form.get("outcome") not in _OUTCOMES):
        return await message(request, 422, "desk_needs_reason")
    try:
        await do(session.user.tenant, item, session.user.actor, form)
    except (ConversationConflict, NoSuchConversation) as error:
        return await _refused(request, error)
    stays = act == "claim"
    return RedirectResponse(f"/desk/conversations{f'/{item}' if stays else ''}?done={act}", 303, headers())


_OUTCOMES = frozenset(map(str, ConversationOutcome))
_Do = Callable[[str, str, str, Mapping[str, str]], Awaitable[Conversation]]


def _acts(desk: ConversationDesk) -> Mapping[str, _Do]:
    return {
        "claim": lambda tenant, item, who, form: desk.claim(tenant, item, who),
        "release": lambda tenant, item, who, form: desk.release(tenant, item, who),
        "hand-back": lambda tenant, item, who, form: desk.hand_back(tenant, item, who),
        "close": lambda tenant, item, who, form: desk.close(
            tenant, item, who, ConversationOutcome(form["outcome"]), form["reason"].strip()
        ),
    }


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, ConversationConflict):
        return await message(request, 409, f"talk_{error.refusal}")
    return await message(request, 409 if isinstance(error, NoOrigin) else 404, "nothing_here")
