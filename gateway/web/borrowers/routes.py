"""``/m/{token}``: borrowers' own pages behind the link of a message, without a sign-in.

The token names a delivery and nothing of the borrower. There is no cookie, so a form can't be sent in another's name:
who sends it has the token. Reading a page changes nothing, since mail scanners follow links. A link opens for a time
(gateway/borrowers/linked_messages.py); what it can't do any more is said with how to get another.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from gateway import policy
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, part
from gateway.api.http.problems import Problem
from gateway.api.http.quotas import QuotaGuard
from gateway.borrowers.inbox import Inbox
from gateway.borrowers.linked_messages import LONGEST_REPLY, LinkedMessage, LinkedMessages
from gateway.borrowers.preferences import PreferenceStore, switched_off_here
from gateway.core.errors import Unavailable
from gateway.core.facts import ChosenPreferences, Facts
from gateway.core.security.signing import Signer
from gateway.queue.subscriptions import FeedNotifier
from gateway.receiving import CallbackReceiver
from gateway.templates import Lender
from gateway.templates.borrower_pages import BorrowerPagesFile
from gateway.web.borrowers.words import READ_IN, BorrowerPages, BorrowerTexts, accepted_language

_MOST_FORM_BYTES = 20_000  # three times the longest reply in percent-encoded UTF-8
_MOST_FIELDS = 40
_PAGE = 20  # messages on a page; our choice
_HOURS = tuple(f"{hour:02d}:00" for hour in range(6, 24))  # our choice: outside of them no pack permits anything


class _Refused(Exception):
    """The page can't be shown; ``answer`` is what is shown in its place."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class BorrowerPageRoute(APIRoute):
    """A route whose refusals are pages for borrowers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except _Refused as refused:
                return refused.answer
            except Problem as problem:  # over the borrower's rate
                t = guessed_texts(request)
                busy = part(request, BorrowerPages).note(t, problem.status, "busy_title", t("busy_lead"))
                busy.headers.update(problem.headers)
                return busy
            except Unavailable:
                pages, t = part(request, BorrowerPages), guessed_texts(request)
                phone = part(request, Lender).phone
                return pages.note(t, 503, "away_title", t("away_lead", phone=phone))

        return answer


router = APIRouter(prefix="/m/{token}", route_class=BorrowerPageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Visit:
    """A link that opens, with the words of its reader."""

    path: str
    message: LinkedMessage
    t: BorrowerTexts

    @property
    def tenant(self) -> str:
        return self.message.notification.tenant

    @property
    def borrower_id(self) -> str:
        return self.message.notification.borrower.id

    @property
    def zone(self) -> str:
        return next(iter(self.message.notification.borrower.time_zones), "")

    def channel_name(self, request: Request, channel: str) -> str:
        known = part(request, ConfiguredChannels).channels.get(channel)
        return self.t.channels.get(channel) or (known.profile.title.en if known else channel)


def guessed_texts(request: Request) -> BorrowerTexts:
    """The words for a reader of whom nothing is known."""
    return part(request, BorrowerPages).texts(accepted_language(request.headers.get("accept-language", "")))


async def _visit(request: Request) -> Visit:
    """The visit of a link that opens. Raises _Refused: 404 for none of ours, 410 for one that opens no more.

    Problem: 429.
    """
    pages, token = part(request, BorrowerPages), request.path_params["token"]
    delivery_id = part(request, Signer).open_message_token(token)
    if delivery_id is None:
        t = guessed_texts(request)
        raise _Refused(pages.note(t, 404, "unknown_title", t("unknown_lead", phone=part(request, Lender).phone)))
    message = await part(request, LinkedMessages).find(delivery_id)
    if message is not None:  # to the rate that the borrower's app has too
        owner = (message.notification.tenant, message.notification.borrower.id)
        await part(request, QuotaGuard).charge_borrower(request, owner[0], part(request, Signer).topics(*owner)[0])
    t = guessed_texts(request) if message is None else pages.texts(message.language)
    if message is None or not message.opens(part(request, GatewayClock)()):
        days = part(request, LinkedMessages).opens_for.days
        sentences = [t("expired_lead", days=days), t("expired_other", phone=part(request, Lender).phone)]
        link = None
        if message is not None and declines(request, message):
            sentences.append(t("expired_stop"))
            link = (f"/v1/unsubscribe/{token}", t("to_unsubscribe"))
        raise _Refused(pages.note(t, 410, "expired_title", *sentences, link=link))
    return Visit(f"/m/{token}", message, t)


def declines(request: Request, message: LinkedMessage) -> bool:
    """Whether messages of this channel have a link to decline them."""
    channel = part(request, ConfiguredChannels).channels.get(message.channel)
    return channel is not None and channel.profile.unsubscribe_link


@router.get("")
async def show_overview(request: Request) -> Response:
    visit = await _visit(request)
    _, unread = await part(request, Inbox).page(visit.tenant, _feed(request, visit), limit=1)
    message, t = visit.message, visit.t
    values = {
        "path": visit.path,
        "day": t.day(message.sent_at, visit.zone),
        "until": t.day(message.opens_until, visit.zone),
        "channel": visit.channel_name(request, message.channel),
        "reference": message.notification.case.reference,
        "unread": unread,
        "unsubscribe": f"/v1/unsubscribe/{request.path_params['token']}" if declines(request, message) else "",
    }
    return part(request, BorrowerPages).respond("overview.html", t, values)


@router.get("/help")
async def show_help(request: Request) -> Response:
    visit = await _visit(request)
    helpers = part(request, BorrowerPagesFile).helpers(visit.message.notification.borrower.jurisdiction)
    values = {"path": visit.path, "helpers": helpers}
    return part(request, BorrowerPages).respond("help.html", visit.t, values)


# ── preferences ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _PreferencesForm:
    """What the form shows: what is recorded or, beside a fault, what was typed, so that no choice is lost by it."""

    begins: str
    ends: str
    language: str
    channels: frozenset[str]


@router.get("/preferences")
async def show_preferences(request: Request, saved: str = "") -> Response:
    visit = await _visit(request)
    chosen = visit.message.chosen
    begins, ends = chosen.windows[0] if chosen.windows else ("", "")
    on = frozenset(each["name"] for each in _channels(request, visit) if each["on"])
    recorded = _PreferencesForm(begins, ends, chosen.language, on)
    return _preferences_page(request, visit, recorded, done="preferences_saved" if saved else "")


@router.post("/preferences")
async def save_preferences(request: Request) -> Response:
    """Record what the form says; in force when this answers. Repeating it is fine."""
    visit = await _visit(request)
    fields = await _form(request, visit)
    begins, ends = (next(iter(fields.get(name, [])), "") for name in ("from", "to"))
    language = next(iter(fields.get("language", [])), "")
    typed = _PreferencesForm(begins, ends, language, frozenset(fields.get("channel", [])))
    if not {begins, ends} <= {"", *_HOURS} or language not in {"", *READ_IN}:
        return _preferences_page(request, visit, typed, fault="bad_form")
    chosen = ChosenPreferences(((begins, ends),) if begins and ends else (), language)
    if bool(begins) != bool(ends) or (begins and begins >= ends):
        return _preferences_page(request, visit, typed, fault="bad_hours_order")
    if not _leaves_hours(request, visit, chosen):
        return _preferences_page(request, visit, typed, fault="bad_hours_empty")
    preferences = part(request, PreferenceStore)
    changeable = {each["name"] for each in _channels(request, visit) if each["changeable"]}
    if not await preferences.may_change(visit.tenant, visit.borrower_id):
        off = changeable - typed.channels  # declining has no limit
        await preferences.switch(visit.tenant, visit.borrower_id, off, ())
        return _preferences_page(request, visit, typed, fault="too_many_changes", status=429)
    await preferences.choose(visit.tenant, visit.borrower_id, chosen)
    await preferences.switch(visit.tenant, visit.borrower_id, changeable, fields.get("channel", []))
    return RedirectResponse(f"{visit.path}/preferences?saved=1", 303)


def _leaves_hours(request: Request, visit: Visit, chosen: ChosenPreferences) -> bool:
    """Whether the law leaves any time in which the borrower wants messages."""
    message, now = visit.message, part(request, GatewayClock)()
    facts = Facts(stated=message.stated, chosen=chosen)
    like, packs = message.notification, part(request, policy.Packs)
    return all(policy.has_common_hours(like, channel, facts, packs, now) for channel in like.borrower.addresses)


def _channels(request: Request, visit: Visit) -> list[dict[str, Any]]:
    """The channels on which the borrower is written to, with what they may do about each."""
    message, fixed = visit.message, part(request, BorrowerPagesFile).preferences.fixed_channels
    standing = [each for each in message.opt_outs if not each.opt_out.provisional]
    found = []
    for name in sorted({message.channel, *message.notification.borrower.addresses}):
        off_here = any(switched_off_here(each) and each.opt_out.channel == name for each in standing)
        off = off_here or any(each.opt_out.channel in (name, None) for each in standing)
        note = "channel_off_elsewhere" if off and not off_here else "channel_fixed" if name in fixed else ""
        label = visit.channel_name(request, name)
        found.append({"name": name, "label": label, "on": not off, "note": note, "changeable": not note})
    return found


def _preferences_page(
    request: Request, visit: Visit, shown: _PreferencesForm, *, done: str = "", fault: str = "", status: int = 0
) -> Response:
    channels = _channels(request, visit)
    for each in channels:
        each["on"] = each["name"] in shown.channels if each["changeable"] else each["on"]
    values = {
        "path": visit.path,
        "channels": channels,
        "hours": _HOURS,
        "begins": shown.begins,
        "ends": shown.ends,
        "languages": {code: name for code, (name, _) in READ_IN.items()},
        "chosen_language": shown.language,
        "done": done,
        "fault": fault,
    }
    return part(request, BorrowerPages).respond("preferences.html", visit.t, values, status or (422 if fault else 200))


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("/messages")
async def show_messages(request: Request, before: str = "", sent: str = "") -> Response:
    visit = await _visit(request)
    return await _messages_page(request, visit, before=before, done="reply_sent" if sent else "")


@router.post("/messages/{number}/read")
async def mark_message_read(request: Request, number: str) -> Response:
    """Mark a message read; a route that waits for that goes by it."""
    visit = await _visit(request)
    feed = _feed(request, visit)
    if number.isascii() and number.isdigit() and len(number) <= 15:
        await part(request, CallbackReceiver).mark_read(visit.tenant, feed, int(number))
        await part(request, FeedNotifier).publish(visit.tenant, feed)
    return RedirectResponse(f"{visit.path}/messages", 303)


@router.post("/reply")
async def write_reply(request: Request) -> Response:
    """Record what the borrower writes: a reply to the link's message, from its address. A form sent twice is one."""
    visit = await _visit(request)
    fields = await _form(request, visit)
    text = next(iter(fields.get("text", [])), "").strip()
    if not 0 < len(text) <= LONGEST_REPLY:
        return await _messages_page(request, visit, fault=visit.t("bad_reply", most=LONGEST_REPLY), written=text)
    if not await part(request, LinkedMessages).may_reply(visit.tenant, visit.borrower_id):
        fault = visit.t("too_many_replies", phone=part(request, Lender).phone)
        return await _messages_page(request, visit, fault=fault, written=text, status=429)
    form = next(iter(fields.get("form", [])), "")
    reply_id = hashlib.sha256("\x1f".join((visit.message.delivery_id, form, text)).encode()).hexdigest()
    answer = await part(request, CallbackReceiver).reply_of_reader(
        visit.message.delivery_id, visit.message.channel, text, reply_id
    )
    if answer:
        return await _messages_page(request, visit, done="reply_sent", answer=answer)
    return RedirectResponse(f"{visit.path}/messages?sent=1", 303)


async def _messages_page(
    request: Request,
    visit: Visit,
    *,
    before: str = "",
    done: str = "",
    answer: str = "",
    fault: str = "",
    written: str = "",
    status: int = 0,
) -> Response:
    position = int(before) if before.isascii() and before.isdigit() and len(before) <= 15 else None
    inbox = part(request, Inbox)
    items, _ = await inbox.page(visit.tenant, _feed(request, visit), before=position, limit=_PAGE + 1)
    values = {
        "path": visit.path,
        "items": [_shown_message(visit, each) for each in items[:_PAGE]],
        "older": items[_PAGE - 1].id if len(items) > _PAGE else 0,
        "form": secrets.token_hex(8),
        "longest": LONGEST_REPLY,
        "done": done,
        "answer": answer,
        "fault": fault,
        "written": written[:LONGEST_REPLY],
    }
    return part(request, BorrowerPages).respond("messages.html", visit.t, values, status or (422 if fault else 200))


def _shown_message(visit: Visit, item: Any) -> dict[str, Any]:
    """A message of the feed with its local time."""
    when = visit.t.instant(item.at, visit.zone)
    return {"id": item.id, "title": item.title, "text": item.text, "when": when, "new": item.read_at is None}


def _feed(request: Request, visit: Visit) -> str:
    """Whose feed it is: the borrower's address on the channel that has one, else their id."""
    channels = part(request, ConfiguredChannels).channels
    feeds = [name for name, each in channels.items() if each.profile.addresses_borrower]
    known = (visit.message.notification.address(each) for each in feeds)
    return next((each for each in known if each), visit.borrower_id)


async def _form(request: Request, visit: Visit) -> dict[str, list[str]]:
    """The fields of a form, each with all its values. Raises _Refused: 413, 422."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MOST_FORM_BYTES:
            raise _Refused(part(request, BorrowerPages).note(visit.t, 413, "bad_form"))
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise _Refused(part(request, BorrowerPages).note(visit.t, 422, "bad_form")) from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value.replace("\r\n", "\n").replace("\x00", ""))
    return fields
