"""What is done on the editor's pages: one route for each verb of a version's life. All are forms, and work as such.

What may be done in which state, and by whom, is held by the ledger; here only the role is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.templates.language.version import TemplateVersion
from gateway.templates.repository import TemplateFiles
from gateway.templates.workflow.differences import DiffPiece, pieces
from gateway.templates.workflow.preview import Sample
from gateway.templates.workflow.refusals import (
    BadText,
    DraftExists,
    EditedMeanwhile,
    NeedsConfirmation,
    TemplateRefusal,
)
from gateway.web.access import PageRoute, authenticated_form, gateway_of, pages_of
from gateway.web.editor import files_of, page, sample_of, show_text
from gateway.web.editor_views import FIELD, SEEN, digest
from gateway.web.page import headers

router = APIRouter(prefix="/editor/templates/{template}", route_class=PageRoute, include_in_schema=False)

_COMMENT = 500  # characters; our choice: a paragraph
_LONGEST_LOCALE = 11


@dataclass(frozen=True, slots=True)
class TextConflict:
    """A text that two people changed. ``pieces`` lead from theirs to mine."""

    name: str
    mine: str
    theirs: str
    pieces: tuple[DiffPiece, ...]


@router.post("/begin")
async def begin(request: Request, template: str) -> Response:
    """A draft from what is live, or from another version's text."""
    session, form = await authenticated_form(request, Role.EDITOR)
    editing, tenant = gateway_of(request).editing, session.user.tenant
    source = form.get("from", "")
    files = (await editing.text(tenant, template, int(source))).files if source.isdecimal() else None
    try:
        made = await editing.begin(tenant, template, session.user.actor, _comment(form), files)
    except DraftExists as exists:
        return to_version(template, exists.current.stored.number, "draft_exists")
    return to_version(template, made.number, "begun")


@router.post("/{number:int}/save")
async def save(request: Request, template: str, number: int) -> Response:
    session, form = await authenticated_form(request, Role.EDITOR)
    kept = await _save(request, session, template, number, form)
    return kept if isinstance(kept, Response) else to_version(template, number, "saved", form.get("locale", ""))


@router.post("/{number:int}/submit")
async def submit(request: Request, template: str, number: int) -> Response:
    """Keep what is written, and hand it to a second person."""
    session, form = await authenticated_form(request, Role.EDITOR)
    kept = await _save(request, session, template, number, form)
    if isinstance(kept, Response):
        return kept
    revision = kept.stored.revision if kept.stored else 0
    try:
        await gateway_of(request).editing.submit(
            session.user.tenant, template, number, revision, session.user.actor, _comment(form)
        )
    except BadText:
        return await show_text(request, session, kept, form, 422, notice="lint_blocks")
    return to_version(template, number, "submitted")


@router.post("/{number:int}/locale")
async def add_locale(request: Request, template: str, number: int) -> Response:
    """Begin a further language with the texts of the one that is on screen."""
    session, form = await authenticated_form(request, Role.EDITOR)
    new, old = form.get("new_locale", "").strip()[:_LONGEST_LOCALE], form.get("locale", "")
    copied = {
        f"{FIELD}{new}/{name.rpartition('/')[2]}": text
        for name, text in form.items()
        if new and name.startswith(f"{FIELD}{old}/")
    }
    kept = await _save(request, session, template, number, {**copied, **form})
    return kept if isinstance(kept, Response) else to_version(template, number, "saved", new)


@router.post("/{number:int}/discard")
async def discard(request: Request, template: str, number: int) -> Response:
    session, form = await authenticated_form(request, Role.EDITOR)
    revision = _number(form, "revision")
    editing, user = gateway_of(request).editing, session.user
    await editing.discard(user.tenant, template, number, revision, user.actor, _comment(form))
    return _to_template(template, "discarded")


@router.post("/{number:int}/approve")
async def approve(request: Request, template: str, number: int) -> Response:
    session, form = await authenticated_form(request, Role.APPROVER)
    user = session.user
    await gateway_of(request).editing.approve(user.tenant, template, number, user.actor, _comment(form))
    return to_version(template, number, "approved")


@router.post("/{number:int}/reject")
async def reject(request: Request, template: str, number: int) -> Response:
    session, form = await authenticated_form(request, Role.APPROVER)
    user = session.user
    await gateway_of(request).editing.reject(user.tenant, template, number, user.actor, _comment(form))
    return to_version(template, number, "rejected")


@router.post("/{number:int}/publish")
async def publish(request: Request, template: str, number: int) -> Response:
    """Now, or at a time; with what it would break or undo said first."""
    session, form = await authenticated_form(request, Role.APPROVER)
    user, editing = session.user, gateway_of(request).editing
    at = _instant(form.get("at", "")) if form.get("when") == "later" else None
    if form.get("when") == "later" and at is None:
        return await _show_notice(request, session, template, number, "bad_time")
    if at is not None and at <= gateway_of(request).clock():
        return await _show_notice(request, session, template, number, "past_time")
    try:
        confirmed = form.get("confirmed") == "yes"
        await editing.publish(user.tenant, template, number, user.actor, _comment(form), at, confirmed=confirmed)
    except NeedsConfirmation as needed:
        values = {"template": template, "number": number, "warnings": needed.warnings, "form": form}
        return await page(request, session, "confirm.html", values, 409)
    except BadText:
        return await _show_notice(request, session, template, number, "lint_blocks")
    return to_version(template, number, "scheduled" if at else "published")


@router.post("/{number:int}/unschedule")
async def unschedule(request: Request, template: str, number: int) -> Response:
    session, form = await authenticated_form(request, Role.APPROVER)
    user = session.user
    await gateway_of(request).editing.unschedule(user.tenant, template, number, user.actor, _comment(form))
    return to_version(template, number, "unscheduled")


@router.post("/roll-back")
async def roll_back(request: Request, template: str) -> Response:
    session, form = await authenticated_form(request, Role.APPROVER)
    user, to = session.user, form.get("to", "")
    earlier = int(to) if to.isdecimal() else None
    await gateway_of(request).editing.roll_back(user.tenant, template, user.actor, _comment(form), earlier)
    return _to_template(template, "rolled_back")


@router.post("/{number:int}/test")
async def send_test(request: Request, template: str, number: int) -> Response:
    """A message with the sample on screen, to an address of one's own. What is written has to be saved first."""
    session, form = await authenticated_form(request, Role.EDITOR)
    editing, user, channel = gateway_of(request).editing, session.user, form.get("channel", "")
    text = await editing.text(user.tenant, template, number)
    if files_of(form, text.files) != dict(text.files):
        return await show_text(request, session, text, form, 409, notice="save_before_test")
    address = user.test_addresses.get(channel, "")
    chosen: list[Sample] = []

    def choose(version: TemplateVersion) -> Sample:
        chosen.append(sample_of(version, text.files, form.get("locale", ""), form))
        return chosen[0]

    editing.drafted(template, text.files, choose)
    sample = next(iter(chosen), None)
    try:
        trial = await editing.test_send(user.tenant, template, number, channel, address, [address], user.actor, sample)
    except TemplateRefusal as refusal:
        words = pages_of(request).texts(request).maybe(f"refusal_{refusal.kind}", str(refusal))
        return await show_text(request, session, text, form, 409, notice="test_refused", words=words)
    sent_off = trial.outcome == "accepted_by_provider"
    outcome = f"{trial.outcome} {trial.code}".strip()
    return await show_text(
        request, session, text, form, notice="test_sent" if sent_off else "test_refused", words=outcome
    )


# ── what several of them need ───────────────────────────────────────────────────────────────────────────────────────


async def _save(
    request: Request, session: Session, template: str, number: int, form: Mapping[str, str]
) -> TemplateFiles | Response:
    """What is stored now; or the page that says why not, with everything that was written."""
    editing, tenant = gateway_of(request).editing, session.user.tenant
    text = await editing.text(tenant, template, number)
    files = files_of(form, text.files)
    try:
        return await editing.save(
            tenant, template, number, _number(form, "revision"), files, session.user.actor, _comment(form)
        )
    except EditedMeanwhile as meanwhile:
        return await _conflict(request, session, template, number, form, meanwhile)
    except BadText:
        return await show_text(request, session, text, form, 422, notice="not_saved")


async def _conflict(
    request: Request,
    session: Session,
    template: str,
    number: int,
    form: Mapping[str, str],
    meanwhile: EditedMeanwhile,
) -> Response:
    """Both texts side by side where two people changed the same; what only one of them touched is taken from them."""
    theirs = dict(meanwhile.current.files)
    kept, conflicts = dict(theirs), []
    for name, mine in files_of(form, theirs).items():
        seen, before = form.get(SEEN + name, ""), theirs.get(name, "")
        if mine == before or digest(mine) == seen:
            continue  # I did not touch it
        if digest(before) == seen:
            kept[name] = mine  # they did not
        else:
            kept[name] = mine
            shown = before.removesuffix("\n"), mine.removesuffix("\n")
            conflicts.append(TextConflict(name, shown[1], shown[0], await asyncio.to_thread(pieces, *shown)))
    values: dict[str, Any] = {
        "template": template,
        "number": number,
        "stored": meanwhile.current.stored,
        "conflicts": conflicts,
        "kept": {name: text for name, text in kept.items() if text != theirs.get(name)},
        "locale": form.get("locale", ""),
    }
    return await page(request, session, "conflict.html", values, 409)


async def _show_notice(request: Request, session: Session, template: str, number: int, notice: str) -> Response:
    text = await gateway_of(request).editing.text(session.user.tenant, template, number)
    return await show_text(request, session, text, {}, 422, notice=notice)


def to_version(template: str, number: int, done: str, locale: str = "") -> Response:
    """Back to a version's page, which says what was done."""
    where = f"&locale={quote(locale)}" if locale else ""
    return RedirectResponse(f"/editor/templates/{quote(template)}/{number}?done={done}{where}", 303, headers())


def _to_template(template: str, done: str) -> Response:
    return RedirectResponse(f"/editor/templates/{quote(template)}?done={done}", 303, headers())


def _comment(form: Mapping[str, str]) -> str:
    return form.get("comment", "").strip()[:_COMMENT]


def _number(form: Mapping[str, str], name: str) -> int:
    value = form.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 10 else 0


def _instant(text: str) -> datetime | None:
    """A time as a form's ``datetime-local`` has it, in UTC as the page says."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
