"""The pages of words in several languages: a version's translations side by side, and the lender's glossary."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import Uses
from gateway.core.states import TemplateState
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.templates.checks.glossary import GlossaryTerm
from gateway.templates.previews.differences import pieces
from gateway.templates.repository import TemplateFiles
from gateway.templates.versions.refusals import BadTerm, GlossaryChanged
from gateway.templates.workflow.translations import TranslationState, default_locale_of
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, authenticated_form, pages_of, require_role
from gateway.web.editor import samples
from gateway.web.editor.chips import LocaleChips, chip_words
from gateway.web.editor.routes import chips_of, page, places
from gateway.web.editor.views import alone
from gateway.web.form_texts import digest
from gateway.web.page import headers
from gateway.web.translations import PageTexts

router = APIRouter(prefix="/editor", route_class=PageRoute, include_in_schema=False)

_LONGEST_NUMBER = 9  # digits


@router.get("/templates/{template}/{number:int}/translations")
async def show_translations(
    request: Request,
    template: str,
    number: int,
    workflow: Uses[TemplateWorkflow],
    locale: str = "",
    session: Session = Depends(require_role()),
) -> Response:
    """Each locale's missing and older texts, and one locale beside the default one."""
    text = await workflow.text(session.user.tenant, template, number)
    found = await workflow.translations(session.user.tenant, text)
    chosen = locale if locale in found else next(iter(found), "")
    parts = found.get(chosen, [])
    draft = text.stored is not None and text.stored.state is TemplateState.DRAFT
    texts = pages_of(request).texts(request)
    values: dict[str, Any] = {
        "chips": await asyncio.to_thread(_chips, workflow, text, chosen, texts),
        "chip_words": chip_words(texts),
        "text": text,
        "default": default_locale_of(text.files),
        "locales": {each: counts(parts) for each, parts in found.items()},
        "locale": chosen,
        "parts": parts,
        "changed": {each.file: pieces(each.translated, each.default_text) for each in parts if each.translated},
        "digests": {each.file: digest(each.text) for each in parts},
        "writable": draft and session.user.role.may(Role.EDITOR),
    }
    return await page(request, session, "translations.html", {**values, **places(text)})


def _chips(workflow: TemplateWorkflow, text: TemplateFiles, locale: str, texts: PageTexts) -> Mapping[str, LocaleChips]:
    """What the fields of a locale, and the texts of the default one, show as chips."""
    files = alone(text.files, locale)
    drafted = workflow.draft_preview(text.template, files, lambda version: samples.sample(version, files, locale, ""))
    return chips_of(drafted.version, text.files, texts)


def counts(parts: Any) -> dict[TranslationState, int]:
    """How many parts are in each state."""
    return {state: sum(each.state is state for each in parts) for state in TranslationState}


@router.get("/glossary")
async def show_glossary(
    request: Request, workflow: Uses[TemplateWorkflow], session: Session = Depends(require_role())
) -> Response:
    glossary = await workflow.glossaries.read(session.user.tenant)
    return await _glossary(request, workflow, session, _rows(glossary.terms), glossary.revision)


@router.post("/glossary")
async def save_glossary(request: Request, workflow: Uses[TemplateWorkflow]) -> Response:
    """Replace the glossary by the terms of the form; a row without a name is left out."""
    session, form = await authenticated_form(request, Role.EDITOR)
    given = form.get("revision", "")
    revision = int(given) if given.isdecimal() and len(given) <= _LONGEST_NUMBER else 0
    rows = _form_rows(form, workflow.locales())
    terms = [_term(each) for each in rows if each["id"]]
    try:
        await workflow.glossaries.save(session.user.tenant, revision, terms, session.user.actor)
    except (BadTerm, GlossaryChanged) as refusal:
        key = "glossary_changed" if isinstance(refusal, GlossaryChanged) else "glossary_bad_term"
        return await _glossary(request, workflow, session, rows, revision, key)
    return RedirectResponse("/editor/glossary?done=glossary", 303, headers())


async def _glossary(
    request: Request,
    workflow: TemplateWorkflow,
    session: Session,
    rows: list[dict[str, Any]],
    revision: int,
    wrong: str = "",
) -> Response:
    empty: dict[str, Any] = {"id": "", "words": {}, "avoid": {}}
    values = {"rows": [*rows, empty], "revision": revision, "locales": workflow.locales(), "wrong": wrong}
    return await page(request, session, "glossary.html", values, 422 if wrong else 200)


def _rows(terms: tuple[GlossaryTerm, ...]) -> list[dict[str, Any]]:
    return [
        {"id": each.id, "words": each.words, "avoid": {name: ", ".join(some) for name, some in each.avoid.items()}}
        for each in terms
    ]


def _form_rows(form: Mapping[str, str], locales: list[str]) -> list[dict[str, Any]]:
    """The rows of the form, with what is typed in them; a locale without words is left out."""
    numbers = sorted({int(each[1]) for name in form if (each := re.fullmatch(r"term\.(\d{1,4})", name))})
    rows = []
    for number in numbers:
        words, avoid = (
            {each: value for each in locales if (value := form.get(f"{kind}.{number}.{each}", "").strip())}
            for kind in ("word", "avoid")
        )
        rows.append({"id": form.get(f"term.{number}", "").strip(), "words": words, "avoid": avoid})
    return rows


def _term(row: Mapping[str, Any]) -> GlossaryTerm:
    avoid = {
        locale: [each.strip() for each in re.split("[,，、]", words) if each.strip()]
        for locale, words in row["avoid"].items()
    }
    return GlossaryTerm(row["id"], row["words"], {locale: some for locale, some in avoid.items() if some})
