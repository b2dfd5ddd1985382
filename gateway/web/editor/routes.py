"""The editor's GET pages: the list, a template, a version with its preview, its differences."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import Uses, part
from gateway.core.states import TemplateState
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.queue.preview_cache import PreviewCache
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.preview import Sample
from gateway.templates.repository import TemplateFiles
from gateway.templates.workflow.reviews import PlacedComment
from gateway.templates.workflow.workflow import TemplateSummary, TemplateWorkflow
from gateway.web.access import (
    PageRoute,
    authenticated_form,
    display_names,
    is_htmx,
    message,
    pages_of,
    require_role,
)
from gateway.web.editor import preview_frames, samples
from gateway.web.editor.chips import LocaleChips, chip_words, locale_chips
from gateway.web.editor.views import (
    VALUE,
    EditorView,
    alone,
    editor_view,
    locales_of,
    part_labels,
    title_of,
)
from gateway.web.form_texts import FIELD
from gateway.web.page import headers
from gateway.web.translations import PageTexts

router = APIRouter(prefix="/editor", route_class=PageRoute, include_in_schema=False)

_STATES = (
    TemplateState.DRAFT,
    TemplateState.SUBMITTED,
    TemplateState.APPROVED,
    TemplateState.SCHEDULED,
    TemplateState.PUBLISHED,
)


@router.get("")
async def show_list(
    request: Request,
    workflow: Uses[TemplateWorkflow],
    q: str = "",
    state: str = "",
    session: Session = Depends(require_role()),
) -> Response:
    summaries = await workflow.summaries(session.user.tenant, q[:100])
    shown = [each for each in summaries if not state or state in _states_of(each)]
    values = {"summaries": shown, "q": q[:100], "state": state, "states": _STATES, "all": len(summaries)}
    return await page(request, session, "list.html", values)


def _states_of(card: TemplateSummary) -> set[str]:
    return {each.state.value for each in card.under_way} | ({TemplateState.PUBLISHED.value} if card.own else set())


@router.get("/templates/{template}")
async def show_template(
    request: Request, template: str, workflow: Uses[TemplateWorkflow], session: Session = Depends(require_role())
) -> Response:
    tenant = session.user.tenant
    versions = await workflow.versions(tenant, template)
    live = await workflow.live(tenant, template)
    history = await workflow.history(tenant, template)
    card = next(iter(each for each in await workflow.summaries(tenant, template) if each.template == template))
    draft = next((each for each in versions if each.state is TemplateState.DRAFT), None)
    values = {
        "template": template,
        "card": card,
        "versions": versions,
        "live": live,
        "shipped": card.shipped,
        "draft": draft,
        "history": history[::-1],
    }
    return await page(request, session, "template.html", values)


@router.get("/templates/{template}/{number:int}")
async def show_version(
    request: Request,
    template: str,
    number: int,
    workflow: Uses[TemplateWorkflow],
    locale: str = "",
    session: Session = Depends(require_role()),
) -> Response:
    text = await workflow.text(session.user.tenant, template, number)
    return await show_text(request, session, text, {"locale": locale})


@router.post("/templates/{template}/{number:int}/preview")
async def show_preview(request: Request, template: str, number: int, workflow: Uses[TemplateWorkflow]) -> Response:
    """The parts of the page that depend on the text, requested during typing; without JavaScript the whole page."""
    session, form = await authenticated_form(request, Role.VIEWER)
    text = await workflow.text(session.user.tenant, template, number)
    if not is_htmx(request):
        return await show_text(request, session, text, form)
    values = await _view_values(request, session, text, form)
    return pages_of(request).respond(request, "_preview.html", {**values, "session": session, "swapped": True})


@router.get("/frames/{key}/{scheme}")
async def show_frame(
    key: str, scheme: str, frames: Uses[PreviewCache], session: Session = Depends(require_role())
) -> Response:
    html = await frames.get(session.user.tenant, key)
    if html is None or scheme not in preview_frames.SCHEMES:
        return Response(status_code=404, headers=headers(preview_frames.POLICY))
    return Response(preview_frames.in_scheme(html, scheme), 200, headers(preview_frames.POLICY), "text/html")


@router.get("/{rest:path}")
async def show_nothing(request: Request, session: Session = Depends(require_role())) -> Response:
    return await message(request, 404, "nothing_here")


# ── shared functions ───────────────────────────────────────────────────────────────────────────────────────


async def page(request: Request, session: Session, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """Render a page for a signed-in user, with the display names of colleagues."""
    role = session.user.role
    known = {
        "session": session,
        "may_write": role.may(Role.EDITOR),
        "part_labels": part_labels(part(request, TemplateWorkflow).profiles),
        "may_approve": role.may(Role.APPROVER),
        "who": await display_names(request, session),
        "has_provider_templates": part(request, TemplateWorkflow).provider_templates.wanted,
        "done": request.query_params.get("done", ""),
    }
    return pages_of(request).respond(request, name, {**known, **values}, status)


async def show_text(
    request: Request, session: Session, text: TemplateFiles, form: Mapping[str, str], status: int = 200, **more: Any
) -> Response:
    """A version's page; ``form`` has unsaved text."""
    values = await _view_values(request, session, text, form)
    return await page(request, session, "version.html", {**values, "notice": "", "swapped": False, **more}, status)


def files_of(form: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """The stored texts, replaced by those of a form. A part that did not exist is left out while it is empty."""
    found = dict(stored)
    for field, text in form.items():
        name = field.removeprefix(FIELD)
        if field.startswith(FIELD) and (text or name in stored):
            # The page leaves out the last line end of a file.
            ends = text and not text.endswith("\n") and stored.get(name, "\n").endswith("\n")
            found[name] = f"{text}\n" if ends else text
    return found


async def _view_values(
    request: Request, session: Session, text: TemplateFiles, form: Mapping[str, str]
) -> dict[str, Any]:
    workflow = part(request, TemplateWorkflow)
    files = files_of(form, text.files)
    known = locales_of(files)
    locale = form.get("locale", "")
    if locale not in known:
        language = pages_of(request).texts(request).language
        locale = next((each for each in known if each.startswith(language)), known[0] if known else "")

    # During typing only the displayed locale is checked: all of them take longer than a keystroke.
    looked_at = alone(files, locale) if is_htmx(request) else files

    def build_view() -> tuple[EditorView, Mapping[str, LocaleChips]]:
        drafted = workflow.draft_preview(
            text.template, looked_at, lambda version: sample_of(version, files, locale, form)
        )
        drafted.findings.extend(terms)
        # During typing the fields stay as they are.
        chips = {} if is_htmx(request) else chips_of(drafted.version, files, pages_of(request).texts(request))
        return editor_view(files, drafted, locale, samples.KINDS, workflow.profiles), chips

    terms = await workflow.glossaries.findings(session.user.tenant, text.template, looked_at)
    made, chips = await asyncio.to_thread(build_view)  # compiling takes milliseconds, which would block the event loop
    html = next((each.content.html for each in made.shown.values() if each.content and each.content.html), "")
    frame = await part(request, PreviewCache).put(session.user.tenant, html) if html else ""
    may_write = session.user.role.may(Role.EDITOR)
    reviews, stored = workflow.reviews, text.stored
    comments: dict[tuple[str, str], list[PlacedComment]] = {}
    for each in await reviews.comments(stored) if stored else ():
        comments.setdefault((each.channel, each.locale), []).append(each)
    return {
        "explained": await reviews.explained(session.user.tenant, text.template) if stored else {},
        "comments": comments,
        "sent_back": await reviews.sent_back(stored) if stored and stored.state is TemplateState.REJECTED else None,
        "view": made,
        "text": text,
        "frame": frame,
        "chips": chips,
        "chip_words": chip_words(pages_of(request).texts(request)),
        "tested": session.user.test_addresses,
        "may_test": may_write and text.stored is not None,
        "writable": may_write and text.stored is not None and text.stored.state is TemplateState.DRAFT,
        "base": f"/editor/templates/{text.template}/{text.number}",
        **places(text),
    }


def chips_of(version: TemplateVersion | None, files: Mapping[str, str], texts: PageTexts) -> Mapping[str, LocaleChips]:
    """What the fields of each locale can show as chips, with the values of the fullest sample."""
    if version is None:
        return {each: LocaleChips() for each in locales_of(files)}
    return {
        each: locale_chips(version, each, samples.sample(version, files, each, "everything"), texts)
        for each in locales_of(files)
    }


def sample_of(version: TemplateVersion, files: Mapping[str, str], locale: str, form: Mapping[str, str]) -> Sample:
    """The sample of a form: the kind selected by a button, or the typed values."""
    kind = form.get("kind", "")
    given = {name.removeprefix(VALUE): value for name, value in form.items() if name.startswith(VALUE)}
    if kind or not given:
        return samples.sample(version, files, locale, kind)
    return Sample(locale, samples.typed(version, given), form.get("name", ""))


def places(text: TemplateFiles) -> dict[str, Any]:
    """Which version a page is about."""
    title = title_of(text.files) or text.template
    return {"template": text.template, "title": title, "number": text.number, "stored": text.stored}
