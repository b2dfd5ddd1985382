"""``/editor/new``: creates a template, whose first text is an ordinary draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, Uses
from gateway.core.notifications import Category
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.templates.workflow.refusals import BadText, DraftExists
from gateway.templates.workflow.starting_texts import NewTemplate, starting_files
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, authenticated_form, require_role
from gateway.web.editor import page
from gateway.web.editor_forms import to_version

router = APIRouter(prefix="/editor/new", route_class=PageRoute, include_in_schema=False)

_LONGEST_TITLE = 80  # as templates/schema.json


class InvalidNewTemplate(Exception):
    """The form is invalid; ``key`` is the page's text with the remedy."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@router.get("")
async def show_form(
    request: Request,
    workflow: Uses[TemplateWorkflow],
    configured: Uses[ConfiguredChannels],
    session: Session = Depends(require_role(Role.EDITOR)),
) -> Response:
    used = {each.channel for each in configured.providers.values()}
    return await _form(request, workflow, session, {f"channel.{each}": "yes" for each in used})


@router.post("")
async def begin(request: Request, workflow: Uses[TemplateWorkflow]) -> Response:
    """Store the first draft of the new template, and redirect to it."""
    session, form = await authenticated_form(request, Role.EDITOR)
    user = session.user
    template, start = form.get("template", "").strip(), form.get("start", "")
    try:
        plan = _plan(form, workflow)
        if template in {each.template for each in await workflow.summaries(user.tenant)}:
            raise InvalidNewTemplate("new_taken")
        source = await workflow.live(user.tenant, start) if start else None
        files = starting_files(plan, workflow.profiles, source.files if source else None)
        made = await workflow.begin(user.tenant, template, user.actor, "", files)
    except InvalidNewTemplate as refusal:
        return await _form(request, workflow, session, form, refusal.key)
    except BadText:  # the texts are blank or copied from a live version, so the id is invalid
        return await _form(request, workflow, session, form, "new_bad_id")
    except DraftExists:  # another user has created it at the same time
        return await _form(request, workflow, session, form, "new_taken")
    return to_version(template, made.number, "create", plan.locales[0])


def _plan(form: Mapping[str, str], workflow: TemplateWorkflow) -> NewTemplate:
    title, category = " ".join(form.get("title", "").split())[:_LONGEST_TITLE], form.get("category", "")
    locales = [each for each in workflow.locales() if form.get(f"locale.{each}")]
    channels = [each for each in workflow.profiles if form.get(f"channel.{each}")]
    if not title or category not in set(Category):
        raise InvalidNewTemplate("new_no_title")
    if not locales or not channels:
        raise InvalidNewTemplate("new_nothing_chosen")
    return NewTemplate(title, category, locales, channels)


async def _form(
    request: Request, workflow: TemplateWorkflow, session: Session, form: Mapping[str, str], wrong: str = ""
) -> Response:
    values: dict[str, Any] = {
        "form": form,
        "wrong": wrong,
        "summaries": [each for each in await workflow.summaries(session.user.tenant) if each.live],
        "categories": [each.value for each in Category],
        "locales": workflow.locales(),
        "channels": list(workflow.profiles),
    }
    return await page(request, session, "new.html", values, 422 if wrong else 200)
