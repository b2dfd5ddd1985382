"""``/ops/dead-letters``: notifications that failed. An operator has them tried again, or gives them up."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import ConfiguredChannels, Uses, part
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.operations.dead_letters import DeadLetterFilter, DeadLetters
from gateway.web.access import PageRoute, authenticated_form, message, pages_of, require_role
from gateway.web.ops.message_views import instants
from gateway.web.ops.page import PICKED, ops_page, picked, reason_of
from gateway.web.page import headers

_ON_A_PAGE = 50  # our choice: as many as one reads before a decision
_LONGEST_WORD = 40  # a reason's column

router = APIRouter(prefix="/ops/dead-letters", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_dead_letters(
    request: Request,
    letters: Uses[DeadLetters],
    reason: str = "",
    channel: str = "",
    after: str = "",
    done: str = "",
    number: int = 0,
    session: Session = Depends(require_role(Role.OPERATOR)),
) -> Response:
    """The oldest first; ``reason`` and ``channel`` narrow the list, ``after`` is the last id of the page before."""
    reason, channel = _word(reason), _word(channel)
    which = DeadLetterFilter(reason=reason, channel=channel or None)
    found = await letters.listed(session.user.tenant, which, _ON_A_PAGE + 1, after[:_LONGEST_WORD].replace("\x00", ""))
    shown = found[:_ON_A_PAGE]
    following = {"reason": reason, "channel": channel, "after": shown[-1]["notification_id"]} if shown else {}
    values = {
        "letters": instants(pages_of(request).texts(request), shown, "since"),
        "more": f"/ops/dead-letters?{urlencode(following)}" if len(found) > _ON_A_PAGE else "",
        "reason": reason,
        "channel": channel,
        "channels": sorted(part(request, ConfiguredChannels).channels),
        "reasons": sorted({each["reason"] for each in found} | ({reason} - {""})),
        "prefix": PICKED,
        "done": done,
        "number": number,
    }
    return ops_page(request, session, "ops_dead_letters.html", values)


@router.post("/redrive")
async def redrive(request: Request, letters: Uses[DeadLetters]) -> Response:
    """Try the ticked ones again, or with ``all`` up to 1,000 that the filters find, through the policy."""
    session, form = await authenticated_form(request, Role.OPERATOR)
    reason, ids = reason_of(form), picked(form)
    if reason is None:
        return await message(request, 422, "desk_needs_reason")
    narrowed = DeadLetterFilter(
        reason=_word(form.get("filter_reason", "")), channel=_word(form.get("channel", "")) or None
    )
    which = narrowed if form.get("all") and (narrowed.reason or narrowed.channel) else DeadLetterFilter(ids=ids)
    if which.ids == [] and which is not narrowed:
        return await message(request, 422, "ops_nothing_picked")
    found = await letters.redrive(session.user.tenant, which, reason, session.user.actor, dry_run=False)
    return _done("redriven", [each["outcome"] for each in found])


@router.post("/give-up")
async def give_up(request: Request, letters: Uses[DeadLetters]) -> Response:
    """Take the ticked ones out of the list for good."""
    session, form = await authenticated_form(request, Role.OPERATOR)
    reason, ids = reason_of(form), picked(form)
    if reason is None:
        return await message(request, 422, "desk_needs_reason")
    if not ids:
        return await message(request, 422, "ops_nothing_picked")
    found = await letters.give_up(session.user.tenant, ids, reason, session.user.actor)
    return _done("given_up", [each["outcome"] for each in found])


def _done(wanted: str, outcomes: list[str]) -> Response:
    query = urlencode({"done": wanted, "number": Counter(outcomes)[wanted]})
    return RedirectResponse(f"/ops/dead-letters?{query}", 303, headers())


def _word(text: str) -> str:
    """A word of a closed list; "" for what can't be one."""
    return text if len(text) <= _LONGEST_WORD and text.replace("_", "").isalnum() and text.isascii() else ""
